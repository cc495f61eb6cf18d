//! The folders of the hub's cache: blobs named by their contents, snapshots that link to them, references to commits.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{ModelName, listing::RemoteFile};
use crate::{
    checkpoint::ModelFiles,
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
    /// Whether all its weights are there.
    pub complete: bool,
    /// Whether its configuration is one that this program runs; the problem if it is not.
    pub problem: Option<String>,
    /// The snapshot's folder.
    pub path: PathBuf,
}

/// A model's folder in the cache.
pub(super) struct Folder(PathBuf);

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

    /// The snapshot of a branch, tag or commit, if all its weights are there.
    pub fn complete_snapshot(&self, revision: &str) -> Option<PathBuf> {
        let commit =
            fs::read_to_string(self.0.join("refs").join(revision)).unwrap_or_else(|_| revision.to_owned());
        // What stands in the file is a part of a path.
        let commit = Some(commit.trim()).filter(|commit| super::name::is_plain(commit))?;
        Some(self.snapshot(commit)).filter(|folder| is_complete(folder))
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

/// Whether a snapshot has a configuration and all weights.
fn is_complete(folder: &Path) -> bool {
    let shards = || -> Option<bool> {
        let index: serde_json::Value =
            serde_json::from_slice(&fs::read(folder.join("model.safetensors.index.json")).ok()?).ok()?;
        let mut files = index.get("weight_map")?.as_object()?.values();
        Some(files.all(|file| file.as_str().is_some_and(|file| folder.join(file).is_file())))
    };
    folder.join("config.json").is_file()
        && shards().unwrap_or_else(|| folder.join("model.safetensors").is_file())
}

/// All models in the cache.
pub(super) fn models(cache: &Path) -> Result<Vec<CachedModel>> {
    let mut found = Vec::new();
    for folder in entries(cache)? {
        let file_name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((organisation, name)) =
            file_name.strip_prefix("models--").and_then(|name| name.split_once("--"))
        else {
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
            found.push(CachedModel {
                name: format!("{organisation}/{name}"),
                revision: reference.map_or(commit, |(reference, _)| reference.clone()),
                bytes: entries(&path)?.iter().filter_map(|file| Some(fs::metadata(file).ok()?.len())).sum(),
                complete: is_complete(&path),
                problem: ModelFiles::folder(&path)
                    .and_then(|files| ModelConfig::from_files(&files))
                    .err()
                    .map(|e| e.to_string()),
                path,
            });
        }
    }
    found.sort_by(|a, b| (&a.name, &a.revision).cmp(&(&b.name, &b.revision)));
    Ok(found)
}

/// What lies in a folder; nothing if there is none.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
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
