//! Oracles of `shaders/nn`.

use half::f16;

use super::prefill::{LogSumExpParams, log_sum_exp};

/// Sizes of [`attention`], laid out as the shader's uniform: those of a log-sum-exp, which it gives as well.
pub type AttentionParams = LogSumExpParams;

/// `softmax(scale Q Kᵀ) V` over the columns that a row sees, for every head, and the logarithm of each row's softmax
/// denominator. The shader takes heads of at most 128 components, a multiple of 4.
///
/// # Shapes
///
/// - `query`, `mixed`: `[rows, heads, head_dim]`
/// - `key`, `value`: `[columns or more, key_heads, head_dim]`
/// - `log_sum`: `[rows, heads]`
pub fn attention(
    params: &AttentionParams,
    query: &[f32],
    key: &[f32],
    value: &[f32],
    mixed: &mut [f32],
    log_sum: &mut [f32],
) {
    let (heads, key_heads) = (params.heads as usize, params.key_heads as usize);
    let head_dim = params.head_dim as usize;
    log_sum_exp(params, query, key, log_sum);
    let rows = query.chunks_exact(head_dim).zip(mixed.chunks_exact_mut(head_dim)).zip(log_sum);
    for (index, ((query, mixed), log_sum)) in rows.enumerate() {
        let (row, head) = (index / heads, index % heads);
        let mut sums = vec![0.0f64; head_dim];
        for column in 0..params.visible(row) {
            let at = (column * key_heads + head / params.group()) * head_dim;
            let score: f64 = query.iter().zip(&key[at..]).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
            let weight = (f64::from(params.scale) * score - f64::from(*log_sum)).exp();
            sums.iter_mut().zip(&value[at..]).for_each(|(sum, value)| *sum += weight * f64::from(*value));
        }
        mixed.iter_mut().zip(sums).for_each(|(mixed, sum)| *mixed = sum as f32);
    }
}

/// Sizes of [`rms_norm`], laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct RmsNormParams {
    /// Rows.
    pub rows: u32,
    /// Width of a row.
    pub width: u32,
    /// 1 if `delta` is added first, else 0.
    pub has_delta: u32,
    /// Added to the mean square.
    pub eps: f32,
}

/// `sum = x + delta`, and `normed = sum / sqrt(mean(sum²) + eps) * weight` for each row (RMSNorm, arXiv 1910.07467).
///
/// # Shapes
///
/// - `x`, `sum`, `normed`: `[rows, width]`; so is `delta`, or it is not read
/// - `weight`: `[width]`
pub fn rms_norm(
    params: &RmsNormParams,
    x: &[f32],
    delta: &[f32],
    weight: &[f32],
    sum: &mut [f32],
    normed: &mut [f32],
) {
    sum.copy_from_slice(x);
    if params.has_delta == 1 {
        sum.iter_mut().zip(delta).for_each(|(sum, delta)| *sum += delta);
    }
    let width = params.width as usize;
    for (sum, normed) in sum.chunks_exact(width).zip(normed.chunks_exact_mut(width)) {
        let square: f64 = sum.iter().map(|value| f64::from(*value).powi(2)).sum();
        let factor = 1.0 / (square / width as f64 + f64::from(params.eps)).sqrt();
        for ((normed, value), weight) in normed.iter_mut().zip(sum).zip(weight) {
            *normed = (f64::from(*value) * factor * f64::from(*weight)) as f32;
        }
    }
}

/// Sizes of [`swiglu`], laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct SwigluParams {
    /// Values.
    pub count: u32,
    /// Threads along the grid's x axis.
    pub columns: u32,
}

/// `gate / (1 + exp(-gate)) * up` (SwiGLU, arXiv 2002.05202). All slices are `[count]`.
pub fn swiglu(params: &SwigluParams, gate: &[f32], up: &[f32], gated: &mut [f32]) {
    for ((gated, gate), up) in gated.iter_mut().zip(gate).zip(up).take(params.count as usize) {
        let gate = f64::from(*gate);
        *gated = (gate / (1.0 + (-gate).exp()) * f64::from(*up)) as f32;
    }
}

/// Sizes of [`float_vector`], laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct FloatVectorParams {
    /// Rows of `x`.
    pub rows: u32,
    /// Columns of the matrix; a multiple of 4.
    pub inputs: u32,
    /// Rows of the matrix.
    pub outputs: u32,
    /// 1 if weights are 16-bit floats, two a word and the first in its lower half, else 0.
    pub is_half: u32,
}

/// `y = x Wᵀ`, with the bits of `W` in words.
///
/// # Shapes
///
/// - `x`: `[rows, inputs]`
/// - `weight`: `[outputs, inputs]`, or half as many words
/// - `y`: `[rows, outputs]`
pub fn float_vector(params: &FloatVectorParams, x: &[f32], weight: &[u32], y: &mut [f32]) {
    let (inputs, outputs) = (params.inputs as usize, params.outputs as usize);
    let weight_at = |i: usize| match params.is_half {
        1 => f16::from_bits((weight[i / 2] >> (i % 2 * 16)) as u16).to_f64(),
        _ => f64::from(f32::from_bits(weight[i])),
    };
    for (x, y) in x.chunks_exact(inputs).zip(y.chunks_exact_mut(outputs)) {
        for (output, y) in y.iter_mut().enumerate() {
            let products = x.iter().enumerate().map(|(i, x)| f64::from(*x) * weight_at(output * inputs + i));
            *y = products.sum::<f64>() as f32;
        }
    }
}

/// Sizes of [`rotary`], laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct RotaryParams {
    /// Rows.
    pub tokens: u32,
    /// Heads of a row.
    pub heads: u32,
    /// Components of a head; even.
    pub head_dim: u32,
}

/// Rotates every head by its token's position: `(a, b) -> (a cos - b sin, b cos + a sin)`.
///
/// `a` and `b` are components `i` and `i + head_dim / 2` of a head (RoFormer, arXiv 2104.09864, section
/// 3.4.2, in the pairing of Llama checkpoints).
///
/// # Shapes
///
/// - `x`, `rotated`: `[tokens, heads, head_dim]`
/// - `table`: `[tokens, head_dim]`, the cosines of a token's angles, then their sines
pub fn rotary(params: &RotaryParams, x: &[f32], table: &[f32], rotated: &mut [f32]) {
    let (heads, head_dim) = (params.heads as usize, params.head_dim as usize);
    let rows = x.chunks_exact(heads * head_dim).zip(rotated.chunks_exact_mut(heads * head_dim));
    for ((x, rotated), table) in rows.zip(table.chunks_exact(head_dim)).take(params.tokens as usize) {
        let (cosines, sines) = table.split_at(head_dim / 2);
        for (x, rotated) in x.chunks_exact(head_dim).zip(rotated.chunks_exact_mut(head_dim)) {
            let (a, b) = x.split_at(head_dim / 2);
            let (ra, rb) = rotated.split_at_mut(head_dim / 2);
            for i in 0..head_dim / 2 {
                let (cosine, sine) = (f64::from(cosines[i]), f64::from(sines[i]));
                let (a, b) = (f64::from(a[i]), f64::from(b[i]));
                ra[i] = (a * cosine - b * sine) as f32;
                rb[i] = (b * cosine + a * sine) as f32;
            }
        }
    }
}
