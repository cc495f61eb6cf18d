//! A tensor as it is stored, and its conversion to what the model computes with.

use std::{borrow::Cow, fmt, ops::Range, path::Path};

use half::{
    bf16, f16,
    slice::{HalfBitsSliceExt, HalfFloatSliceExt},
};
use safetensors::tensor::Dtype;

use super::blocks::BlockFormat;
use crate::error::{Error, Result};

/// Numbers converted at a time, so that the float32 in between stays in the cache.
const BLOCK: usize = 4096;

/// The types of numbers a model's tensors may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoredDtype {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of a float32.
    BF16,
    /// Blocks of small numbers, in files of llama.cpp.
    Blocks(BlockFormat),
}

impl StoredDtype {
    /// The type, unless it is one that no LLaVA is stored in.
    pub(super) fn of(dtype: Dtype) -> Result<Self, Dtype> {
        match dtype {
            Dtype::F32 => Ok(Self::F32),
            Dtype::F16 => Ok(Self::F16),
            Dtype::BF16 => Ok(Self::BF16),
            other => Err(other),
        }
    }

    /// The fewest numbers that are stored together, and how many bytes they take.
    pub(super) fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::Blocks(format) => (format.numbers(), format.bytes()),
        }
    }
}

impl fmt::Display for StoredDtype {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32 => formatter.write_str("F32"),
            Self::F16 => formatter.write_str("F16"),
            Self::BF16 => formatter.write_str("BF16"),
            Self::Blocks(format) => format.fmt(formatter),
        }
    }
}

/// A tensor as it is stored: little-endian numbers, or blocks of them, in row-major order, at any alignment.
#[derive(Clone, Debug)]
pub struct StoredTensor<'a> {
    /// Of the checkpoint, for messages.
    pub(super) file: &'a Path,
    pub(super) name: &'a str,
    pub(super) dtype: StoredDtype,
    pub(super) shape: Cow<'a, [usize]>,
    /// As long as type and shape require: the header was checked, and rows are cut by whole blocks.
    pub(super) bytes: Cow<'a, [u8]>,
}

impl<'a> StoredTensor<'a> {
    /// The canonical name.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The type of the stored numbers.
    pub fn dtype(&self) -> StoredDtype {
        self.dtype
    }

