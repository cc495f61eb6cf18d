//! Where a model's files come from.

use std::{
    borrow::Cow,
    fs::{self, File},
    io::Read,
    path::{Component, Path, PathBuf},
};

#[cfg(feature = "cli")]
use std::hash::{Hash, Hasher};

#[cfg(feature = "cli")]
use twox_hash::XxHash64;

use super::header::{LFS_ADVICE, LFS_POINTER};
use crate::error::{Error, Result};

/// Largest file that is read whole: far above any real `tokenizer.json`.
const READ_LIMIT_BYTES: u64 = 64 << 20;

/// What is said of GGUF files where a LLaVA is expected.
pub const GGUF_PROBLEM: &str = "a LLaVA in GGUF files (text model and mmproj) is not read yet; take the model's folder with config.json and \
                                *.safetensors, such as llava-hf/llava-1.5-7b-hf, and `--weights q4`";

/// The files beside the weights that answers depend on.
#[cfg(feature = "cli")]
const TEXTS: [&str; 10] = [
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Where a model's files come from: a folder, or bytes compiled into the program.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ModelFiles {
    /// A folder as the Hugging Face hub has it.
    Folder(PathBuf),
    /// Name and contents of every file, as `include_bytes!` gives them.
    Embedded(&'static [(&'static str, &'static [u8])]),
}

impl ModelFiles {
    /// The files of a folder that has at least a `config.json`.
    ///
    /// # Errors
    /// [`Error::Model`] if there is no such folder or it is no model's, saying how to get one.
    pub fn folder(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        match fs::metadata(&path) {
            Ok(found) if !found.is_dir() => {
                let problem = match is_gguf(&path) {
                    true => GGUF_PROBLEM,
                    false => "expected a folder, found a file; give the folder it lies in",
                };
                return Err(Error::model(path, problem));
            }
            Ok(_) => {}
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
                let problem = no_folder_problem(&path);
                return Err(Error::model(path, problem));
            }
            Err(source) => return Err(Error::io(path, source)),
        }
        if !path.join("config.json").is_file() {
            let has_gguf = || {
                let mut entries = fs::read_dir(&path).into_iter().flatten().flatten();
                entries.any(|entry| is_gguf(&entry.path()))
            };
            let problem = if let Some(gone) = dangling(&path.join("config.json")) {
                return Err(Error::model(path.join("config.json"), gone));
            } else if has_gguf() {
                GGUF_PROBLEM
            } else if path.join("snapshots").is_dir() {
                "this is a folder of the hub's cache; give the folder inside its snapshots folder"
            } else {
                "no config.json in this folder; expected a model as the hub has it: config.json, \
                 model*.safetensors, tokenizer.json, preprocessor_config.json"
            };
            return Err(Error::model(path, problem));
        }
        Ok(Self::Folder(path))
    }

    /// The contents of one of the small files; `None` if there is no such file.
    ///
    /// # Errors
    /// [`Error::Model`] if the file is larger than 64 MiB or no regular file, [`Error::Io`] if it cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Cow<'static, [u8]>>> {
        match self {
            Self::Embedded(_) => Ok(self.embedded_bytes(name).map(Cow::Borrowed)),
            Self::Folder(folder) => Ok(read_small(&folder.join(name))?.map(Cow::Owned)),
        }
    }

    /// A file's path, for messages; `<embedded>/NAME` if the file is compiled in.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// The folder, for messages.
    pub fn root(&self) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.clone(),
            Self::Embedded(_) => PathBuf::from("<embedded>"),
        }
    }

    /// A number that changes with any of the files that stand beside the weights.
    #[cfg(feature = "cli")]
    pub(crate) fn texts_fingerprint(&self) -> Result<u64> {
        let mut hasher = XxHash64::with_seed(0);
        for name in TEXTS {
            let bytes = self.read(name)?;
            (name, bytes.as_deref()).hash(&mut hasher);
        }
        Ok(hasher.finish())
    }

    /// The names of all files.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let folder = match self {
            Self::Embedded(files) => return Ok(files.iter().map(|(name, _)| (*name).to_owned()).collect()),
            Self::Folder(folder) => folder,
        };
        let entries = fs::read_dir(folder).map_err(|source| Error::io(folder, source))?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name().into_string()));
        let names: std::io::Result<Vec<_>> = names.collect();
        Ok(names.map_err(|source| Error::io(folder, source))?.into_iter().flatten().collect())
    }

    /// Whether there is a file of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::Embedded(_) => self.embedded_bytes(name).is_some(),
            Self::Folder(folder) => folder.join(name).is_file(),
        }
    }

    /// The bytes of a file that is compiled in.
    pub(super) fn embedded_bytes(&self, name: &str) -> Option<&'static [u8]> {
        match self {
            Self::Embedded(files) => files.iter().find(|(file, _)| *file == name).map(|(_, bytes)| *bytes),
            Self::Folder(_) => None,
        }
    }
}

/// Whether `name` names a file of the folder itself: no separator, no `..`, no drive.
pub(super) fn is_plain_file_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(only)), None) if only == name)
        && !name.contains(['/', '\\', ':', '\0'])
}

fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"))
}

/// What is wrong with a link that leads nowhere, as where a blob of the hub's cache was removed.
fn dangling(path: &Path) -> Option<String> {
    let target = fs::read_link(path).ok().filter(|_| !path.exists())?;
    Some(format!(
        "a link to {}, which is not there; where this is the hub's cache, `mustdrop pull` fetches it once more",
        target.display()
    ))
}

/// Opens a regular file; `None` if there is none. Anything else (a pipe, a device) could block or never end.
pub(super) fn open_regular(path: &Path) -> Result<Option<(File, u64)>> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
            return dangling(path).map_or(Ok(None), |gone| Err(Error::model(path, gone)));
        }
        Err(source) => return Err(Error::io(path, source)),
    };
    if !found.is_file() {
        return Err(Error::model(path, "expected a regular file"));
    }
    let file = File::open(path).map_err(|source| Error::io(path, source))?;
    Ok(Some((file, found.len())))
}

fn read_small(path: &Path) -> Result<Option<Vec<u8>>> {
    let Some((file, _)) = open_regular(path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(READ_LIMIT_BYTES + 1).read_to_end(&mut bytes).map_err(|source| Error::io(path, source))?;
    if bytes.len() as u64 > READ_LIMIT_BYTES {
        return Err(Error::model(path, format!("expected at most {READ_LIMIT_BYTES} bytes, found more")));
    }
    if bytes.starts_with(LFS_POINTER) {
        return Err(Error::model(path, LFS_ADVICE));
    }
    Ok(Some(bytes))
}

fn no_folder_problem(path: &Path) -> String {
    let mut parts = path.components();
    let name = match (parts.next(), parts.next(), parts.next()) {
        (Some(Component::Normal(_)), Some(Component::Normal(model)), None) => model.to_str(),
        _ => None,
    };
    match name {
        _ if path.starts_with("~") => {
            "no such folder: the shell puts your home folder in place of ~ only where it begins an unquoted word, as in `--model \
             ~/models/llava-1.5-7b-hf`"
                .to_owned()
        }
        Some(model) => format!(
            "no such folder. If this is a model's name on the hub, download it with `hf download {} --local-dir \
             models/{model}` and give models/{model}",
            path.display(),
        ),
        None => "no such folder; expected a folder with config.json and model*.safetensors".to_owned(),
    }
}
