//! Products with quantised matrices, by candle's kernels for ggml's blocks.
//!
//! `q8` is Q8_0 (32 weights share a scale, 8.5 bits a weight), `q4` is Q4_K (256 weights, of which each 32 share a scale and
//! a minimum of 6 bits, 4.5 bits a weight). Rows of `x` are quantised to 8 bits as well, which is what makes these products
//! faster than those of floats, and moves results by about a hundredth of their spread.

use std::{
    borrow::Cow,
    fmt,
    ops::Range,
    sync::{Arc, Once},
};

use candle_core::{
    CpuStorage, CustomOp1, Device, Layout, Tensor,
    backend::BackendStorage,
    quantized::{
        GgmlDType, QStorage, QTensor, QuantizedType,
        k_quants::{BlockQ4K, BlockQ8_0, GgmlType},
    },
};
use memmap2::Mmap;
use rayon::prelude::*;

use super::{mapped::MappedBlocks, threads::together};
use crate::{cancel, checkpoint::mmap};

/// Weights in the largest block: candle's fast kernels take whole ones.
const BLOCK: usize = 256;
/// Outputs that those kernels compute at a time.
const TILE: usize = 16;

/// Operations until the next look at whether the work is to end: some hundredths of a second at 400 GFLOP/s. More looks
/// would cost: each part of a product reads all the weights.
const MOST_FLOPS: usize = 16 << 30;
/// From so many rows on, processors with AMX multiply by tiles of another kind.
const MANY_ROWS: usize = 32;

/// A quantised matrix, `[outputs, inputs]`.
#[derive(Clone)]
pub struct BlockMatrix {
    tensor: Arc<QTensor>,
    /// Where its blocks lie, if not in memory.
    file: Option<Arc<FilePages>>,
    inputs: usize,
    outputs: usize,
}

/// The pages of a file that blocks lie in.
struct FilePages {
    map: Arc<Mmap>,
    range: Range<usize>,
    /// After a first product of few rows, and of many: some processors have tiles of their own for either.
    released: [Once; 2],
}

impl FilePages {
    /// Lets the pages go after the first product of so many rows, which made tiles of what they hold. Where it made none,
    /// the second brings them back for good.
    fn release(&self, rows: usize) {
        let kind = usize::from(rows >= MANY_ROWS);
        self.released[kind].call_once(|| mmap::release(&self.map, self.range.clone()));
    }
}

impl BlockMatrix {
    /// Whether a matrix of this size is multiplied fast.
    pub fn fits(inputs: usize, outputs: usize) -> bool {
        inputs > 0 && inputs.is_multiple_of(BLOCK) && outputs > 0 && outputs.is_multiple_of(TILE)
    }

    /// Quantises `[outputs, inputs]` row-major weights to `bits` bits, 4 or 8; the size must [fit](Self::fits).
    ///
    /// # Errors
    ///
    /// For a size that does not.
    pub fn new(weights: &[f32], inputs: usize, bits: u32) -> candle_core::Result<Self> {
        let outputs = weights.len() / inputs.max(1);
        if !Self::fits(inputs, outputs) || weights.len() != inputs * outputs {
            candle_core::bail!("{} weights of {inputs} inputs do not fit blocks and tiles", weights.len());
        }
        let storage = match format(bits) {
            GgmlDType::Q4K => blocks::<BlockQ4K>(weights, inputs),
            _ => blocks::<BlockQ8_0>(weights, inputs),
        };
        let tensor = Arc::new(QTensor::new(storage, (outputs, inputs))?);
        Ok(Self { tensor, file: None, inputs, outputs })
    }

    /// The matrix whose blocks, as [`data`](Self::data) gives them, lie in `range` of a mapped file; `None` if they do not.
    ///
    /// The first product makes the tiles that products are computed from, and lets the file's pages go.
    pub fn mapped(
        map: &Arc<Mmap>,
        range: Range<usize>,
        inputs: usize,
        outputs: usize,
        bits: u32,
    ) -> Option<Self> {
        if !Self::fits(inputs, outputs) || range.len() as u64 != Self::block_bytes(inputs, outputs, bits) {
            return None;
        }
        let storage: Box<dyn QuantizedType> = match format(bits) {
            GgmlDType::Q4K => Box::new(MappedBlocks::<BlockQ4K>::new(map.clone(), range.clone())?),
            _ => Box::new(MappedBlocks::<BlockQ8_0>::new(map.clone(), range.clone())?),
        };
        let tensor = QTensor::new(QStorage::Cpu(storage), (outputs, inputs)).ok()?;
        let file = FilePages { map: map.clone(), range, released: [Once::new(), Once::new()] };
        Some(Self { tensor: Arc::new(tensor), file: Some(Arc::new(file)), inputs, outputs })
    }

