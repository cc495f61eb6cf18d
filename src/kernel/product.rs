//! Products with matrices of any format, and what surrounds them in a transformer: a norm before, a bias, an activation
//! and a residual behind.

use burn::tensor::{DType, Tensor};
use burn_wgpu::CubeTensor;

use super::{
    Kernel, MAX_GROUPS,
    launch::{Launch, from_adapter, on_adapter, shader},
    submission,
    variants::{Unpack, Variants},
};
use crate::{config::Activation, oracle::nn::ProductParams};

/// `shaders/nn/quantised_vector.wgsl`
pub const QUANTISED_VECTOR: Kernel = shader!("nn", "quantised_vector", [8, 32, 1], "product", "few_rows");
/// `shaders/nn/float_vector.wgsl`
pub const FLOAT_VECTOR: Kernel = shader!("nn", "float_vector", [32, 8, 1], "product", "few_rows");
/// `shaders/nn/product_tile.wgsl`
pub const PRODUCT_TILE: Kernel = shader!("nn", "product_tile", [16, 8, 1], "product", "many_rows");
/// `shaders/nn/product_registers.wgsl`
pub const PRODUCT_REGISTERS: Kernel = shader!("nn", "product_registers", [16, 1, 1], "product", "many_rows");

/// Up to so many rows, reading the weights takes all the time, and a norm before the product none.
pub const FEW_ROWS: usize = 8;
/// Outputs of a workgroup of [`PRODUCT_TILE`] and [`PRODUCT_REGISTERS`].
const OUTPUTS: u32 = 64;

/// What a product's rows go through before and behind it: `activation(norm(x) Wᵀ + bias) + residual`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Around<'a> {
    /// Weights, `[inputs]`, and epsilon of an RMSNorm.
    pub norm: Option<(&'a Tensor<1>, f32)>,
    /// `[outputs]`
    pub bias: Option<&'a Tensor<1>>,
    /// Of every sum, or of each pair's first.
    pub activation: Option<Activation>,
    /// Whether outputs come in pairs, of which the first, activated by `activation`, is multiplied with the second.
    pub is_gated: bool,
    /// As large as the result; not with pairs.
    pub residual: Option<&'a Tensor<2>>,
}

/// A matrix on an adapter, or some of its rows, as shaders take them.
#[derive(Debug, Clone)]
pub struct Operand {
    /// Words of whatever format.
    weight: CubeTensor,
    /// Of quantised weights.
    ranges: Option<CubeTensor>,
    bits: u32,
    inputs: usize,
    outputs: usize,
    /// Words that a product reads.
    words: usize,
}

impl Operand {
    /// `[outputs, inputs]` of 16 or 32 bits; `None` for a tensor that is not on an adapter.
    ///
    /// Shaders read fours of floats: odd shapes are copied into even ones, which no usual model has.
    pub fn floats(weight: &Tensor<2>) -> Option<Self> {
        let [outputs, inputs] = weight.dims();
        let missing = inputs.next_multiple_of(4) - inputs;
        let mut weight = weight.clone();
        if missing > 0 {
            let zeros = Tensor::zeros([outputs, missing], (&weight.device(), weight.dtype()));
            weight = Tensor::cat(vec![weight, zeros], 1);
        }
        let inputs = inputs + missing;
        if weight.dtype() == DType::F16 && !(outputs * inputs).is_multiple_of(8) {
            weight = weight.cast(DType::F32);
        }
        let bits = if weight.dtype() == DType::F16 { 16 } else { 32 };
        let words = outputs * inputs * bits as usize / 32;
        Some(Self { weight: on_adapter(&weight)?, ranges: None, bits, inputs, outputs, words })
    }

    /// Blocks of `bits`-bit numbers, as [`oracle::quantised`](crate::oracle::quantised) has them, with room for a multiple
    /// of four outputs.
    pub(super) fn blocks(
        words: CubeTensor,
        ranges: CubeTensor,
        bits: u32,
        inputs: usize,
        outputs: usize,
    ) -> Self {
        let count = inputs / 32 * bits as usize * outputs.next_multiple_of(4);
        Self { weight: words, ranges: Some(ranges), bits, inputs, outputs, words: count }
    }
}

/// `activation(norm(x) Wᵀ + bias) + residual` on an adapter, with the rows of `W` in parts.
///
/// # Shapes
///
/// `x`: `[rows, inputs]`; result: `[rows, outputs]`, half as many where they come in pairs.
pub fn product(x: &Tensor<2>, parts: &[Operand], around: &Around, variants: Variants) -> Tensor<2> {
    let [rows, inputs] = x.dims();
    let outputs: usize = parts.iter().map(|part| part.outputs).sum();
    let columns = outputs >> u32::from(around.is_gated);
    let even_inputs = inputs.next_multiple_of(4);
    debug_assert!(!around.is_gated || around.activation.is_some() && around.residual.is_none());
    // A norm of many rows is better computed once than by every workgroup.
    let mut around = *around;
    let mut x = x.clone();
    if let Some((weight, eps)) = around.norm.take_if(|_| rows > FEW_ROWS || inputs < even_inputs) {
        x = super::nn::rms_norm(&x, weight, eps, variants);
    }
    if inputs < even_inputs {
        let zeros = Tensor::zeros([rows, even_inputs - inputs], &x.device());
        x = Tensor::cat(vec![x, zeros], 1);
    }
    let Some(operands) = Operands::new(&x, &around) else { return x };
    let mut y = None;
    let mut first = 0;
    for part in parts {
        let of_a_row = 2 * part.inputs as u64 * part.outputs as u64;
        let at_once = submission::rows_at_once(of_a_row, variants);
        for start in (0..rows).step_by(at_once) {
            let end = rows.min(start + at_once);
            submission::before(of_a_row * (end - start) as u64, &x, variants);
            let params = ProductParams {
                start: start as u32,
                rows: end as u32,
                inputs: part.inputs as u32,
                outputs: part.outputs as u32,
                first,
                columns: columns as u32,
                has_bias: u32::from(around.bias.is_some()),
                has_residual: u32::from(around.residual.is_some()),
                activation: around.activation.map_or(0, code),
                is_gated: u32::from(around.is_gated),
                eps: around.norm.map_or(0.0, |(_, eps)| eps),
            };
            y = Some(operands.launch(part, &params, variants, [rows, columns], y));
        }
        first += part.outputs as u32;
    }
    y.map_or(x, from_adapter)
}

