//! Kernels of `shaders/nn`: parts of any transformer.

use burn::tensor::{DType, Tensor};

use super::{
    Kernel, MAX_GROUPS, attention_params,
    host::{elements, from_host, host},
    launch::{Launch, from_adapter, on_adapter},
};
use crate::{
    cpu::{self, matrix::MatrixMut, product::Floats},
    oracle::nn::{RmsNormParams, RotaryParams},
};

/// `shaders/nn/attention.wgsl`
pub const ATTENTION: Kernel =
    Kernel::new("attention", include_str!("../../shaders/nn/attention.wgsl"), [8, 16, 1]);
/// `shaders/nn/rms_norm.wgsl`
pub const RMS_NORM: Kernel =
    Kernel::new("rms_norm", include_str!("../../shaders/nn/rms_norm.wgsl"), [128, 1, 1]);

/// Components of a head that [`attention`] takes at most.
pub const WIDEST_HEAD: usize = 128;

/// Attention of every row to the first `columns` rows of keys and values, and the rows' log-sum-exp; see
/// [`oracle::attention`](crate::oracle::nn::attention). Row `i` sees columns 0 to `past + i`.
pub fn attention(
    query: &Tensor<3>,
    key: &Tensor<3>,
    value: &Tensor<3>,
    columns: usize,
    past: usize,
) -> (Tensor<2>, Tensor<2>) {
    let [rows, heads, head_dim] = query.dims();
    let params = attention_params(query, key, columns, past);
    let (wide, narrow) = ([rows, heads * head_dim], [rows, heads]);
    if let (Some(query), Some(key), Some(value)) = (on_adapter(query), on_adapter(key), on_adapter(value)) {
        let launch = Launch::new(ATTENTION).floats(query, rows * heads * head_dim);
        let held = columns * key.meta.shape()[1] * head_dim;
        let launch = launch.floats(key, held).floats(value, held);
        let launch = launch.output(wide, DType::F32).output(narrow, DType::F32);
        let mut outputs =
            launch.run([params.rows.div_ceil(ATTENTION.workgroup[1]), params.heads, 1], &params);
        let mixed = from_adapter(outputs.remove(0));
        return (mixed, from_adapter(outputs.remove(0)));
    }
    let (mut mixed, mut log_sum) = (vec![0.0; rows * heads * head_dim], vec![0.0; rows * heads]);
    let device = query.device();
    let (query, key, value) = (host(query), host(key), host(value));
    cpu::attention::attention(&params, &query, &key, &value, &mut mixed, &mut log_sum);
    (from_host(mixed, wide, &device), from_host(log_sum, narrow, &device))
}

/// The RMSNorm of every row; see [`oracle::rms_norm`](crate::oracle::nn::rms_norm).
pub fn rms_norm(x: &Tensor<2>, weight: &Tensor<1>, eps: f32) -> Tensor<2> {
    let [rows, width] = x.dims();
    let params = RmsNormParams { rows: rows as u32, width: width as u32, eps };
    if let (Some(x), Some(weight)) = (on_adapter(x), on_adapter(weight)) {
        let launch = Launch::new(RMS_NORM).floats(x, rows * width).floats(weight, width);
        let launch = launch.output([rows, width], DType::F32);
        return from_adapter(launch.run([params.rows, 1, 1], &params).remove(0));
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

/// `(x - mean) / sqrt(var + eps) * weight + bias` for each row, on the CPU path.
pub fn layer_norm(x: &Tensor<2>, weight: &Tensor<1>, bias: &Tensor<1>, eps: f32) -> Tensor<2> {
    let mut normed = vec![0.0; x.shape().num_elements()];
    cpu::nn::layer_norm(&host(x), &host(weight), &host(bias), eps, &mut normed);
    from_host(normed, x.dims(), &x.device())
}

/// `x σ(factor x)` for each value, on the CPU path.
pub fn swish(x: &Tensor<2>, factor: f32) -> Tensor<2> {
    let mut y = vec![0.0; x.shape().num_elements()];
    cpu::nn::swish(&host(x), factor, &mut y);
    from_host(y, x.dims(), &x.device())
}

/// `shaders/nn/rotary.wgsl`
pub const ROTARY: Kernel = Kernel::new("rotary", include_str!("../../shaders/nn/rotary.wgsl"), [64, 1, 1]);

/// Rotates every head by its token's position; see [`oracle::rotary`](crate::oracle::nn::rotary).
///
/// # Panics
///
/// If the shapes of `x` and `table` disagree, or there are more tokens than a dispatch has workgroups.
pub fn rotary(x: Tensor<3>, table: &Tensor<2>) -> Tensor<3> {
    let [tokens, heads, head_dim] = x.dims();
    assert_eq!(table.dims(), [tokens, head_dim], "the rotary table has one row a token");
    assert!(tokens <= MAX_GROUPS as usize, "at most {MAX_GROUPS} tokens in one pass");
    let params = RotaryParams { tokens: tokens as u32, heads: heads as u32, head_dim: head_dim as u32 };
    if let (Some(x), Some(table)) = (on_adapter(&x), on_adapter(table)) {
        let groups = (params.heads * params.head_dim / 2).div_ceil(ROTARY.workgroup[0]);
        let launch = Launch::new(ROTARY)
            .floats(x, tokens * heads * head_dim)
            .floats(table, tokens * head_dim)
            .output([tokens, heads, head_dim], DType::F32);
        return from_adapter(launch.run([groups, params.tokens, 1], &params).remove(0));
    }
    let device = x.device();
    let (x, table) = (host(&x), host(table));
    let mut rotated = vec![0.0; x.len()];
    cpu::nn::rotary(&params, &x, &table, &mut rotated);
    from_host(rotated, [tokens, heads, head_dim], &device)
}
