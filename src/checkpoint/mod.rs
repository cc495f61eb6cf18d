//! A model's tensors: memory-mapped safetensors files or a GGUF file, checked once and read tensor by tensor.
//!
//! Opening reads the headers only. A tensor's bytes are borrowed from the mapped file and converted when they
//! are asked for, so a model is loaded with one tensor's conversion in memory at a time; [`Checkpoint::release`]
//! gives back the file's pages behind it.

mod blocks;
mod embedded;
mod files;
pub mod gguf;
mod header;
pub(crate) mod mmap;
mod names;
mod shards;
mod tensor;
mod verify;

use std::{
    borrow::Cow,
    collections::{BTreeMap, btree_map},
    fmt,
    hash::Hasher,
    ops::Range,
    path::PathBuf,
};

use safetensors::tensor::Dtype;
use twox_hash::XxHash64;

use crate::error::{Error, Result};
use shards::Shard;

pub use blocks::BlockFormat;
pub(crate) use embedded::SAMPLE;
pub use files::{GGUF_PROBLEM, ModelFiles};
pub use tensor::{StoredDtype, StoredTensor};

/// A model's tensors, found by their canonical names.
///
/// A tensor has the same name here whichever version of transformers saved it: `vision_tower.…`,
/// `multi_modal_projector.linear_1.…`, `language_model.…` (without `model.`), `lm_head.weight`.
#[derive(Default)]
pub struct Checkpoint {
    root: PathBuf,
    shards: Vec<Shard>,
    tensors: BTreeMap<String, Location>,
    /// Tensors that an index puts into a file that has them not.
    promised: BTreeMap<String, String>,
}

/// What a stored tensor is and where it lies.
struct Location {
    shard: usize,
    stored_name: String,
    /// `Err` for a type that no LLaVA is stored in.
    dtype: Result<StoredDtype, Dtype>,
    shape: Vec<usize>,
    range: Range<usize>,
    /// How many rows a head has, where the halves of each head's rows are stored in turns.
    interleaved: Option<usize>,
}

impl Checkpoint {
    /// Opens `model.safetensors`, or every file of `model.safetensors.index.json`, or
    /// `model-00001-of-0000N.safetensors` and all that follow it.
    ///
    /// # Errors
    /// [`Error::Model`] naming every file that is missing, or the file that is damaged or cut short, or the
    /// tensor that is stored twice; [`Error::Io`] if a file cannot be mapped.
    pub fn open(files: &ModelFiles) -> Result<Self> {
        let opened = shards::open(files)?;
        let mut checkpoint = Self { root: files.root(), promised: opened.promised, ..Self::default() };
        for (shard, entries) in opened.shards {
            checkpoint.shards.push(shard);
            for header::Entry { name: stored_name, dtype, shape, range } in entries {
                let name = names::canonical(&stored_name).into_owned();
                let (shard, dtype) = (checkpoint.shards.len() - 1, StoredDtype::of(dtype));
                let location = Location { shard, stored_name, dtype, shape, range, interleaved: None };
                checkpoint.insert(name, location)?;
            }
        }
        Ok(checkpoint)
    }