/// The number that shaders know an activation by.
fn code(activation: Activation) -> u32 {
    match activation {
        Activation::QuickGelu => 1,
        Activation::Gelu => 2,
        Activation::GeluTanh => 3,
        Activation::Silu => 4,
        Activation::Relu => 5,
    }
}

/// What all launches of a product bind.
struct Operands {
    x: CubeTensor,
    norm: Option<CubeTensor>,
    bias: Option<CubeTensor>,
    residual: Option<CubeTensor>,
}

impl Operands {
    /// `None` if anything is not on an adapter.
    fn new(x: &Tensor<2>, around: &Around) -> Option<Self> {
        // What is not there need not be on an adapter.
        let bias = around.bias.map_or(Some(None), |bias| on_adapter(bias).map(Some));
        let norm = around.norm.map_or(Some(None), |(weight, _)| on_adapter(weight).map(Some));
        let residual = around.residual.map_or(Some(None), |residual| on_adapter(residual).map(Some));
        Some(Self { x: on_adapter(x)?, norm: norm?, bias: bias?, residual: residual? })
    }

    /// One dispatch into `y`, or into a new matrix of `shape`.
    fn launch(
        &self,
        part: &Operand,
        params: &ProductParams,
        variants: Variants,
        shape: [usize; 2],
        y: Option<CubeTensor>,
    ) -> CubeTensor {
        let rows = params.rows - params.start;
        let (kernel, groups) = choice(part, rows, params.outputs, self.norm.is_some(), variants);
        let mut launch = Launch::new(kernel).floats(self.x.clone(), (params.rows * params.inputs) as usize);
        launch = launch.words(part.weight.clone(), part.words);
        if kernel.name != FLOAT_VECTOR.name {
            let count = part.inputs / 32 * part.outputs.next_multiple_of(4);
            launch = launch.optional(part.ranges.as_ref(), &self.x, count);
        }
        if kernel.name != PRODUCT_TILE.name {
            launch = launch.optional(self.norm.as_ref(), &self.x, part.inputs);
        }
        launch = launch.optional(self.bias.as_ref(), &self.x, (params.first + params.outputs) as usize);
        launch = launch.optional(self.residual.as_ref(), &self.x, params.rows as usize * shape[1]);
        match y {
            Some(y) => launch.inout(y, params.rows as usize * shape[1]),
            None => launch.output(shape, DType::F32),
        }
        .run(groups, params, params.cost(part.bits))
        .remove(0)
    }
}

/// The kernel for a product of so many rows, and its workgroups.
fn choice(part: &Operand, rows: u32, outputs: u32, has_norm: bool, variants: Variants) -> (Kernel, [u32; 3]) {
    let has_norm = u32::from(has_norm);
    if rows as usize <= FEW_ROWS {
        let at_once = match rows {
            1 => 1,
            2 => 2,
            _ => 4,
        };
        if variants.is_software {
            let kernel = PRODUCT_REGISTERS.with("BITS", part.bits).with("ROWS", at_once);
            let groups = [outputs.div_ceil(OUTPUTS), rows.div_ceil(at_once), 1];
            return (kernel.with("HAS_NORM", has_norm), groups);
        }
        let (kernel, outputs_a_group) =
            if part.ranges.is_some() { (QUANTISED_VECTOR, 32) } else { (FLOAT_VECTOR, 8) };
        let kernel = kernel.with("BITS", part.bits).with("ROWS", at_once);
        let groups = [outputs.div_ceil(outputs_a_group), rows.div_ceil(at_once), 1];
        return (kernel.with("HAS_NORM", has_norm), groups);
    }
    match variants.unpack {
        Unpack::Registers => {
            (PRODUCT_REGISTERS.with("BITS", part.bits), [outputs.div_ceil(OUTPUTS), rows.div_ceil(16), 1])
        }
        Unpack::Tile => {
            (PRODUCT_TILE.with("BITS", part.bits), [outputs.div_ceil(OUTPUTS), rows.div_ceil(64), 1])
        }
    }
}

/// The most outputs that one part of a matrix may have: what a dispatch has workgroups for.
pub const MOST_OUTPUTS: usize = 8 * MAX_GROUPS as usize;

/// All that products are run with, for tests of each.
pub fn variants() -> Vec<Kernel> {
    let mut all = Vec::new();
    for bits in [4, 8, 16, 32] {
        let vector = if bits <= 8 { QUANTISED_VECTOR } else { FLOAT_VECTOR };
        for rows in [1, 2, 4] {
            for kernel in [vector, PRODUCT_REGISTERS] {
                let kernel = kernel.with("BITS", bits).with("ROWS", rows);
                all.extend([0, 1].map(|has_norm| kernel.with("HAS_NORM", has_norm)));
            }
        }
        all.push(PRODUCT_REGISTERS.with("BITS", bits));
        all.push(PRODUCT_TILE.with("BITS", bits));
    }
    all
}
