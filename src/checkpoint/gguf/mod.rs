//! Models in one GGUF file, the format of llama.cpp: metadata and tensors, in version 2 or 3, little endian.
//!
//! Numbers of the format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod cursor;
mod names;
mod tensors;
mod value;

use std::{
    collections::{BTreeMap, btree_map},
    fmt,
    path::{Path, PathBuf},
};

use super::{Checkpoint, Location, mmap, quoted, shards::Shard};
use crate::error::{Error, Result};
use cursor::Cursor;
use tensors::TensorInfo;
use value::Kind;

pub use value::{Array, Value};

const MAGIC: [u8; 4] = *b"GGUF";
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;
/// Far above any real header, of which the tokenizer's vocabulary is most.
const HEADER_LIMIT_BYTES: usize = 100_000_000;
/// What a pair of the metadata takes at least: length of its key, type, value.
const LEAST_PAIR_BYTES: usize = 8 + 4 + 1;
const ALIGNMENT: &str = "general.alignment";
const DEFAULT_ALIGNMENT: usize = 32;

/// A GGUF file whose header was checked: every tensor lies in the file, apart from all others.
pub struct Gguf {
    path: PathBuf,
    map: mmap::Mapping,
    metadata: BTreeMap<String, Value>,
    tensors: Vec<TensorInfo>,
}

impl Gguf {
    /// Maps a file and reads its header.
    ///
    /// # Errors
    /// [`Error::Model`] if there is no such file, if it is cut short or damaged, or has a tensor of a type that is
    /// not read (all but F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q6_K and Q8_0); [`Error::Io`] if it cannot be mapped.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let Some(map) = mmap::map(&path)? else {
            return Err(Error::model(path, "no such file; expected a model in the GGUF format"));
        };
        let (metadata, tensors) = parse(map.bytes()).map_err(|problem| Error::model(&path, problem))?;
        Ok(Self { path, map, metadata, tensors })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A value of the metadata.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// Whether a tensor is stored under llama.cpp's name `name`.
    pub fn has_tensor(&self, name: &str) -> bool {
        self.tensors.iter().any(|tensor| tensor.name == name)
    }
}

impl fmt::Debug for Gguf {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let (path, tensors) = (&self.path, self.tensors.len());
        formatter.debug_struct("Gguf").field("path", path).field("tensors", &tensors).finish_non_exhaustive()
    }
}

/// The header of a whole file.
fn parse(file: &[u8]) -> Result<(BTreeMap<String, Value>, Vec<TensorInfo>), String> {
    let mut cursor = Cursor::new(file.get(..HEADER_LIMIT_BYTES).unwrap_or(file));
    let magic: [u8; 4] = cursor.array("magic number")?;
    if magic != MAGIC {
        return Err(format!("not a GGUF file: expected it to begin with {MAGIC:?}, found {magic:?}"));
    }
    let version = cursor.u32("version")?;
    if !VERSIONS.contains(&version) {
        let endian = if VERSIONS.contains(&version.swap_bytes()) { ", which is big endian" } else { "" };
        return Err(format!("expected GGUF version 2 or 3, little endian, found {version}{endian}"));
    }
    let tensor_count = tensors::read_count(&mut cursor)?;
    let pair_count = cursor.count(LEAST_PAIR_BYTES, "number of metadata pairs")?;
    let metadata = read_metadata(&mut cursor, pair_count)?;
    let alignment = alignment(&metadata)?;
    let mut tensors = tensors::read(&mut cursor, tensor_count)?;
    // Cannot overflow: both are below the limits above.
    let data_start = cursor.at().next_multiple_of(alignment);
    tensors::place(&mut tensors, data_start, alignment, file.len())?;
    Ok((metadata, tensors))
}

fn read_metadata(cursor: &mut Cursor, count: usize) -> Result<BTreeMap<String, Value>, String> {
    let mut metadata = BTreeMap::new();
    for index in 0..count {
        let key = cursor.text(&format!("key {index} of the metadata"))?;
        let kind = Kind::read_kind(cursor, &quoted(key))?;
        let value = kind.read(cursor, &quoted(key), 0)?;
        match metadata.entry(key.to_owned()) {
            btree_map::Entry::Vacant(vacant) => vacant.insert(value),
            btree_map::Entry::Occupied(_) => {
                return Err(format!("damaged: the metadata has {} twice", quoted(key)));
            }
        };
    }
    Ok(metadata)
}

/// What offsets of tensors are multiples of.
fn alignment(metadata: &BTreeMap<String, Value>) -> Result<usize, String> {
    const RANGE: std::ops::RangeInclusive<usize> = 8..=65_536;
    let found = match metadata.get(ALIGNMENT) {
        None => return Ok(DEFAULT_ALIGNMENT),
        Some(Value::Unsigned(found)) => *found,
        Some(_) => return Err(format!("damaged: {ALIGNMENT}: expected a number, found another type")),
    };
    let fits = |alignment: &usize| alignment.is_power_of_two() && RANGE.contains(alignment);
    usize::try_from(found).ok().filter(fits).ok_or_else(|| {
        let (least, most) = (RANGE.start(), RANGE.end());
        format!("damaged: {ALIGNMENT}: expected a power of two from {least} to {most}, found {found}")
    })
}

impl Checkpoint {
    /// The tensors of a Llama in a GGUF file, whose heads have `head_dim` rows, under their canonical names.
    ///
    /// llama.cpp turns neighbouring pairs of a head's numbers, this program (as transformers) the halves of a
    /// head; rows of queries and keys are therefore read in the order that transformers has them.
    ///
    /// # Errors
    /// [`Error::Model`] naming a tensor that no Llama has.
    pub fn from_gguf(gguf: Gguf, head_dim: usize) -> Result<Self> {
        let Gguf { path, map, tensors, .. } = gguf;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut checkpoint = Self { root: path, shards: vec![Shard::mapped(file, map)], ..Self::default() };
        for TensorInfo { name, dtype, shape, range } in tensors {
            let Some(canonical) = names::canonical(&name) else {
                let problem = match name.as_str() {
                    "rope_freqs.weight" => {
                        "a scaling of rotary frequencies, which is not supported".to_owned()
                    }
                    _ => "expected the tensors of a Llama, which has none of that name".to_owned(),
                };
                return Err(Error::model(&checkpoint.root, format!("tensor {}: {problem}", quoted(&name))));
            };
            let interleaved = names::is_rotary(&canonical).then_some(head_dim);
            let location =
                Location { shard: 0, stored_name: name, dtype: Ok(dtype), shape, range, interleaved };
            checkpoint.insert(canonical, location)?;
        }
        Ok(checkpoint)
    }
}
