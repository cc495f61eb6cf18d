//! The WGSL kernels as functions on tensors.
//!
//! A function here bears the name of its shader, or of what several shaders compute in different ways. On an adapter it
//! launches one; on the CPU path it runs the [implementation](crate::cpu) of the same name, or the oracle where there is
//! little to compute. Shapes are the oracle's.

pub mod attention;
pub mod decode;
mod host;
pub mod launch;
pub mod nn;
pub mod prefill;
pub mod product;
pub mod quantised;
pub mod submission;
pub mod tally;
pub mod variants;
pub mod vision;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
pub(crate) use host::from_host;
use host::{host, host_integers};
pub use launch::Kernel;

use crate::error::{Error, Result};

/// Every shader of the crate: what the reflection test walks through.
pub const KERNELS: &[Kernel] = &[
    attention::ATTENTION,
    attention::ATTENTION_JOIN,
    attention::ATTENTION_ROWS,
    attention::ATTENTION_SPLIT,
    attention::ROTARY_APPEND,
    decode::BEST_TOKENS,
    decode::GATHER_ROWS,
    decode::MOST_LIKELY,
    nn::LAYER_NORM,
    nn::RMS_NORM,
    prefill::COMPACT,
    prefill::GATHER_SURVIVORS,
    prefill::SELECT_ROWS,
    prefill::TEXT_ATTENTION,
    prefill::TOP_K,
    product::FLOAT_VECTOR,
    product::PRODUCT_REGISTERS,
    product::PRODUCT_TILE,
    product::QUANTISED_VECTOR,
    quantised::QUANTISED_ROWS,
    vision::COVERAGE_PICKS,
    vision::WINDOW_MERGE,
    vision::WINDOW_SIMILARITY,
];

/// Every kernel with the constants that it is run with, where those are not its file's.
pub fn variants() -> Vec<Kernel> {
    let rows = [(1, 1), (8, 4), (18, 1), (32, 4)]
        .map(|(quads, rows)| attention::ATTENTION_ROWS.with("QUADS", quads).with("ROWS", rows));
    let norms = [nn::LAYER_NORM, nn::RMS_NORM].map(nn::apart);
    product::variants().into_iter().chain(rows).chain(norms).collect()
}

/// The most workgroups a dispatch may have along one axis, on every adapter.
const MAX_GROUPS: u32 = 65_535;

/// Whether a tensor lies on an adapter, rather than on the CPU path.
pub fn is_on_adapter<const D: usize>(tensor: &Tensor<D>) -> bool {
    !host::is_host(&tensor.device())
}

/// A tensor of whole numbers as shaders take them, from values in host memory.
pub fn integers<const D: usize>(values: Vec<u32>, shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    host::note_upload(device, 4 * values.len());
    Tensor::from_data(TensorData::new(values, shape), (device, DType::U32))
}

/// `Tensor::cat` that leaves a single matrix alone.
pub fn join(mut matrices: Vec<Tensor<2>>, dim: usize) -> Tensor<2> {
    if matrices.len() == 1 { matrices.remove(0) } else { Tensor::cat(matrices, dim) }
}

/// The values of several tensors of whole numbers, one behind the other.
pub fn concatenate(parts: Vec<Tensor<1, Int>>) -> Tensor<1, Int> {
    let any = parts[0].clone();
    let mut filled: Vec<_> = parts.into_iter().filter(|part| part.dims()[0] > 0).collect();
    match filled.len() {
        0 => any,
        1 => filled.remove(0),
        _ => Tensor::cat(filled, 0),
    }
}

/// Reads whole numbers back to the host.
///
/// # Errors
///
/// [`Error::Device`] naming `step` if the device failed.
pub fn read_integers(tensor: Tensor<1, Int>, step: &'static str) -> Result<Vec<u32>> {
    tally::note_read_back(tensor.dims()[0] as u64 * 4);
    let data = tensor.try_into_data().map_err(|error| Error::device(step, error))?;
    submission::is_done();
    data.convert::<u32>().try_to_vec().map_err(|error| Error::device(step, format!("{error:?}")))
}

/// Reads numbers back to the host.
///
/// # Errors
///
/// [`Error::Device`] naming `step` if the device failed.
pub fn read_numbers(tensor: Tensor<1>, step: &'static str) -> Result<Vec<f32>> {
    tally::note_read_back(tensor.dims()[0] as u64 * 4);
    let data = tensor.try_into_data().map_err(|error| Error::device(step, error))?;
    submission::is_done();
    data.try_to_vec().map_err(|error| Error::device(step, format!("{error:?}")))
}

/// Tensors of different lengths that come back to the host together: one transfer, however many they are.
#[derive(Debug, Default)]
pub struct ReadBack {
    tensors: Vec<Tensor<1>>,
}

impl ReadBack {
    /// Adds numbers; they come back in the order in which they were added.
    pub fn numbers(&mut self, tensor: &Tensor<1>) {
        self.tensors.push(tensor.clone());
    }

    /// Adds whole numbers below 2^24, which float32 holds exactly.
    pub fn integers(&mut self, tensor: &Tensor<1, Int>) {
        self.tensors.push(tensor.clone().float());
    }

    /// Reads all of them.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] naming `step` if the device failed.
    pub fn read(self, step: &'static str) -> Result<std::vec::IntoIter<Vec<f32>>> {
        let lengths: Vec<usize> = self.tensors.iter().map(|tensor| tensor.dims()[0]).collect();
        let filled: Vec<_> = self.tensors.into_iter().filter(|tensor| tensor.dims()[0] > 0).collect();
        let all = if filled.is_empty() { Vec::new() } else { read_numbers(Tensor::cat(filled, 0), step)? };
        let mut rest = all.as_slice();
        let mut parts = Vec::with_capacity(lengths.len());
        for length in lengths {
            let (part, behind) = rest.split_at(length.min(rest.len()));
            parts.push(part.to_vec());
            rest = behind;
        }
        Ok(parts.into_iter())
    }
}

/// What queries are multiplied with before they meet keys: `1 / sqrt(head_dim)`.
fn scale(head_dim: usize) -> f32 {
    1.0 / (head_dim as f32).sqrt()
}