    /// A matrix that repeats the rows of a small one, for measuring.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn repeated(weights: &[f32], inputs: usize, outputs: usize, bits: u32) -> candle_core::Result<Self> {
        let few = Self::new(weights, inputs, bits)?;
        let bytes = few.tensor.data()?;
        let row = bytes.len() / few.outputs.max(1);
        let mut all = bytes.repeat(outputs.div_ceil(few.outputs.max(1)));
        all.truncate(row * outputs);
        let storage = QStorage::from_data(all.into(), &Device::Cpu, format(bits))?;
        let tensor = Arc::new(QTensor::new(storage, (outputs, inputs))?);
        Ok(Self { tensor, file: None, inputs, outputs })
    }

    /// Rows of the matrix.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Columns of the matrix.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes of the blocks.
    pub fn bytes(&self) -> u64 {
        self.tensor.storage_size_in_bytes() as u64
    }

    /// The blocks, row by row, as ggml has them.
    ///
    /// # Errors
    ///
    /// None, for a matrix on the CPU.
    pub fn data(&self) -> candle_core::Result<Cow<'_, [u8]>> {
        self.tensor.data()
    }

    /// Bytes of the blocks of a matrix that [fits](Self::fits).
    pub fn block_bytes(inputs: usize, outputs: usize, bits: u32) -> u64 {
        let format = format(bits);
        (inputs / format.block_size() * outputs * format.type_size()) as u64
    }

    /// Bytes of the tiles that candle makes of them with AVX-512 or AVX2: scales and minima are float32 there, for which Q4_K
    /// has 6 bits each. Other processors' tiles are no larger, but for AMX's, of which there are a second set of 10 bits.
    pub fn tile_bytes(inputs: usize, outputs: usize, bits: u32) -> u64 {
        let of_block = if format(bits) == GgmlDType::Q4K { 192 } else { 272 };
        (inputs / BLOCK * outputs) as u64 * of_block
    }

    /// `x Wᵀ`, of `[rows, inputs]` to `[rows, outputs]`.
    ///
    /// # Errors
    ///
    /// For an `x` of other rows.
    pub fn product(&self, x: &[f32]) -> candle_core::Result<Vec<f32>> {
        let at_once = (MOST_FLOPS / (2 * self.inputs * self.outputs)).max(MANY_ROWS);
        let rows = x.len() / self.inputs;
        if x.len() != rows * self.inputs {
            candle_core::bail!("{} values, expected rows of {}", x.len(), self.inputs);
        }
        let mut y = Vec::with_capacity(rows * self.outputs);
        for x in x.chunks(at_once * self.inputs) {
            if cancel::is_due() {
                y.resize(rows * self.outputs, 0.0);
                break;
            }
            let layout = Layout::contiguous((x.len() / self.inputs, self.inputs));
            match self.tensor.cpu_fwd(&CpuStorage::F32(x.to_vec()), &layout)?.0 {
                CpuStorage::F32(rows) => y.extend(rows),
                other => candle_core::bail!("a product of float32, not {:?}", other.dtype()),
            }
        }
        self.file.iter().for_each(|file| file.release(rows));
        Ok(y)
    }

    /// The rows `index`, `[index.len(), inputs]`.
    ///
    /// # Errors
    ///
    /// What candle says of an index that is not below the outputs.
    pub fn rows(&self, index: &[u32]) -> candle_core::Result<Vec<f32>> {
        let rows = self.tensor.embedding(&Tensor::new(index, &Device::Cpu)?)?;
        rows.flatten_all()?.to_vec1()
    }
}

impl fmt::Debug for BlockMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockMatrix({:?}, [{}, {}])", self.tensor.dtype(), self.outputs, self.inputs)
    }
}

/// The format of 4 bits, or of 8.
fn format(bits: u32) -> GgmlDType {
    if bits == 4 { GgmlDType::Q4K } else { GgmlDType::Q8_0 }
}

/// The blocks of all rows.
fn blocks<T: GgmlType + Send + Sync + 'static>(weights: &[f32], inputs: usize) -> QStorage {
    let mut blocks = vec![T::zeros(); weights.len() / T::BLCK_SIZE];
    let rows = blocks.par_chunks_mut((inputs / T::BLCK_SIZE).max(1)).zip(weights.par_chunks(inputs.max(1)));
    together(|| rows.for_each(|(blocks, weights)| T::from_float(weights, blocks)));
    QStorage::Cpu(Box::new(blocks))
}
