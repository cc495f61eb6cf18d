//! The files a checkpoint is stored in: one, or several with an index, or several named in sequence.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Deserialize;

use super::{
    ModelFiles,
    files::is_plain_file_name,
    header::{self, Entry},
    listed,
    mmap::{self, Mapping},
    names, quoted,
};
use crate::error::{Error, Result};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// One file of tensors, held open.
pub(super) struct Shard {
    pub file: String,
    bytes: ShardBytes,
}

enum ShardBytes {
    Mapped(Mapping),
    Embedded(&'static [u8]),
}

impl Shard {
    /// A file that is mapped already.
    pub fn mapped(file: String, map: Mapping) -> Self {
        Self { file, bytes: ShardBytes::Mapped(map) }
    }

    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            ShardBytes::Mapped(map) => map.bytes(),
            ShardBytes::Embedded(bytes) => bytes,
        }
    }

    /// Whether the file still is as long as it was.
    pub fn check_length(&self) -> Result<(), String> {
        match &self.bytes {
            ShardBytes::Mapped(map) => map.check_length(),
            ShardBytes::Embedded(_) => Ok(()),
        }
    }

    /// Lets the system take back the memory behind `range`, if it is a file's.
    pub fn release(&self, range: std::ops::Range<usize>) {
        if let ShardBytes::Mapped(map) = &self.bytes {
            map.release(range);
        }
    }

    fn open(files: &ModelFiles, file: String) -> Result<(Self, Vec<Entry>)> {
        let path = files.path(&file);
        let bytes = match files {
            ModelFiles::Embedded(_) => files.embedded_bytes(&file).map(ShardBytes::Embedded),
            ModelFiles::Folder(_) => mmap::map(&path)?.map(ShardBytes::Mapped),
        };
        let Some(bytes) = bytes else { return Err(Error::model(path, "not found")) };
        let shard = Self { file, bytes };
        let entries = header::parse(shard.bytes()).map_err(|problem| Error::model(path, problem))?;
        Ok((shard, entries))
    }
}

/// The part of `model.safetensors.index.json` that matters.
#[derive(Deserialize)]
struct Index {
    /// The file each tensor is in.
    weight_map: BTreeMap<String, String>,
}

/// The files of a checkpoint.
#[derive(Default)]
pub(super) struct Opened {
    /// Each with its tensors.
    pub shards: Vec<(Shard, Vec<Entry>)>,
    /// Tensors, by canonical name, that the index puts into a file, and none has. Whoever needs one says so.
    pub promised: BTreeMap<String, String>,
}

/// Opens every file of the checkpoint. All that are listed are there, but for those in which nothing is that any model needs.
pub(super) fn open(files: &ModelFiles) -> Result<Opened> {
    if files.has(SINGLE) {
        return Ok(Opened { shards: vec![Shard::open(files, SINGLE.to_owned())?], ..Opened::default() });
    }
    match read_index(files)? {
        Some(index) => {
            let needed = index
                .weight_map
                .iter()
                .filter(|(tensor, file)| files.has(file) || !names::is_harmless(&names::canonical(tensor)));
            let shards = open_all(files, needed.map(|(_, file)| file.clone()).collect(), INDEX)?;
            let promised = promised(index, &shards);
            Ok(Opened { shards, promised })
        }
        None => {
            let shards = open_all(files, numbered_shards(files)?, "the file names' own count")?;
            Ok(Opened { shards, ..Opened::default() })
        }
    }
}

fn open_all(files: &ModelFiles, names: BTreeSet<String>, source: &str) -> Result<Vec<(Shard, Vec<Entry>)>> {
    let missing: Vec<_> = names.iter().filter(|name| !files.has(name)).map(|name| quoted(name)).collect();
    if !missing.is_empty() {
        let problem = format!(
            "{} of {} files that {source} calls for are missing: {}; download the model again",
            missing.len(),
            names.len(),
            listed(&missing, ", "),
        );
        return Err(Error::model(files.root(), problem));
    }
    names.into_iter().map(|name| Shard::open(files, name)).collect()
}

fn read_index(files: &ModelFiles) -> Result<Option<Index>> {
    let Some(json) = files.read(INDEX)? else { return Ok(None) };
    let invalid = |problem: String| Error::model(files.path(INDEX), problem);
    let index: Index = serde_json::from_slice(&json)
        .map_err(|error| invalid(format!("expected a weight_map from tensors to files: {error}")))?;
    if index.weight_map.is_empty() {
        return Err(invalid("expected a weight_map from tensors to files, found an empty one".into()));
    }
    match index.weight_map.iter().find(|(_, file)| !is_plain_file_name(file)) {
        Some((tensor, file)) => Err(invalid(format!(
            "weight_map puts {} into {}; expected the plain name of a file in the same folder",
            quoted(tensor),
            quoted(file),
        ))),
        None => Ok(Some(index)),
    }
}

/// What the index names and no file has.
fn promised(index: Index, shards: &[(Shard, Vec<Entry>)]) -> BTreeMap<String, String> {
    let entries = shards.iter().flat_map(|(_, entries)| entries);
    let stored: HashSet<&str> = entries.map(|entry| entry.name.as_str()).collect();
    let absent = index.weight_map.into_iter().filter(|(tensor, _)| !stored.contains(tensor.as_str()));
    absent.map(|(tensor, file)| (names::canonical(&tensor).into_owned(), file)).collect()
}

/// Every file of the sequence `model-00001-of-0000N.safetensors` that one found file belongs to.
fn numbered_shards(files: &ModelFiles) -> Result<BTreeSet<String>> {
    let names = files.names()?;
    let totals: BTreeSet<u32> = names.iter().filter_map(|name| shard_total(name)).collect();
    let mut totals = totals.into_iter();
    match (totals.next(), totals.next()) {
        (Some(total), None) => {
            Ok((1..=total).map(|number| format!("model-{number:05}-of-{total:05}.safetensors")).collect())
        }
        (Some(one), Some(other)) => Err(Error::model(
            files.root(),
            format!("expected one set of model-*.safetensors, found parts of {one} and of {other}"),
        )),
        (None, _) => Err(Error::model(
            files.root(),
            format!(
                "no weights: expected {SINGLE}, {INDEX} or model-00001-of-0000N.safetensors (a checkpoint in \
                 pytorch_model.bin must be converted to safetensors first)"
            ),
        )),
    }
}

/// N of `model-XXXXX-of-NNNNN.safetensors`.
fn shard_total(name: &str) -> Option<u32> {
    let numbers = name.strip_prefix("model-")?.strip_suffix(".safetensors")?;
    let (number, total) = numbers.split_once("-of-")?;
    let is_number = |digits: &str| digits.len() == 5 && digits.bytes().all(|digit| digit.is_ascii_digit());
    if is_number(number) && is_number(total) { total.parse().ok().filter(|total| *total > 0) } else { None }
}
