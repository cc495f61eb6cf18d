//! What tensors a GGUF file says it has, and whether they can lie where it says.

use std::{collections::HashSet, ops::Range};

use super::cursor::Cursor;
use crate::checkpoint::{blocks::BlockFormat, quoted, tensor::StoredDtype};

/// The format's own limit on dimensions.
const MOST_DIMENSIONS: u32 = 4;
/// What a tensor takes in the header at least: length of its name, number of dimensions, one of them, type, offset.
const LEAST_BYTES: usize = 8 + 4 + 8 + 4 + 8;

/// The types that are read, by their number in the format.
const DTYPES: [(u32, StoredDtype); 9] = [
    (0, StoredDtype::F32),
    (1, StoredDtype::F16),
    (2, StoredDtype::Blocks(BlockFormat::Q4_0)),
    (3, StoredDtype::Blocks(BlockFormat::Q4_1)),
    (6, StoredDtype::Blocks(BlockFormat::Q5_0)),
    (7, StoredDtype::Blocks(BlockFormat::Q5_1)),
    (8, StoredDtype::Blocks(BlockFormat::Q8_0)),
    (14, StoredDtype::Blocks(BlockFormat::Q6K)),
    (30, StoredDtype::BF16),
];
/// Names of common types that are not read, for messages.
const OTHERS: [(u32, &str); 5] = [(10, "Q2_K"), (11, "Q3_K"), (12, "Q4_K"), (13, "Q5_K"), (28, "F64")];

/// One tensor: what it is and where its bytes lie.
pub(super) struct TensorInfo {
    pub name: String,
    pub dtype: StoredDtype,
    /// Outermost dimension first, as everywhere but in the file.
    pub shape: Vec<usize>,
    /// In the file, once [`place`] was called; from the start of the data before.
    pub range: Range<usize>,
}

pub(super) fn read_count(cursor: &mut Cursor) -> Result<usize, String> {
    cursor.count(LEAST_BYTES, "number of tensors")
}

/// Reads the descriptions of `count` tensors.
pub(super) fn read(cursor: &mut Cursor, count: usize) -> Result<Vec<TensorInfo>, String> {
    let mut names = HashSet::new();
    let mut infos = Vec::new();
    for index in 0..count {
        let info = read_one(cursor, index)?;
        if !names.insert(info.name.clone()) {
            return Err(format!("damaged: tensor {} occurs twice", quoted(&info.name)));
        }
        infos.push(info);
    }
    Ok(infos)
}

fn read_one(cursor: &mut Cursor, index: usize) -> Result<TensorInfo, String> {
    let name = cursor.text(&format!("name of tensor {index}"))?.to_owned();
    let what = format!("tensor {}", quoted(&name));
    let dimensions = cursor.u32(&what)?;
    if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
        return Err(format!(
            "damaged: {what}: expected 1 to {MOST_DIMENSIONS} dimensions, found {dimensions}"
        ));
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        let size = cursor.u64(&what)?;
        let size = usize::try_from(size).ok().filter(|size| *size > 0);
        shape
            .push(size.ok_or_else(|| format!("damaged: {what}: a dimension is empty or beyond any memory"))?);
    }
    let dtype = read_dtype(cursor, &what)?;
    let bytes = stored_bytes(dtype, &shape, &what)?;
    let offset = cursor.u64(&what)?;
    let range = usize::try_from(offset).ok().and_then(|start| Some(start..start.checked_add(bytes)?));
    let range = range.ok_or_else(|| format!("damaged: {what}: the offset {offset} is beyond any file"))?;
    shape.reverse();
    Ok(TensorInfo { name, dtype, shape, range })
}

fn read_dtype(cursor: &mut Cursor, what: &str) -> Result<StoredDtype, String> {
    let number = cursor.u32(what)?;
    if let Some((_, dtype)) = DTYPES.iter().find(|(known, _)| *known == number) {
        return Ok(*dtype);
    }
    let found = match OTHERS.iter().find(|(known, _)| *known == number) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("type {number}"),
    };
    let read: Vec<_> = DTYPES.iter().map(|(_, dtype)| dtype.to_string()).collect();
    Err(format!("{what}: expected {}, found {found}", read.join(", ")))
}

/// Size of a tensor whose innermost dimension comes first.
fn stored_bytes(dtype: StoredDtype, shape: &[usize], what: &str) -> Result<usize, String> {
    let (block_numbers, block_bytes) = dtype.block();
    if block_numbers > 1 && shape.len() < 2 {
        return Err(format!("{what}: expected F32, F16 or BF16, as it is a vector, found {dtype}"));
    }
    let inner = shape.first().copied().unwrap_or(1);
    if !inner.is_multiple_of(block_numbers) {
        return Err(format!(
            "damaged: {what}: expected rows of whole blocks of {block_numbers} numbers in {dtype}, found rows of {inner}"
        ));
    }
    let numbers = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    numbers
        .and_then(|numbers| (numbers / block_numbers).checked_mul(block_bytes))
        .ok_or_else(|| format!("damaged: {what}: the dimensions {shape:?} are beyond any memory"))
}

/// Moves the ranges to where the data starts, and checks that they lie in the file, aligned and apart.
pub(super) fn place(
    infos: &mut [TensorInfo],
    data_start: usize,
    alignment: usize,
    file_bytes: usize,
) -> Result<(), String> {
    for info in &mut *infos {
        let what = format!("tensor {}", quoted(&info.name));
        if !info.range.start.is_multiple_of(alignment) {
            let start = info.range.start;
            return Err(format!("damaged: {what}: expected an offset aligned to {alignment}, found {start}"));
        }
        let end = data_start.checked_add(info.range.end).filter(|end| *end <= file_bytes);
        let Some(end) = end else {
            return Err(format!(
                "cut short or damaged: {what}: expected bytes {:?} of the data, which starts at byte {data_start}; \
                 the file ends at byte {file_bytes}; download it again",
                info.range,
            ));
        };
        info.range = data_start + info.range.start..end;
    }
    let mut placed: Vec<_> = infos.iter().collect();
    placed.sort_by_key(|info| info.range.start);
    match placed.windows(2).find(|pair| matches!(pair, [one, next] if next.range.start < one.range.end)) {
        Some([one, next]) => {
            Err(format!("damaged: tensors {} and {} overlap", quoted(&one.name), quoted(&next.name)))
        }
        _ => Ok(()),
    }
}
