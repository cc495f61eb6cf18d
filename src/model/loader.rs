//! Turns stored tensors into weights on a device.

mod joined;

use std::{cell::RefCell, ops::Range};

use burn::tensor::{DType, Distribution, Tensor, TensorData};

pub use joined::Order;

use super::{
    linear::{Linear, RowTable, Weight},
    norm::{LayerNorm, RmsNorm},
};
use crate::{
    checkpoint::{Checkpoint, StoredTensor},
    cpu::quantised::BlockMatrix,
    device::Compute,
    error::{Error, Result},
    kernel::{
        product::MOST_OUTPUTS,
        quantised::{OUTPUTS_AT_ONCE, QuantisedMatrix},
        variants::Variants,
    },
    oracle::quantised::QuantisedParams,
    quantise::Blocks,
    weight_cache::{CachedBlocks, CachedMatrix, WeightCache},
    weights::Precision,
};

/// Rows of random weights that a synthetic matrix of blocks repeats.
const SYNTHETIC_ROWS: usize = 64;

/// A tensor that the model asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its canonical name.
    pub name: String,
    /// The shape it must have.
    pub shape: Vec<usize>,
    /// Whether it is held as the precision says; vectors and tables are always float32.
    pub is_matrix: bool,
}

/// Loads weights by name, in two passes over the same model code.
///
/// The first pass ([`Loader::checking`]) only notes which tensors of which shapes the model asks for, so that
/// the checkpoint can be judged as a whole before a byte is copied; the second ([`Loader::loading`]) copies.
/// [`Loader::synthetic`] needs no checkpoint.
pub struct Loader<'a> {
    source: Source<'a>,
    compute: &'a Compute,
    /// Of matrices; vectors are always float32.
    precision: Precision,
    cached: RefCell<CachedBlocks>,
}

