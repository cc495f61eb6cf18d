//! Blocks that lie in a mapped file.
#![allow(unsafe_code)]

use std::{marker::PhantomData, ops::Range, sync::Arc};

use candle_core::{
    CpuStorage, Result,
    quantized::{
        GgmlDType, QuantizedType,
        k_quants::{self, BlockQ4K, BlockQ8_0, GgmlType},
    },
};
use half::f16;
use memmap2::Mmap;

/// Blocks of small numbers and their scales.
///
/// # Safety
///
/// Every bit pattern of their size is one.
pub unsafe trait PlainBlock: GgmlType + Send + Sync + 'static {}

// SAFETY: two float16 and bytes.
unsafe impl PlainBlock for BlockQ4K {}
// SAFETY: a float16 and bytes.
unsafe impl PlainBlock for BlockQ8_0 {}

/// The blocks of a matrix in a file.
///
/// Where candle makes tiles of them at the first product, it looks at the blocks no more; their pages can then go, and come
/// back from the file should they be asked for.
pub struct MappedBlocks<T> {
    map: Arc<Mmap>,
    range: Range<usize>,
    of: PhantomData<T>,
}

impl<T: PlainBlock> MappedBlocks<T> {
    /// Whole blocks in `range` of a file; `None` if they are no such, or are not there.
    pub fn new(map: Arc<Mmap>, range: Range<usize>) -> Option<Self> {
        let bytes = map.get(range.clone())?;
        let is_whole = bytes.len().is_multiple_of(size_of::<T>()) && bytes.as_ptr().cast::<T>().is_aligned();
        is_whole.then_some(Self { map, range, of: PhantomData })
    }

    fn blocks(&self) -> &[T] {
        let bytes = &self.map[self.range.clone()];
        // SAFETY: `new` saw that there are whole blocks, aligned, of which every bit pattern is one; what a mapped file may do
        // meanwhile is said in `checkpoint::mmap`.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) }
    }
}

impl<T: PlainBlock> QuantizedType for MappedBlocks<T> {
    fn dtype(&self) -> GgmlDType {
        T::DTYPE
    }

    fn matmul_t(&self, mkn: (usize, usize, usize), lhs: &[f32], dst: &mut [f32]) -> Result<()> {
        k_quants::matmul(mkn, lhs, self.blocks(), dst)
    }

    fn matmul_t_f16(&self, mkn: (usize, usize, usize), lhs: &[f16], dst: &mut [f16]) -> Result<()> {
        k_quants::matmul_f16(mkn, lhs, self.blocks(), dst)
    }

    fn embedding(&self, ids: &[u32], rows: usize, hidden: usize) -> Result<CpuStorage> {
        let row_blocks = hidden / T::BLCK_SIZE;
        let mut values = vec![0.0; ids.len() * hidden];
        for (id, values) in ids.iter().zip(values.chunks_exact_mut(hidden)) {
            let start = *id as usize * row_blocks;
            let Some(blocks) = self.blocks().get(start..start + row_blocks) else {
                candle_core::bail!("row {id} of {rows}");
            };
            T::to_float(blocks, values);
        }
        Ok(CpuStorage::F32(values))
    }

    fn dequantize(&self, elem_count: usize) -> Result<CpuStorage> {
        let mut values = vec![0.0; elem_count];
        T::to_float(self.blocks(), &mut values);
        Ok(CpuStorage::F32(values))
    }

    fn storage_size_in_bytes(&self) -> usize {
        self.range.len()
    }

    fn as_ptr(&self) -> *const u8 {
        self.blocks().as_ptr().cast()
    }

    fn block_size(&self) -> usize {
        T::BLCK_SIZE
    }

    /// A mapped file is read, never written: nothing happens.
    fn from_float(&mut self, _xs: &[f32]) {}

    /// As [`from_float`](Self::from_float).
    fn from_float_imatrix(&mut self, _xs: &[f32], _imatrix_weights: &[f32], _n_per_row: usize) {}

    fn size(&self) -> usize {
        self.range.len()
    }
}