    /// The dimensions, outermost first; none of them is 0.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The stored bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The part of the tensor with the given indices in the first dimension.
    ///
    /// # Errors
    /// [`Error::Argument`] if the tensor does not have those rows.
    pub fn rows(&self, range: Range<usize>) -> Result<StoredTensor<'_>> {
        let rows = self.shape.first().copied().unwrap_or_default();
        let cut = self.bytes.len().checked_div(rows).and_then(|row_bytes| {
            let (start, end) = (range.start.checked_mul(row_bytes)?, range.end.checked_mul(row_bytes)?);
            self.bytes.get(start..end)
        });
        let Some(bytes) = cut else {
            let expected = format!("rows within 0..{rows} of {}", self.name);
            return Err(Error::argument("rows", expected, format!("{range:?}")));
        };
        let inner = self.shape.iter().skip(1).copied();
        let shape = std::iter::once(range.len()).chain(inner).collect();
        let Self { file, name, dtype, .. } = *self;
        Ok(StoredTensor { file, name, dtype, shape: Cow::Owned(shape), bytes: Cow::Borrowed(bytes) })
    }

    /// [`Self::to_f32`], if all numbers are finite: one that is not would turn every answer to nothing.
    ///
    /// # Errors
    /// [`Error::Model`] with the tensor and such a number.
    pub fn finite_f32(&self) -> Result<Vec<f32>> {
        let numbers = self.to_f32();
        if all(&numbers, |number| number.is_finite()) { Ok(numbers) } else { Err(self.not_finite(&numbers)) }
    }

    /// [`Self::to_f16`], if all stored numbers are finite.
    ///
    /// # Errors
    /// As [`Self::finite_f32`].
    pub fn finite_f16(&self) -> Result<Vec<f16>> {
        let bytes = self.bytes.as_ref();
        // Seen before they are rounded, where infinity becomes the largest number.
        let is_finite = match self.dtype {
            StoredDtype::F32 => all(bytes.as_chunks().0, |bytes| f32::from_le_bytes(*bytes).is_finite()),
            StoredDtype::F16 => all(bytes.as_chunks().0, |bytes| f16::from_le_bytes(*bytes).is_finite()),
            StoredDtype::BF16 => all(bytes.as_chunks().0, |bytes| bf16::from_le_bytes(*bytes).is_finite()),
            StoredDtype::Blocks(_) => return Ok(saturating_f16(&self.finite_f32()?, |number| *number)),
        };
        if is_finite { Ok(self.to_f16()) } else { Err(self.not_finite(&self.to_f32())) }
    }

    fn not_finite(&self, numbers: &[f32]) -> Error {
        let number = numbers.iter().find(|number| !number.is_finite()).unwrap_or(&f32::NAN);
        let name = self.name;
        let problem =
            format!("tensor {name}: expected finite numbers, found {number}; the checkpoint is damaged");
        Error::model(self.file, problem)
    }

    /// All numbers as float32, exactly.
    pub fn to_f32(&self) -> Vec<f32> {
        match self.dtype {
            StoredDtype::F32 => {
                self.bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
            }
            StoredDtype::F16 => words(&self.bytes).reinterpret_cast::<f16>().to_f32_vec(),
            StoredDtype::BF16 => words(&self.bytes).reinterpret_cast::<bf16>().to_f32_vec(),
            StoredDtype::Blocks(format) => format.to_f32(&self.bytes),
        }
    }

    /// All numbers as float16: stored float16 unchanged, others rounded to nearest even.
    ///
    /// What float16 cannot hold becomes ±65504, its largest number, instead of infinity: one infinite weight
    /// would turn every output to NaN. NaN stays NaN.
    pub fn to_f16(&self) -> Vec<f16> {
        let bytes = self.bytes.as_ref();
        match self.dtype {
            StoredDtype::F16 => words(bytes).reinterpret_cast::<f16>().to_vec(),
            StoredDtype::F32 => saturating_f16(bytes.as_chunks().0, |bytes| f32::from_le_bytes(*bytes)),
            StoredDtype::BF16 => saturating_f16(words(bytes).reinterpret_cast(), bf16_to_f32),
            StoredDtype::Blocks(format) => saturating_f16(&format.to_f32(bytes), |number| *number),
        }
    }

    /// [`Self::finite_f32`] of [`Self::rows`].
    ///
    /// # Errors
    /// As both.
    pub fn rows_f32(&self, range: Range<usize>) -> Result<Vec<f32>> {
        self.rows(range)?.finite_f32()
    }

    /// [`Self::finite_f16`] of [`Self::rows`].
    ///
    /// # Errors
    /// As both.
    pub fn rows_f16(&self, range: Range<usize>) -> Result<Vec<f16>> {
        self.rows(range)?.finite_f16()
    }
}

/// Whether `is_fine` holds for all items. Looks at every one of a block, so that it can look at several at once.
fn all<T>(items: &[T], is_fine: impl Fn(&T) -> bool) -> bool {
    items.chunks(BLOCK).all(|block| block.iter().fold(true, |fine, item| fine & is_fine(item)))
}

fn bf16_to_f32(number: &bf16) -> f32 {
    number.to_f32()
}

/// The bytes as 16-bit words, in place where alignment and byte order allow it.
fn words(bytes: &[u8]) -> Cow<'_, [u16]> {
    match bytemuck::try_cast_slice(bytes) {
        Ok(words) if cfg!(target_endian = "little") => Cow::Borrowed(words),
        _ => bytes.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect(),
    }
}

fn saturating_f16<T>(stored: &[T], widen: impl Fn(&T) -> f32) -> Vec<f16> {
    let (least, most) = (f16::MIN.to_f32_const(), f16::MAX.to_f32_const());
    let mut halves = vec![f16::ZERO; stored.len()];
    let mut block = Vec::with_capacity(BLOCK);
    for (stored, halves) in stored.chunks(BLOCK).zip(halves.chunks_mut(BLOCK)) {
        block.clear();
        block.extend(stored.iter().map(|number| widen(number).clamp(least, most)));
        halves.convert_from_f32_slice(&block);
    }
    halves
}