    /// Adds a tensor under its canonical name.
    fn insert(&mut self, name: String, location: Location) -> Result<()> {
        match self.tensors.entry(name) {
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(location);
                Ok(())
            }
            btree_map::Entry::Occupied(first) => {
                let file_of = |shard: usize| self.shards.get(shard).map_or("", |shard| shard.file.as_str());
                let problem = format!(
                    "{} is stored twice: as {} in {} and as {} in {}; expected it once",
                    quoted(first.key()),
                    quoted(&first.get().stored_name),
                    quoted(file_of(first.get().shard)),
                    quoted(&location.stored_name),
                    quoted(file_of(location.shard)),
                );
                Err(Error::model(&self.root, problem))
            }
        }
    }

    /// Whether a tensor of that canonical name is stored.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Whether two tensors are stored and alike but for their values: judged by a few places, since large ones are not read whole
    /// for a question.
    pub fn differ(&self, one: &str, other: &str) -> bool {
        const PLACES: usize = 64;
        const BYTES: usize = 1024;
        let (Ok(one), Ok(other)) = (self.tensor(one), self.tensor(other)) else { return false };
        if one.dtype() != other.dtype() || one.shape() != other.shape() {
            return false;
        }
        let len = one.bytes().len();
        (0..PLACES).map(|place| place * (len / PLACES)).any(|start| {
            let range = start..len.min(start + BYTES);
            one.bytes()[range.clone()] != other.bytes()[range]
        })
    }

    /// The tensor of that canonical name.
    ///
    /// # Errors
    /// [`Error::Model`] if it is missing or not of a float type, or its file was cut since it was opened.
    pub fn tensor(&self, name: &str) -> Result<StoredTensor<'_>> {
        let found = self.tensors.get_key_value(name).and_then(|(name, location)| {
            let shard = self.shards.get(location.shard)?;
            let bytes = shard.bytes().get(location.range.clone())?;
            Some((name, location, shard, bytes))
        });
        let Some((name, location, shard, bytes)) = found else {
            return Err(Error::model(&self.root, format!("tensor {name} is missing")));
        };
        shard.check_length().map_err(|problem| Error::model(self.root.join(&shard.file), problem))?;
        let dtype = location.dtype.map_err(|found| {
            Error::model(&self.root, format!("tensor {name}: expected F32, F16 or BF16, found {found}"))
        })?;
        let bytes = location.in_order(bytes);
        Ok(StoredTensor { file: &self.root, name, dtype, shape: Cow::Borrowed(&location.shape), bytes })
    }

    /// A number that tells checkpoints apart: from every tensor's name and size, and a sample of its values.
    pub fn fingerprint(&self) -> u64 {
        const SAMPLE: usize = 4096;
        let mut hasher = XxHash64::with_seed(0);
        for (name, location) in &self.tensors {
            hasher.write(name.as_bytes());
            hasher.write_u64(location.range.len() as u64);
            let sample = location.range.start..location.range.end.min(location.range.start + SAMPLE);
            let shard = self.shards.get(location.shard);
            hasher.write(shard.and_then(|shard| shard.bytes().get(sample)).unwrap_or_default());
        }
        hasher.finish()
    }

    /// The files that hold the tensors.
    pub(crate) fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.shards.iter().map(|shard| self.root.join(&shard.file))
    }

    /// Lets the system take back the memory behind a tensor that is not needed again soon.
    pub fn release(&self, name: &str) {
        let Some(location) = self.tensors.get(name) else { return };
        if let Some(shard) = self.shards.get(location.shard) {
            shard.release(location.range.clone());
        }
    }

    /// The type that most bytes are stored in; float32 for a checkpoint without any float.
    pub fn dominant_dtype(&self) -> StoredDtype {
        let mut bytes = BTreeMap::<StoredDtype, usize>::new();
        for location in self.tensors.values() {
            if let Ok(dtype) = location.dtype {
                *bytes.entry(dtype).or_default() += location.range.len();
            }
        }
        bytes.into_iter().max_by_key(|(_, bytes)| *bytes).map_or(StoredDtype::F32, |(dtype, _)| dtype)
    }

    /// Whether the model is stored in 16 bits a number or fewer, for the most part.
    pub fn is_half(&self) -> bool {
        self.dominant_dtype() != StoredDtype::F32
    }

    /// How many numbers all tensors together hold.
    pub fn parameters(&self) -> u64 {
        // Cannot overflow: the header's check multiplied each shape without overflow, and the files hold them all.
        self.tensors.values().map(|location| location.shape.iter().product::<usize>() as u64).sum()
    }

    /// Size of all tensors together, in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.tensors.values().map(|location| location.range.len() as u64).sum()
    }
}

impl Location {
    /// The rows of a tensor's bytes in the order that transformers has them.
    ///
    /// With `n` rows a head, row `i` of its first half is stored as the head's row `2 i`, and row `i` of the second
    /// as `2 i + 1`.
    fn in_order<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let rows = self.shape.first().copied().unwrap_or_default();
        let whole = |head: &usize| rows.is_multiple_of(*head) && head.is_multiple_of(2);
        // What does not consist of heads is of a wrong shape, which is said elsewhere.
        let (Some(head), Some(row_bytes)) = (self.interleaved.filter(whole), bytes.len().checked_div(rows))
        else {
            return Cow::Borrowed(bytes);
        };
        let mut ordered = Vec::with_capacity(bytes.len());
        for head in bytes.chunks(head.saturating_mul(row_bytes).max(1)) {
            for half in 0..2 {
                let rows = head.chunks(row_bytes.max(1)).skip(half).step_by(2);
                rows.for_each(|row| ordered.extend_from_slice(row));
            }
        }
        Cow::Owned(ordered)
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let (root, tensors) = (&self.root, self.tensors.len());
        formatter
            .debug_struct("Checkpoint")
            .field("root", root)
            .field("tensors", &tensors)
            .finish_non_exhaustive()
    }
}

/// A name or value out of a file, fit to be shown: no control characters, not too long.
fn quoted(text: &str) -> String {
    const LONGEST: usize = 120;
    let mut short: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

/// The first items of a list, and how many more there are.
fn listed(items: &[String], separator: &str) -> String {
    const SHOWN: usize = 20;
    let (shown, more) = items.split_at(items.len().min(SHOWN));
    let mut list = shown.join(separator);
    if !more.is_empty() {
        list.push_str(&format!("{separator}and {} more", more.len()));
    }
    list
}
