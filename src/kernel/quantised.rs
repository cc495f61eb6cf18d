//! Products with quantised weights.

use std::sync::Arc;

use burn::tensor::{DType, Device, Int, Tensor};

use super::{
    Kernel, from_host, integers, join,
    launch::{Launch, from_adapter, integers_on_adapter, on_adapter},
};
use crate::{
    oracle::quantised::{self as oracle, QuantisedParams},
    quantise::Blocks,
};

/// `shaders/nn/quantised_vector.wgsl`
pub const QUANTISED_VECTOR: Kernel =
    Kernel::new("quantised_vector", include_str!("../../shaders/nn/quantised_vector.wgsl"), [32, 4, 1]);
/// `shaders/nn/quantised_matrix.wgsl`
pub const QUANTISED_MATRIX: Kernel =
    Kernel::new("quantised_matrix", include_str!("../../shaders/nn/quantised_matrix.wgsl"), [64, 1, 1]);
/// `shaders/nn/quantised_rows.wgsl`
pub const QUANTISED_ROWS: Kernel =
    Kernel::new("quantised_rows", include_str!("../../shaders/nn/quantised_rows.wgsl"), [64, 1, 1]);

/// Rows that a thread of [`QUANTISED_MATRIX`] computes.
const ROWS_A_THREAD: u32 = 8;
/// Rows from which on [`QUANTISED_MATRIX`] does less than [`QUANTISED_VECTOR`] once a row.
const FEW_ROWS: usize = 4;
/// Outputs that the CPU path unpacks at a time.
const PANEL: usize = 512;

/// A quantised matrix where it is used.
#[derive(Debug, Clone)]
pub struct QuantisedMatrix {
    params: QuantisedParams,
    memory: Memory,
    device: Device,
}

#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a few hundred of them, beside gigabytes of weights")]
enum Memory {
    Adapter {
        words: Tensor<1, Int>,
        ranges: Tensor<1, Int>,
    },
    /// The CPU path reads blocks as they are.
    Host(Arc<Blocks>),
}

impl QuantisedMatrix {
    /// Puts a matrix on `device`; `on_adapter` says whether that runs shaders.
    pub fn new(blocks: Blocks, device: &Device, on_adapter: bool) -> Self {
        let params = blocks.params;
        let memory = match on_adapter {
            true => {
                Memory::Adapter { ranges: whole(blocks.ranges, device), words: whole(blocks.words, device) }
            }
            false => Memory::Host(Arc::new(blocks)),
        };
        Self { params, memory, device: device.clone() }
    }

    /// Rows of the matrix.
    pub fn outputs(&self) -> usize {
        self.params.outputs as usize
    }

    /// The device it lies on.
    pub fn device(&self) -> Device {
        self.device.clone()
    }

    /// `x Wᵀ`, `[rows, inputs]` to `[rows, outputs]`; see [`oracle::quantised_matrix`].
    pub fn product(&self, x: &Tensor<2>) -> Tensor<2> {
        let [rows, _] = x.dims();
        let params = QuantisedParams { rows: rows as u32, ..self.params };
        match &self.memory {
            Memory::Host(blocks) => host_product(x, blocks),
            Memory::Adapter { words, ranges } => {
                let (kernel, rows_a_group) = match rows <= FEW_ROWS {
                    true => (QUANTISED_VECTOR, 1),
                    false => (QUANTISED_MATRIX, ROWS_A_THREAD),
                };
                let groups =
                    [params.outputs.div_ceil(kernel.workgroup[0]), params.rows.div_ceil(rows_a_group), 1];
                let inputs = (on_adapter(x), integers_on_adapter(words), integers_on_adapter(ranges));
                let (Some(x), Some(words), Some(ranges)) = inputs else {
                    return nothing([rows, self.outputs()], &self.device);
                };
                let launch = Launch::new(kernel).input(x).input(words).input(ranges);
                let launch = launch.output([rows, self.outputs()], DType::F32);
                from_adapter(launch.run(groups, &params).remove(0))
            }
        }
    }

    /// The rows `index`, `[rows, inputs]`; see [`oracle::quantised_rows`]. Every index must be below the outputs.
    pub fn rows(&self, index: Vec<u32>) -> Tensor<2> {
        let (rows, inputs) = (index.len(), self.params.inputs as usize);
        let params = QuantisedParams { rows: rows as u32, ..self.params };
        match &self.memory {
            Memory::Host(blocks) => {
                let mut values = vec![0.0; rows * inputs];
                oracle::quantised_rows(&params, &blocks.words, &blocks.ranges, &index, &mut values);
                from_host(values, [rows, inputs], &self.device)
            }
            Memory::Adapter { words, ranges } => {
                let index = integers::<1>(index, [rows], &self.device);
                let inputs_of =
                    (integers_on_adapter(words), integers_on_adapter(ranges), integers_on_adapter(&index));
                let (Some(words), Some(ranges), Some(index)) = inputs_of else {
                    return nothing([rows, inputs], &self.device);
                };
                let launch = Launch::new(QUANTISED_ROWS).input(words).input(ranges).input(index);
                let launch = launch.output([rows, inputs], DType::F32);
                let words = params.inputs / 32 * params.bits;
                let groups = [words.div_ceil(QUANTISED_ROWS.workgroup[0]), params.rows, 1];
                from_adapter(launch.run(groups, &params).remove(0))
            }
        }
    }
}

/// The product on the CPU path: a panel of outputs is unpacked, then multiplied as floats.
fn host_product(x: &Tensor<2>, blocks: &Blocks) -> Tensor<2> {
    let (inputs, outputs) = (blocks.params.inputs as usize, blocks.params.outputs as usize);
    let panels: Vec<Tensor<2>> = (0..outputs)
        .step_by(PANEL)
        .map(|from| {
            let to = outputs.min(from + PANEL);
            x.clone().matmul(from_host(blocks.columns(from, to), [inputs, to - from], &x.device()))
        })
        .collect();
    join(panels, 1)
}

/// All of `values` as a tensor.
fn whole(values: Vec<u32>, device: &Device) -> Tensor<1, Int> {
    let count = values.len();
    integers(values, [count], device)
}

/// What becomes of operands on different devices: no number, which the check of the logits reports.
fn nothing(shape: [usize; 2], device: &Device) -> Tensor<2> {
    from_host(vec![f32::NAN; shape[0] * shape[1]], shape, device)
}