enum Source<'a> {
    /// Nothing is loaded; what is asked for is noted.
    Checking(&'a dyn Fn(&str) -> bool, RefCell<Vec<Asked>>),
    Checkpoint(&'a Checkpoint),
    /// Random values, made on the device.
    Random,
}

impl<'a> Loader<'a> {
    fn new(source: Source<'a>, compute: &'a Compute, precision: Precision) -> Self {
        Self { source, compute, precision, cached: RefCell::new(CachedBlocks::Off) }
    }

    /// The pass that notes what is asked for and returns placeholders; `has` says which tensors there are.
    pub fn checking(has: &'a dyn Fn(&str) -> bool, compute: &'a Compute) -> Self {
        Self::new(Source::Checking(has, RefCell::default()), compute, Precision::default())
    }

    /// The pass that loads, with matrices in this precision.
    pub fn loading(checkpoint: &'a Checkpoint, compute: &'a Compute, precision: Precision) -> Self {
        Self::new(Source::Checkpoint(checkpoint), compute, precision)
    }

    /// Takes quantised weights from `cache`, or leaves them there; `asked` is what the checking pass noted.
    pub fn cached(self, cache: &WeightCache, asked: &[Asked]) -> Self {
        let Source::Checkpoint(checkpoint) = &self.source else { return self };
        let this = &self;
        let matrices = asked.iter().filter(|asked| asked.is_matrix).flat_map(|asked| {
            let (rows, width) = flat(&asked.shape);
            let held = self.held(&asked.name, rows, width);
            let parts = held.bits.map(move |bits| {
                let part = move |range: Range<usize>| blocks(range.len(), width, bits);
                held.parts(rows).map(part).map(move |params| {
                    let is_ggml = this.is_block_matrix(width, params.outputs as usize);
                    (asked.name.as_str(), CachedMatrix { params, is_ggml })
                })
            });
            parts.into_iter().flatten()
        });
        let cached = RefCell::new(cache.open(checkpoint, matrices));
        Self { cached, ..self }
    }

    /// Says that everything is loaded.
    pub fn finish(self) {
        self.cached.into_inner().finish();
    }

    /// Random weights in place of a checkpoint's, for measuring: matrices with values of variance `1 / inputs`,
    /// vectors of ones.
    pub fn synthetic(compute: &'a Compute, precision: Precision) -> Self {
        Self::new(Source::Random, compute, precision)
    }

    /// Which kernels the device runs.
    pub fn variants(&self) -> Variants {
        self.compute.variants()
    }

    /// Whether there is a tensor that the model can do without.
    pub fn has(&self, name: &str) -> bool {
        match &self.source {
            Source::Checking(has, _) => has(name),
            Source::Checkpoint(checkpoint) => checkpoint.has(name),
            Source::Random => true,
        }
    }

    /// What the checking pass noted.
    pub fn into_asked(self) -> Vec<Asked> {
        match self.source {
            Source::Checking(_, asked) => asked.into_inner(),
            _ => Vec::new(),
        }
    }

    /// `{name}.weight` as `[outputs, inputs]` and, where `bias`, `{name}.bias`.
    pub fn linear(&self, name: &str, inputs: usize, outputs: usize, bias: bool) -> Result<Linear> {
        self.flattened(name, &[outputs, inputs], bias)
    }

    /// As [`linear`](Self::linear), for a matrix stored as `[outputs, ...]`; the rest is flattened to inputs.
    pub fn flattened(&self, name: &str, shape: &[usize], bias: bool) -> Result<Linear> {
        let parts = self.matrix(&format!("{name}.weight"), shape)?;
        let bias = bias.then(|| self.vector(&format!("{name}.bias"), shape[0])).transpose()?;
        Ok(Linear::new(parts, bias, self.variants()))
    }

    /// `{name}.weight` as a table of rows.
    pub fn rows(&self, name: &str, rows: usize, width: usize) -> Result<RowTable> {
        Ok(RowTable::new(self.matrix(&format!("{name}.weight"), &[rows, width])?))
    }

    /// `{name}.weight` and `{name}.bias` of a LayerNorm.
    pub fn layer_norm(&self, name: &str, width: usize, eps: f64) -> Result<LayerNorm> {
        let weight = self.vector(&format!("{name}.weight"), width)?;
        let bias = self.vector(&format!("{name}.bias"), width)?;
        Ok(LayerNorm { weight, bias, eps, variants: self.variants() })
    }

    /// `{name}.weight` of an RMSNorm.
    pub fn rms_norm(&self, name: &str, width: usize, eps: f64) -> Result<RmsNorm> {
        let weight = self.vector(&format!("{name}.weight"), width)?;
        Ok(RmsNorm { weight, eps, variants: self.variants() })
    }

    /// A vector, as float32.
    pub fn vector(&self, name: &str, len: usize) -> Result<Tensor<1>> {
        let device = &self.compute.device;
        Ok(match self.stored(name, &[len], false)? {
            Stored::Here(stored) => Tensor::from_data(TensorData::new(stored.finite_f32()?, [len]), device),
            Stored::Placeholder => Tensor::zeros([1], device),
            Stored::Random => Tensor::ones([len], device),
        })
    }

    /// A small matrix that is added rather than multiplied with, as float32 in one part.
    pub fn table(&self, name: &str, rows: usize, width: usize) -> Result<Tensor<2>> {
        let device = &self.compute.device;
        Ok(match self.stored(name, &[rows, width], false)? {
            Stored::Here(stored) => {
                Tensor::from_data(TensorData::new(stored.finite_f32()?, [rows, width]), device)
            }
            Stored::Placeholder => Tensor::zeros([1, 1], device),
            Stored::Random => self.random([rows, width]),
        })
    }

    /// Waits for the copies queued so far, so that their staging memory is free for the next layer's.
    pub fn settle(&self) -> Result<()> {
        match self.source {
            Source::Checking(..) => Ok(()),
            _ => self.compute.wait("copy weights to the device"),
        }
    }

    fn matrix(&self, name: &str, shape: &[usize]) -> Result<Vec<Weight>> {
        let device = &self.compute.device;
        let stored = self.stored(name, shape, true)?;
        if matches!(stored, Stored::Placeholder) {
            return Ok(vec![Weight::Floats(Tensor::zeros([1, 1], device))]);
        }
        let (rows, width) = flat(shape);
        let held = self.held(name, rows, width);
        let part = |range: Range<usize>| {
            let shape = [range.len(), width];
            if let Some(bits) = held.bits.filter(|_| self.is_block_matrix(width, shape[0])) {
                let failed = |error| Error::device("quantise the weights", error);
                let matrix = match &stored {
                    Stored::Here(stored) => {
                        let quantise =
                            || BlockMatrix::new(&stored.rows_f32(range)?, width, bits).map_err(failed);
                        self.cached.borrow_mut().next_ggml(&blocks(shape[0], width, bits), quantise)?
                    }
                    _ => {
                        let few = self.random([SYNTHETIC_ROWS.min(shape[0]), width]).into_data();
                        let few = few.try_into_vec_as().unwrap_or_default();
                        BlockMatrix::repeated(&few, width, shape[0], bits).map_err(failed)?
                    }
                };
                return Ok(Weight::Blocks(matrix));
            }
            let Stored::Here(stored) = &stored else { return Ok(self.random_weight(shape, held)) };
            if let Some(bits) = held.bits {
                let blocks = self.quantised(stored, range, width, bits)?;
                return Ok(Weight::Quantised(QuantisedMatrix::new(blocks, device, !self.compute.is_cpu())));
            }
            let data = match held.dtype {
                DType::F16 => TensorData::new(stored.rows_f16(range)?, shape),
                _ => TensorData::new(stored.rows_f32(range)?, shape),
            };
            Ok(Weight::Floats(Tensor::from_data(data, (device, held.dtype))))
        };
        let parts = held.parts(rows).map(part).collect();
        self.release(name);
        parts
    }

    /// Rows of a tensor in blocks of `bits`-bit numbers, from the cache where it has them.
    fn quantised(
        &self,
        stored: &StoredTensor,
        rows: Range<usize>,
        width: usize,
        bits: u32,
    ) -> Result<Blocks> {
        let params = blocks(rows.len(), width, bits);
        self.cached.borrow_mut().next(&params, || Ok(Blocks::new(&stored.rows_f32(rows)?, width, bits)))
    }

    /// A part of random weights, `[outputs, inputs]`, held like any other.
    fn random_weight(&self, shape: [usize; 2], held: Held) -> Weight {
        let [outputs, inputs] = shape;
        match held.bits {
            Some(bits) => Weight::Quantised(QuantisedMatrix::arbitrary(
                inputs,
                outputs,
                bits,
                &self.compute.device,
                !self.compute.is_cpu(),
            )),
            None => Weight::Floats(self.random(shape).cast(held.dtype)),
        }
    }

    /// Says that a tensor was copied.
    fn release(&self, name: &str) {
        if let Source::Checkpoint(checkpoint) = &self.source {
            checkpoint.release(name);
        }
    }

    /// Whether a quantised matrix is held as the CPU multiplies it best.
    fn is_block_matrix(&self, inputs: usize, outputs: usize) -> bool {
        self.compute.is_cpu() && !self.variants().planes && BlockMatrix::fits(inputs, outputs)
    }

    /// How a matrix is held.
    fn held(&self, name: &str, rows: usize, width: usize) -> Held {
        let bits = self.precision.bits_of(name, width);
        let dtype = if self.precision.half { DType::F16 } else { DType::F32 };
        let row_bytes = bits.map_or(width * dtype.size(), |bits| (width * bits as usize).div_ceil(8)) as u64;
        let part_rows = rows_per_part(rows, row_bytes, self.compute.info().max_binding_bytes);
        Held { bits, dtype, row_bytes, part_rows }
    }

    /// Values of mean 0 and variance `1 / columns`.
    fn random(&self, shape: [usize; 2]) -> Tensor<2> {
        let bound = (3.0 / shape[1] as f64).sqrt();
        Tensor::random(shape, Distribution::Uniform(-bound, bound), &self.compute.device)
    }

    /// Where a tensor's values come from; the checking pass only notes the request.
    fn stored(&self, name: &str, shape: &[usize], is_matrix: bool) -> Result<Stored<'_>> {
        match &self.source {
            Source::Checking(_, asked) => {
                asked.borrow_mut().push(Asked { name: name.to_owned(), shape: shape.to_vec(), is_matrix });
                Ok(Stored::Placeholder)
            }
            Source::Checkpoint(checkpoint) => checkpoint.tensor(name).map(Stored::Here),
            Source::Random => Ok(Stored::Random),
        }
    }
}

