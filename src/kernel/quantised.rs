//! Matrices of quantised weights: where they lie, their rows, and products on the CPU path.

use std::sync::Arc;

use burn::tensor::{DType, Device, Int, Tensor};

use super::{
    Kernel, from_host, host, integers, join,
    launch::{Launch, from_adapter, integers_on_adapter, shader},
    product::Operand,
};
use crate::{
    cpu::quantised::BlockMatrix,
    oracle::quantised::{self as oracle, QuantisedParams},
    quantise::Blocks,
};

/// `shaders/nn/quantised_rows.wgsl`
pub const QUANTISED_ROWS: Kernel = shader!("nn", "quantised_rows", [64, 1, 1]);

/// Shaders read the words of so many outputs at once, and matrices on an adapter have room for a multiple.
pub(crate) const OUTPUTS_AT_ONCE: usize = 4;
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
    /// On the CPU path, where a matrix does not fit a [`BlockMatrix`], or is to be compared with an adapter's.
    Host(Arc<Blocks>),
}

impl QuantisedMatrix {
    /// Puts a matrix on `device`; `on_adapter` says whether that runs shaders.
    pub fn new(blocks: Blocks, device: &Device, on_adapter: bool) -> Self {
        let params = blocks.params;
        let memory = match on_adapter {
            true => {
                let blocks = blocks.padded(OUTPUTS_AT_ONCE);
                Memory::Adapter { ranges: whole(blocks.ranges, device), words: whole(blocks.words, device) }
            }
            false => Memory::Host(Arc::new(blocks)),
        };
        Self { params, memory, device: device.clone() }
    }

    /// A matrix of arbitrary numbers of about variance `1 / inputs`, made where it is used, for measuring.
    pub fn arbitrary(inputs: usize, outputs: usize, bits: u32, device: &Device, on_adapter: bool) -> Self {
        const SPREAD: u32 = 2_654_435_761;
        let params = QuantisedParams { rows: 0, inputs: inputs as u32, outputs: outputs as u32, bits };
        let steps = ((1u32 << bits) - 1) as f32;
        // Numbers spread evenly over [-b, b] have the variance b² / 3.
        let bound = (3.0 / inputs as f32).sqrt();
        let half = |value: f32| u32::from(half::f16::from_f32(value).to_bits());
        let range = half(2.0 * bound / steps) | half(-bound) << 16;
        let held = if on_adapter { outputs.next_multiple_of(OUTPUTS_AT_ONCE) } else { outputs };
        let blocks = inputs / 32 * held;
        let words = blocks * bits as usize;
        let memory = match on_adapter {
            true => {
                // An odd factor spreads neighbouring indices over all words.
                let words = Tensor::arange(0..words as i64, (device, DType::U32)) * SPREAD;
                Memory::Adapter { words, ranges: Tensor::full([blocks], range, (device, DType::U32)) }
            }
            false => {
                let words = (0..words as u32).map(|index| index.wrapping_mul(SPREAD)).collect();
                Memory::Host(Arc::new(Blocks { words, ranges: vec![range; blocks], params }))
            }
        };
        Self { params, memory, device: device.clone() }
    }

    /// Rows of the matrix.
    pub fn outputs(&self) -> usize {
        self.params.outputs as usize
    }

    /// Bytes of numbers and ranges.
    pub fn bytes(&self) -> u64 {
        let QuantisedParams { inputs, outputs, bits, .. } = self.params;
        u64::from(inputs / 32) * u64::from(bits + 1) * u64::from(outputs) * 4
    }

    /// The device it lies on.
    pub fn device(&self) -> Device {
        self.device.clone()
    }

    /// `x Wᵀ` on the CPU path, `[rows, inputs]` to `[rows, outputs]`.
    pub fn product(&self, x: &Tensor<2>) -> Tensor<2> {
        match &self.memory {
            Memory::Host(blocks) => host_product(x, blocks),
            Memory::Adapter { .. } => nothing([x.dims()[0], self.outputs()], &self.device),
        }
    }

    /// The matrix as shaders take it; `None` on the CPU path.
    pub fn operand(&self) -> Option<Operand> {
        let Memory::Adapter { words, ranges } = &self.memory else { return None };
        let QuantisedParams { inputs, outputs, bits, .. } = self.params;
        let (words, ranges) = (integers_on_adapter(words)?, integers_on_adapter(ranges)?);
        Some(Operand::blocks(words, ranges, bits, inputs as usize, outputs as usize))
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
            Memory::Adapter { words: all_words, ranges: all_ranges } => {
                let index = integers::<1>(index, [rows], &self.device);
                let inputs_of = (
                    integers_on_adapter(all_words),
                    integers_on_adapter(all_ranges),
                    integers_on_adapter(&index),
                );
                let (Some(words), Some(ranges), Some(index)) = inputs_of else {
                    return nothing([rows, inputs], &self.device);
                };
                let outputs = self.outputs().next_multiple_of(OUTPUTS_AT_ONCE);
                let params = QuantisedParams { outputs: outputs as u32, ..params };
                let launch = Launch::new(QUANTISED_ROWS).somewhere(words);
                let launch = launch.somewhere(ranges).words(index, rows);
                let launch = launch.output([rows, inputs], DType::F32);
                let words = params.inputs / 32 * params.bits;
                let groups = [words.div_ceil(QUANTISED_ROWS.workgroup[0]), params.rows, 1];
                from_adapter(launch.run(groups, &params, params.rows_cost()).remove(0))
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

/// `x Wᵀ` on the CPU path, by blocks as they are.
pub fn block_product(x: &Tensor<2>, weight: &BlockMatrix) -> Tensor<2> {
    let (shape, device) = ([x.dims()[0], weight.outputs()], x.device());
    match weight.product(&host(x)) {
        Ok(y) if y.len() == shape[0] * shape[1] => from_host(y, shape, &device),
        _ => nothing(shape, &device),
    }
}

/// The rows `index` of a matrix on the CPU path; every index must be below its outputs.
pub fn block_rows(index: &[u32], weight: &BlockMatrix) -> Tensor<2> {
    let (shape, device) = ([index.len(), weight.inputs()], Device::flex());
    match weight.rows(index) {
        Ok(rows) if rows.len() == shape[0] * shape[1] => from_host(rows, shape, &device),
        _ => nothing(shape, &device),
    }
}

/// All of `values` as a tensor.
fn whole(values: Vec<u32>, device: &Device) -> Tensor<1, Int> {
    let count = values.len();
    integers(values, [count], device)
}

/// What becomes of operands that do not fit each other: no number, which the check of the logits reports.
fn nothing(shape: [usize; 2], device: &Device) -> Tensor<2> {
    from_host(vec![f32::NAN; shape[0] * shape[1]], shape, device)
}
