//! Models that go from the cache, with the blobs that nothing else needs.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    ModelName,
    cache::{Folder, entries},
    files::{has_quantisation, is_gguf, is_mmproj},
};
use crate::error::{Error, Result};

impl Folder {
    /// Removes all of a model, or the revision or quantisation that is named; returns how many bytes became free, or `None` if
    /// there was nothing.
    pub fn remove(&self, name: &ModelName) -> Result<Option<u64>> {
        if name.is_whole() {
            let bytes = bytes(&self.0.join("blobs"))?;
            return match fs::remove_dir_all(&self.0) {
                Ok(()) => Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Error::io(&self.0, error)),
            };
        }
        let Some(commit) = self.commit(name.revision()) else { return Ok(None) };
        let snapshot = self.snapshot(&commit);
        if !snapshot.is_dir() {
            return Ok(None);
        }
        let meant = match name.quantisation() {
            Some(wanted) => of_quantisation(&snapshot, wanted)?,
            None if self.has_other_name(&commit, name.revision())? => Vec::new(),
            None => files_below(&snapshot)?,
        };
        if meant.is_empty() && name.quantisation().is_some() {
            return Ok(None);
        }
        // What the links lead to, as long as there are links.
        let blobs: BTreeSet<PathBuf> = meant.iter().filter_map(|file| fs::canonicalize(file).ok()).collect();
        let before = bytes(&self.0.join("blobs"))?;
        for file in &meant {
            fs::remove_file(file).map_err(|error| Error::io(file, error))?;
        }
        if name.quantisation().is_none() {
            let reference = self.0.join("refs").join(name.revision());
            if reference.is_file() {
                fs::remove_file(&reference).map_err(|error| Error::io(&reference, error))?;
            }
        }
        if files_below(&snapshot)?.is_empty() {
            fs::remove_dir_all(&snapshot).map_err(|error| Error::io(&snapshot, error))?;
        }
        self.remove_unused(&blobs)?;
        Ok(Some(before.saturating_sub(bytes(&self.0.join("blobs"))?)))
    }

    /// Whether another branch or tag than `revision` leads to a commit.
    fn has_other_name(&self, commit: &str, revision: &str) -> Result<bool> {
        let references = entries(&self.0.join("refs"))?;
        let leads_there =
            |path: &PathBuf| fs::read_to_string(path).is_ok_and(|target| target.trim() == commit);
        let is_other = |path: &PathBuf| path.file_name().is_some_and(|name| name != revision);
        Ok(revision != commit && references.iter().filter(|path| is_other(path)).any(leads_there))
    }

    /// Removes those of `blobs` that no snapshot has any more; whatever else lies there may be a transfer of somebody else's.
    fn remove_unused(&self, blobs: &BTreeSet<PathBuf>) -> Result<()> {
        let mut used = BTreeSet::new();
        for file in files_below(&self.0.join("snapshots"))? {
            used.extend(fs::canonicalize(file));
        }
        let folder = fs::canonicalize(self.0.join("blobs")).map_err(|error| Error::io(&self.0, error))?;
        for blob in blobs.difference(&used).filter(|blob| blob.parent() == Some(&folder)) {
            fs::remove_file(blob).map_err(|error| Error::io(blob, error))?;
        }
        Ok(())
    }
}

/// The files of a quantisation, and with the last one the vision towers.
fn of_quantisation(snapshot: &Path, wanted: &str) -> Result<Vec<PathBuf>> {
    let name =
        |file: &PathBuf| file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let gguf = files_below(snapshot)?.into_iter().filter(|file| is_gguf(&name(file)));
    let (towers, texts): (Vec<_>, Vec<_>) = gguf.partition(|file| is_mmproj(&name(file)));
    let (mut meant, others): (Vec<_>, Vec<_>) =
        texts.into_iter().partition(|file| has_quantisation(&name(file), wanted));
    if others.is_empty() && !meant.is_empty() {
        meant.extend(towers);
    }
    Ok(meant)
}

/// All files and links in a folder and the folders in it.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in entries(folder)? {
        let found = fs::symlink_metadata(&path).map_err(|error| Error::io(&path, error))?;
        match found.is_dir() {
            true => files.extend(files_below(&path)?),
            false => files.push(path),
        }
    }
    Ok(files)
}

/// Bytes of the files in a folder.
fn bytes(folder: &Path) -> Result<u64> {
    Ok(entries(folder)?.iter().filter_map(|file| Some(fs::metadata(file).ok()?.len())).sum())
}
