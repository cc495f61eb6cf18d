//! Kernels of `shaders/nn`: parts of any transformer.

use burn::tensor::{DType, Tensor};

use super::{
    Kernel,
    host::{elements, from_host, host},
    launch::{Launch, from_adapter, on_adapter, shader},
    variants::Variants,
};
use crate::{
    cpu::{self, matrix::MatrixMut, product::Floats},
    oracle::nn::NormParams,
};

/// `shaders/nn/layer_norm.wgsl`
pub const LAYER_NORM: Kernel = shader!("nn", "layer_norm", [128, 1, 1], "norm");
/// `shaders/nn/rms_norm.wgsl`
pub const RMS_NORM: Kernel = shader!("nn", "rms_norm", [128, 1, 1], "norm");

/// Rows of a workgroup of a norm with a thread a row.
const ROWS_APART: u32 = 8;

/// A norm's kernel for an adapter, and its workgroups for so many rows.
fn norm(kernel: Kernel, rows: u32, variants: Variants) -> (Kernel, [u32; 3]) {
    match variants.is_software {
        true => (apart(kernel), [rows.div_ceil(ROWS_APART), 1, 1]),
        false => (kernel, [rows, 1, 1]),
    }
}

/// A norm's kernel with a thread a row.
pub(super) fn apart(kernel: Kernel) -> Kernel {
    let mut kernel = kernel.with("SHARES", 1).with("ROWS", ROWS_APART);
    kernel.workgroup = [1, ROWS_APART, 1];
    kernel
}

/// The RMSNorm of every row; see [`oracle::rms_norm`](crate::oracle::nn::rms_norm).
pub fn rms_norm(x: &Tensor<2>, weight: &Tensor<1>, eps: f32, variants: Variants) -> Tensor<2> {
    let [rows, width] = x.dims();
    let params = NormParams { rows: rows as u32, width: width as u32, eps };
    if let (Some(x), Some(weight)) = (on_adapter(x), on_adapter(weight)) {
        let (kernel, groups) = norm(RMS_NORM, params.rows, variants);
        let launch = Launch::new(kernel).floats(x, rows * width).floats(weight, width);
        let launch = launch.output([rows, width], DType::F32);
        return from_adapter(launch.run(groups, &params, params.rms_norm_cost()).remove(0));
    }
    let mut normed = vec![0.0; rows * width];
    cpu::nn::rms_norm(&params, &host(x), &host(weight), &mut normed);
    from_host(normed, [rows, width], &x.device())
}

/// `x Wᵀ + b` on the CPU path, with the rows of `W` in parts of 16- or 32-bit floats.
pub fn product(x: &Tensor<2>, parts: &[Tensor<2>], bias: Option<&Tensor<1>>) -> Tensor<2> {
    let ([rows, inputs], outputs) = (x.dims(), parts.iter().map(|part| part.dims()[0]).sum());
    let mut y = vec![0.0; rows * outputs];
    let (device, x, bias) = (x.device(), host(x), bias.map(host));
    let (mut rest, mut first) = (MatrixMut::new(&mut y, rows, outputs), 0);
    for part in parts {
        let (columns, others) = rest.split(part.dims()[0]);
        let bias = bias.as_ref().map(|bias| &bias[first..first + columns.columns()]);
        (rest, first) = (others, first + columns.columns());
        match part.dtype() {
            DType::F16 => cpu::product::product(&x, inputs, Floats::Half(&elements(part)), bias, columns),
            _ => cpu::product::product(&x, inputs, Floats::Single(&host(part)), bias, columns),
        }
    }
    from_host(y, [rows, outputs], &device)
}

/// `silu(gate) up` on the CPU path, where each row holds the gates, then as many values.
pub fn swiglu(x: &Tensor<2>) -> Tensor<2> {
    let [rows, width] = x.dims();
    let mut gated = vec![0.0; rows * width / 2];
    cpu::nn::swiglu(&host(x), width / 2, &mut gated);
    from_host(gated, [rows, width / 2], &x.device())
}

/// `x + delta` on the CPU path.
pub fn add(x: &Tensor<2>, delta: &Tensor<2>) -> Tensor<2> {
    let mut sum = host(x).to_vec();
    cpu::nn::add_to(&mut sum, &host(delta));
    from_host(sum, x.dims(), &x.device())
}

/// The LayerNorm of every row; see [`oracle::layer_norm`](crate::oracle::nn::layer_norm).
pub fn layer_norm(
    x: &Tensor<2>,
    weight: &Tensor<1>,
    bias: &Tensor<1>,
    eps: f32,
    variants: Variants,
) -> Tensor<2> {
    let [rows, width] = x.dims();
    let params = NormParams { rows: rows as u32, width: width as u32, eps };
    if let (Some(x), Some(weight), Some(bias)) = (on_adapter(x), on_adapter(weight), on_adapter(bias)) {
        let (kernel, groups) = norm(LAYER_NORM, params.rows, variants);
        let launch = Launch::new(kernel).floats(x, rows * width).floats(weight, width).floats(bias, width);
        let launch = launch.output([rows, width], DType::F32);
        return from_adapter(launch.run(groups, &params, params.layer_norm_cost()).remove(0));
    }
    let mut normed = vec![0.0; rows * width];
    cpu::nn::layer_norm(&params, &host(x), &host(weight), &host(bias), &mut normed);
    from_host(normed, [rows, width], &x.device())
}

/// `x σ(factor x)` for each value, on the CPU path.
pub fn swish(x: &Tensor<2>, factor: f32) -> Tensor<2> {
    let mut y = vec![0.0; x.shape().num_elements()];
    cpu::nn::swish(&host(x), factor, &mut y);
    from_host(y, x.dims(), &x.device())
}
