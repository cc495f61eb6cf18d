//! A conversation in a file: `/save` and `--load`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::write_whole;
use crate::{Error, Part, Picture, Report, image::Allowance, prompt::Role};

/// The version of the format.
const VERSION: u32 = 1;
/// The most bytes of such a file that are read.
const MOST_BYTES: u64 = 64 << 20;

/// A picture and the file it came from.
#[derive(Debug, Clone)]
pub(super) struct Photo {
    pub picture: Picture,
    /// As the user named it.
    pub path: PathBuf,
    sha256: String,
}

/// A question, the pictures that were shown with it, and its answer.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    pub photos: Vec<Photo>,
    pub question: String,
    pub answer: String,
    /// What the answer cost, if it was made here.
    pub report: Option<Report>,
}

/// A conversation as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    /// The version of the format.
    mustdrop: u32,
    /// What the model was called; any model may go on.
    model: String,
    #[serde(default)]
    system: Option<String>,
    turns: Vec<SavedTurn>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedTurn {
    #[serde(default)]
    pictures: Vec<SavedPicture>,
    question: String,
    answer: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedPicture {
    path: PathBuf,
    /// Of the file, in hexadecimal digits.
    sha256: String,
}

impl Photo {
    /// The picture in a file.
    pub fn open(path: &Path, allowance: &mut Allowance) -> crate::Result<Self> {
        let bytes = Picture::bytes_of(path)?;
        let picture = allowance.decode(&bytes, path.display().to_string())?;
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { picture, path: path.to_owned(), sha256 })
    }
}

impl Exchange {
    /// The turns of it.
    pub fn turns(&self) -> [(Role, Vec<Part>); 2] {
        [(Role::User, self.parts()), (Role::Assistant, vec![Part::text(&self.answer)])]
    }

    /// What the user said.
    pub fn parts(&self) -> Vec<Part> {
        let photos = self.photos.iter().map(|photo| Part::Image(photo.picture.clone()));
        photos.chain([Part::text(&self.question)]).collect()
    }
}

/// Writes a conversation.
pub(super) fn save(
    path: &Path,
    model: &str,
    system: Option<&str>,
    exchanges: &[Exchange],
) -> crate::Result<()> {
    let picture = |photo: &Photo| SavedPicture {
        // From wherever it is read.
        path: fs::canonicalize(&photo.path).unwrap_or_else(|_| photo.path.clone()),
        sha256: photo.sha256.clone(),
    };
    let turn = |exchange: &Exchange| SavedTurn {
        pictures: exchange.photos.iter().map(picture).collect(),
        question: exchange.question.clone(),
        answer: exchange.answer.clone(),
    };
    let saved = Saved {
        mustdrop: VERSION,
        model: model.to_owned(),
        system: system.map(str::to_owned),
        turns: exchanges.iter().map(turn).collect(),
    };
    let json = serde_json::to_string_pretty(&saved)
        .map_err(|error| Error::argument("/save", "pictures whose paths are text", error.to_string()))?;
    if path.is_file() && read(path).is_err() {
        let found = format!("{}, which is something else", path.display());
        return Err(Error::argument("/save", "a new file, or one that /save wrote", found));
    }
    write_whole("/save", path, (json + "\n").as_bytes())
}

/// Reads a conversation without its pictures.
fn read(path: &Path) -> crate::Result<Saved> {
    let refuse = |found: String| {
        Error::argument("--load", "a conversation that /save wrote", format!("{}: {found}", path.display()))
    };
    let found = fs::metadata(path).map_err(|error| Error::io(path, error))?;
    if !found.is_file() {
        return Err(refuse("no file".into()));
    }
    if found.len() > MOST_BYTES {
        return Err(refuse(format!("more than {} MiB", MOST_BYTES >> 20)));
    }
    let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
    let saved: Saved = serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
    if saved.mustdrop != VERSION {
        let found = format!("version {} of the format, where this program knows {VERSION}", saved.mustdrop);
        return Err(refuse(found));
    }
    Ok(saved)
}

/// A conversation that was read.
pub(super) struct Loaded {
    /// What the model was called.
    pub model: String,
    pub system: Option<String>,
    pub exchanges: Vec<Exchange>,
}

/// Reads a conversation with its pictures.
pub(super) fn load(path: &Path) -> crate::Result<Loaded> {
    let saved = read(path)?;
    let mut exchanges = Vec::with_capacity(saved.turns.len());
    for SavedTurn { pictures, question, answer } in saved.turns {
        // Together, as when they were asked about.
        let mut allowance = Allowance::default();
        let mut photos = Vec::with_capacity(pictures.len());
        for SavedPicture { path, sha256 } in pictures {
            let refuse =
                |found: String| Error::argument("--load", "the pictures that were talked about", found);
            let photo = Photo::open(&path, &mut allowance).map_err(|error| refuse(error.to_string()))?;
            if photo.sha256 != sha256 {
                return Err(refuse(format!("{}, which has changed since", path.display())));
            }
            photos.push(photo);
        }
        exchanges.push(Exchange { photos, question, answer, report: None });
    }
    Ok(Loaded { model: saved.model, system: saved.system, exchanges })
}
