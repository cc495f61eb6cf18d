//! The folders of the hub's cache: blobs named by their contents, snapshots that link to them, references to commits.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    ModelName,
    files::{has_whole_gguf, is_gguf, quantisations},
    listing::RemoteFile,
};
use crate::{
    checkpoint::{self, ModelFiles},
    config::ModelConfig,
    error::{Error, Result},
};

/// A model that is in the cache.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct CachedModel {
    /// `organisation/name`
    pub name: String,
    /// The branch or tag it was fetched by; the commit where none leads to it.
    pub revision: String,
    /// Bytes of the files of this commit.
    pub bytes: u64,
    /// What it is: `model_type` of its configuration, or `GGUF` with the quantisations that are there.
    pub kind: String,
    /// Whether all its weights are there.
    pub complete: bool,
    /// Why this program does not run it, if it does not.
    pub problem: Option<String>,
    /// The snapshot's folder.
    pub path: PathBuf,
}

/// A model's folder in the cache.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub fn new(cache: &Path, name: &ModelName) -> Self {
        Self(cache.join(name.folder()))
    }

    /// The path for a blob, in a folder that is there.
    pub fn blob(&self, blob: &str) -> Result<PathBuf> {
        let folder = self.0.join("blobs");
        fs::create_dir_all(&folder).map_err(|error| Error::io(&folder, error))?;
        Ok(folder.join(blob))
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.0.join("snapshots").join(commit)
    }

    /// Makes a blob appear in a snapshot under the file's name.
    pub fn link(&self, commit: &str, file: &RemoteFile) -> Result<()> {
        let snapshot = self.snapshot(commit);
        let path = snapshot.join(&file.name);
        let failed = |error| Error::io(&path, error);
        fs::create_dir_all(&snapshot).map_err(failed)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        point(&Path::new("../../blobs").join(&file.blob), &self.0.join("blobs").join(&file.blob), &path)
            .map_err(failed)
    }

    /// Notes which commit a branch or tag stands for.
    pub fn refer(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit {
            return Ok(());
        }
        let path = self.0.join("refs").join(revision);
        let written = fs::create_dir_all(self.0.join("refs")).and_then(|()| {
            let partial = path.with_file_name(format!("{revision}.{}.part", std::process::id()));
            fs::write(&partial, commit).and_then(|()| fs::rename(&partial, &path))
        });
        written.map_err(|error| Error::io(&path, error))
    }

    /// The snapshot of a branch, tag or commit, if all its weights are there, or those of a quantisation; with `any`, also if
    /// there are others than asked for.
    pub fn complete_snapshot(&self, name: &ModelName, any: bool) -> Option<PathBuf> {
        let folder = self.snapshot(&self.commit(name.revision())?);
        let is_there = match name.quantisation() {
            None if any => is_complete(&folder),
            None => has_safetensors(&folder),
            wanted => has_whole_gguf(&folder, &names(&folder).ok()?, wanted),
        };
        is_there.then_some(folder)
    }

    /// What a branch or tag stands for; a commit stands for itself.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        let commit =
            fs::read_to_string(self.0.join("refs").join(revision)).unwrap_or_else(|_| revision.to_owned());
        // What stands in the file is a part of a path.
        Some(commit.trim().to_owned()).filter(|commit| super::name::is_plain(commit))
    }

    /// Bytes that are there of a blob, whole or begun.
    pub fn present(&self, blob: &str) -> u64 {
        let blobs = self.0.join("blobs");
        let bytes = |name: &str| fs::metadata(blobs.join(name)).map_or(0, |found| found.len());
        bytes(blob).max(bytes(&format!("{blob}.incomplete")))
    }
}

#[cfg(unix)]
fn point(relative: &Path, _blob: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(relative, path)
}

/// Links need a privilege on Windows: a second name for the file does as well.
#[cfg(not(unix))]
fn point(_relative: &Path, blob: &Path, path: &Path) -> io::Result<()> {
    fs::hard_link(blob, path).or_else(|_| fs::copy(blob, path).map(drop))
}