/// How a matrix is held.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// Bits of a number, where it is quantised.
    bits: Option<u32>,
    /// Of the floats, where it is not.
    dtype: DType,
    row_bytes: u64,
    part_rows: usize,
}

impl Held {
    /// The rows of each part.
    fn parts(self, rows: usize) -> impl Iterator<Item = Range<usize>> {
        (0..rows).step_by(self.part_rows).map(move |start| start..(start + self.part_rows).min(rows))
    }
}

/// Rows and width of a tensor as a matrix.
fn flat(shape: &[usize]) -> (usize, usize) {
    (shape[0], shape[1..].iter().product())
}

/// The sizes of a quantised part.
fn blocks(outputs: usize, inputs: usize, bits: u32) -> QuantisedParams {
    QuantisedParams { rows: 0, inputs: inputs as u32, outputs: outputs as u32, bits }
}

/// The values of one tensor.
enum Stored<'a> {
    Here(StoredTensor<'a>),
    /// None are needed yet.
    Placeholder,
    Random,
}

/// Rows of a part such that no part is larger than the adapter binds and dispatches, and all but the last are equal.
fn rows_per_part(rows: usize, row_bytes: u64, max_bytes: u64) -> usize {
    let fit = usize::try_from(max_bytes / row_bytes.max(1)).unwrap_or(usize::MAX).clamp(1, MOST_OUTPUTS);
    // Shaders read fours of rows, and pairs of them belong together: both fit where a part is not tiny.
    let step = if fit >= OUTPUTS_AT_ONCE { OUTPUTS_AT_ONCE } else { 1 };
    let parts = rows.div_ceil(fit / step * step);
    rows.div_ceil(parts).next_multiple_of(step).min(rows)
}

#[cfg(test)]
mod tests {
    use super::rows_per_part;

    #[test]
    fn parts_fit_the_binding_limit_and_cover_all_rows() {
        let limit = 128 << 20;
        // Rows and bytes a row: a small model, Vicuna's embedding in both precisions, 13B's projections.
        for (rows, row_bytes) in [(176, 768), (32_064, 8_192), (32_064, 16_384), (13_824, 10_240), (1, 1)] {
            let part = rows_per_part(rows, row_bytes, limit);
            assert!(part as u64 * row_bytes <= limit, "{rows} rows of {row_bytes} bytes");
            assert!((1..=rows).contains(&part) && (part == rows || part.is_multiple_of(4)));
            let count = rows.div_ceil(part);
            assert_eq!(count as u64, (rows as u64 * row_bytes).div_ceil(limit), "no more parts than needed");
        }
    }
}
