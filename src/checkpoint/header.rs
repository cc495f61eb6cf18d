//! The header of a safetensors file, checked in full before anything relies on it.
//!
//! `safetensors` checks that the tensors lie one behind the other without hole or overlap and that shape, type
//! and length agree. Added here: which tensors do not, names that occur twice (it keeps the last), sums of lengths
//! that overflow (it panics or wraps), empty dimensions, and messages that say what to do.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    ops::Range,
};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};

use super::quoted;

/// The header's length comes first, as a little-endian u64.
const LENGTH_BYTES: usize = 8;
/// The format's own limit on the header.
const HEADER_LIMIT_BYTES: u64 = 100_000_000;
/// How a file begins that Git left in the place of a large one.
pub(super) const LFS_POINTER: &[u8] = b"version https://git-lfs";
/// What there is to say and do about one.
pub(super) const LFS_ADVICE: &str = "this is a Git LFS pointer, not the file itself; run `git lfs pull`";

/// One tensor of a file: what it is and where its bytes lie.
pub(super) struct Entry {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub range: Range<usize>,
}

/// The tensors of a whole safetensors file.
///
/// # Errors
/// What is wrong with the file, without its path.
pub(super) fn parse(file: &[u8]) -> Result<Vec<Entry>, String> {
    if file.starts_with(LFS_POINTER) {
        return Err(LFS_ADVICE.into());
    }
    let Some(length) = file.first_chunk::<LENGTH_BYTES>().map(|bytes| u64::from_le_bytes(*bytes)) else {
        return Err(format!("cut short: {} bytes are no safetensors file; download it again", file.len()));
    };
    if length > HEADER_LIMIT_BYTES {
        return Err(format!(
            "expected a header of at most {HEADER_LIMIT_BYTES} bytes, found a length of {length}: not a \
             safetensors file, or damaged"
        ));
    }
    let data_start = LENGTH_BYTES + length as usize;
    let Some(header) = file.get(LENGTH_BYTES..data_start) else {
        return Err(format!(
            "cut short: the header ends at byte {data_start}, the file at {}; download it again",
            file.len()
        ));
    };
    // A copy, since the file may be written to while its header is read.
    let header = header.to_vec();
    let Header(infos) = serde_json::from_slice(&header)
        .map_err(|error| format!("damaged header: {error}; download it again"))?;
    let (names, metadata) = check_layout(infos)?;
    check_length(data_start, metadata.data_len(), file.len())?;
    names.into_iter().filter_map(|name| entry(name, &metadata, data_start).transpose()).collect()
}

fn check_layout(infos: BTreeMap<String, TensorInfo>) -> Result<(Vec<String>, Metadata), String> {
    let names = infos.keys().cloned().collect();
    let mut infos: Vec<_> = infos.into_iter().collect();
    infos.sort_by_key(|(_, info)| info.data_offsets);
    check_order(&infos).map_err(|problem| format!("damaged header: {problem}; download it again"))?;
    let metadata = Metadata::new(None, infos)
        .map_err(|error| format!("damaged header: {}; download it again", quoted(&error.to_string())))?;
    Ok((names, metadata))
}

/// Each tensor begins where the one before it ends.
fn check_order(infos: &[(String, TensorInfo)]) -> Result<(), String> {
    let (mut before, mut end) = (None, 0);
    for (name, info) in infos {
        let (start, next_end) = info.data_offsets;
        let name = quoted(name);
        match before {
            Some(before) if start < end => {
                return Err(format!(
                    "tensors {before} and {name} overlap, from byte {start} to {end} of the data"
                ));
            }
            Some(before) if start > end => {
                return Err(format!(
                    "a hole between tensors {before} and {name}, from byte {end} to {start} of the data"
                ));
            }
            None if start > 0 => return Err(format!("a hole before tensor {name}, of {start} bytes")),
            _ => {}
        }
        (before, end) = (Some(name), next_end);
    }
    Ok(())
}

fn check_length(data_start: usize, data_length: usize, file_length: usize) -> Result<(), String> {
    match data_start.checked_add(data_length) {
        Some(end) if end == file_length => Ok(()),
        Some(end) if end < file_length => {
            Err(format!("the tensors end at byte {end}, the file at {file_length}; download it again"))
        }
        end => {
            let end = end.map_or("beyond any file".to_owned(), |end| format!("at byte {end}"));
            Err(format!("cut short: the tensors end {end}, the file at {file_length}; download it again"))
        }
    }
}

fn entry(name: String, metadata: &Metadata, data_start: usize) -> Result<Option<Entry>, String> {
    let Some(info) = metadata.info(&name) else { return Ok(None) };
    if info.shape.contains(&0) {
        return Err(format!("tensor {} has an empty dimension: {:?}", quoted(&name), info.shape));
    }
    let (start, end) = info.data_offsets;
    let range = data_start + start..data_start + end;
    Ok(Some(Entry { dtype: info.dtype, shape: info.shape.clone(), range, name }))
}

/// The header's members by name, without `__metadata__`.
struct Header(BTreeMap<String, TensorInfo>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor).map(Self)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = BTreeMap<String, TensorInfo>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut infos = BTreeMap::new();
        while let Some(name) = members.next_key::<String>()? {
            if name == "__metadata__" {
                members.next_value::<Option<HashMap<String, String>>>()?;
                continue;
            }
            let info = members.next_value()?;
            if infos.contains_key(&name) {
                return Err(A::Error::custom(format!("tensor {} occurs twice", quoted(&name))));
            }
            infos.insert(name, info);
        }
        Ok(infos)
    }
}