/// Whether a snapshot has a configuration and all weights, or a whole GGUF file.
fn is_complete(folder: &Path) -> bool {
    has_safetensors(folder) || names(folder).is_ok_and(|names| has_whole_gguf(folder, &names, None))
}

fn has_safetensors(folder: &Path) -> bool {
    let shards = || -> Option<bool> {
        let index: serde_json::Value =
            serde_json::from_slice(&fs::read(folder.join("model.safetensors.index.json")).ok()?).ok()?;
        let mut files = index.get("weight_map")?.as_object()?.values();
        Some(files.all(|file| file.as_str().is_some_and(|file| folder.join(file).is_file())))
    };
    folder.join("config.json").is_file()
        && shards().unwrap_or_else(|| folder.join("model.safetensors").is_file())
}

/// What a snapshot's model is, and why this program does not run it, if it does not.
fn kind(folder: &Path, files: &[String]) -> (String, Option<String>) {
    let gguf: Vec<&str> = files.iter().filter(|file| is_gguf(file)).map(String::as_str).collect();
    if !gguf.is_empty() && !files.iter().any(|file| file == "config.json") {
        let which = quantisations(&gguf);
        let kind = if which.is_empty() { "GGUF".to_owned() } else { format!("GGUF {}", which.join(" ")) };
        return (kind, Some(checkpoint::GGUF_PROBLEM.to_owned()));
    }
    let read = ModelFiles::folder(folder).and_then(|files| {
        let config = files.read("config.json")?;
        Ok((files, config))
    });
    match read {
        Ok((files, config)) => {
            let config: Option<serde_json::Value> =
                config.and_then(|json| serde_json::from_slice(&json).ok());
            // It comes from elsewhere, and goes to a terminal.
            let kind = config.and_then(|config| {
                let kind = config.get("model_type")?.as_str()?.chars();
                Some(kind.filter(|letter| !letter.is_control()).take(40).collect::<String>())
            });
            (kind.unwrap_or_else(|| "unknown".into()), ModelConfig::from_files(&files).err().map(problem))
        }
        Err(error) => ("unknown".into(), Some(problem(error))),
    }
}

/// What is wrong, without the path in front of it.
fn problem(error: Error) -> String {
    match error {
        Error::Model { problem, .. } => problem,
        error => error.to_string(),
    }
}

/// All models in the cache.
pub(super) fn models(cache: &Path) -> Result<Vec<CachedModel>> {
    let mut found = Vec::new();
    for folder in entries(cache)? {
        let file_name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(name) = file_name.strip_prefix("models--").map(|name| name.replacen("--", "/", 1)) else {
            continue;
        };
        let references: Vec<_> = entries(&folder.join("refs"))?
            .into_iter()
            .filter_map(|path| {
                Some((path.file_name()?.to_string_lossy().into_owned(), fs::read_to_string(path).ok()?))
            })
            .collect();
        for path in entries(&folder.join("snapshots"))? {
            let commit = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let reference = references.iter().find(|(_, target)| target.trim() == commit);
            let files = names(&path)?;
            let (kind, problem) = kind(&path, &files);
            let sizes = files.iter().filter_map(|file| Some(fs::metadata(path.join(file)).ok()?.len()));
            found.push(CachedModel {
                name: name.clone(),
                revision: reference.map_or(commit, |(reference, _)| reference.clone()),
                bytes: sizes.sum(),
                kind,
                complete: is_complete(&path),
                problem,
                path,
            });
        }
    }
    found.sort_by(|a, b| (&a.name, &a.revision).cmp(&(&b.name, &b.revision)));
    Ok(found)
}

/// What lies in a folder; nothing if there is none.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<_>>()
            .map_err(|error| Error::io(folder, error)),
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => {
            Ok(Vec::new())
        }
        Err(error) => Err(Error::io(folder, error)),
    }
}

/// The names of what lies in a folder.
fn names(folder: &Path) -> Result<Vec<String>> {
    let name = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(entries(folder)?.into_iter().filter_map(name).collect())
}
