//! Oracles of `shaders/prefill`.

use std::cmp::Ordering;

/// Sizes of [`text_attention`], laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct TextAttentionParams {
    /// Text tokens.
    pub rows: u32,
    /// Column of the first vision token.
    pub first: u32,
    /// Vision tokens.
    pub columns: u32,
    /// Heads of a query.
    pub heads: u32,
    /// Heads of a key, dividing `heads`.
    pub key_heads: u32,
    /// Components of a head.
    pub head_dim: u32,
    /// Factor on the scores, `1 / sqrt(head_dim)`.
    pub scale: f32,
}

impl TextAttentionParams {
    /// Query heads that share a key head.
    pub fn group(&self) -> usize {
        (self.heads / self.key_heads) as usize
    }
}

/// `S_j = sum_i A_ij` and `M_j = max_i A_ij` of the mean over heads `A_ij` of the softmax attention from text
/// row `i` to vision token `j` (MustDrop, stage P).
///
/// # Shapes
///
/// - `query`: `[rows, heads, head_dim]`
/// - `key`: `[first + columns or more, key_heads, head_dim]`
/// - `log_sum`: `[rows, heads]`, from [`log_sum_exp`](super::nn::log_sum_exp) over all columns a row sees
/// - `attention_sum`, `attention_max`: `[columns]`
pub fn text_attention(
    params: &TextAttentionParams,
    query: &[f32],
    key: &[f32],
    log_sum: &[f32],
    attention_sum: &mut [f32],
    attention_max: &mut [f32],
) {
    let (heads, key_heads) = (params.heads as usize, params.key_heads as usize);
    let head_dim = params.head_dim as usize;
    let keys = key.chunks_exact(key_heads * head_dim).skip(params.first as usize);
    for ((key, sum), max) in keys.zip(attention_sum).zip(attention_max) {
        let (mut total, mut highest) = (0.0, 0.0f64);
        for (query, log_sum) in query.chunks_exact(heads * head_dim).zip(log_sum.chunks_exact(heads)) {
            let weight = |head: usize| {
                let key = &key[head / params.group() * head_dim..][..head_dim];
                let score = f64::from(params.scale) * dot(&query[head * head_dim..][..head_dim], key);
                exp(score - f64::from(log_sum[head]))
            };
            let mean = (0..heads).map(weight).sum::<f64>() / heads as f64;
            total += mean;
            highest = highest.max(mean);
        }
        (*sum, *max) = (total as f32, highest as f32);
    }
}

/// Sizes of [`dual_attention`], laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct DualAttentionParams {
    /// Vision tokens.
    pub tokens: u32,
    /// Bound of the sum, relative to the sum over all tokens (`g`).
    pub global_threshold: f32,
    /// Bound of the maximum (`a`).
    pub individual_threshold: f32,
}

/// Drops token `j` iff `S_j < g Σ S` and `M_j < a` and `j` is no key token (MustDrop, stage P).
///
/// The importance is `max(S_j / (g Σ S), M_j / a)`; a token that is no key token stays iff it is at least 1.
///
/// # Shapes
///
/// All slices are `[tokens]`; `is_key` and `keep` hold 0 or 1.
pub fn dual_attention(
    params: &DualAttentionParams,
    attention_sum: &[f32],
    attention_max: &[f32],
    is_key: &[u32],
    importance: &mut [f32],
    keep: &mut [u32],
) {
    const TINY: f64 = 1e-30;
    let total: f64 = attention_sum.iter().map(|sum| f64::from(*sum)).sum();
    let global_bound = f64::from(params.global_threshold) * total;
    let individual_bound = f64::from(params.individual_threshold);
    for j in 0..params.tokens as usize {
        let (sum, max) = (f64::from(attention_sum[j]), f64::from(attention_max[j]));
        let is_low = sum < global_bound && max < individual_bound;
        keep[j] = if is_low { is_key[j] } else { 1 };
        importance[j] = (sum / global_bound.max(TINY)).max(max / individual_bound.max(TINY)) as f32;
    }
}

/// Sizes of [`top_k`], laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct TopKParams {
    /// Scores.
    pub count: u32,
    /// How many are chosen.
    pub k: u32,
}

/// 1 for the `k` first: preferred ones, then higher scores, then lower indices. Scores are numbers: none is NaN.
///
/// # Shapes
///
/// All slices are `[count]`; `preferred` and `is_top` hold 0 or 1.
pub fn top_k(params: &TopKParams, score: &[f32], preferred: &[u32], is_top: &mut [u32]) {
    let is_before = |j: usize, i: usize| match preferred[j].cmp(&preferred[i]) {
        Ordering::Equal => score[j] > score[i] || (score[j] == score[i] && j < i),
        order => order == Ordering::Greater,
    };
    for (i, is_top) in is_top.iter_mut().enumerate().take(params.count as usize) {
        let before = (0..params.count as usize).filter(|&j| is_before(j, i)).count();
        *is_top = u32::from(before < params.k as usize);
    }
}

/// Sizes of [`compact`], laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct CompactParams {
    /// Tokens.
    pub count: u32,
    /// How many of them stay.
    pub kept: u32,
    /// Added to every index: the row of token 0.
    pub offset: u32,
}

/// The indices of the tokens that stay, ascending, and whether they are protected.
///
/// # Shapes
///
/// - `stays`, `is_key`: `[count]`, 0 or 1
/// - `index`, `kept_is_key`: `[kept]`
pub fn compact(
    params: &CompactParams,
    stays: &[u32],
    is_key: &[u32],
    index: &mut [u32],
    kept_is_key: &mut [u32],
) {
    let staying = (0..params.count as usize).filter(|&i| stays[i] == 1).take(params.kept as usize);
    for ((i, index), kept_is_key) in staying.zip(index).zip(kept_is_key) {
        *index = params.offset + i as u32;
        *kept_is_key = is_key[i];
    }
}

/// A weight as good as float32 holds it; only sums need more.
fn exp(x: f64) -> f64 {
    f64::from((x as f32).exp())
}

/// The scalar product, in eight sums that the compiler can keep in vector registers.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for i in 0..8 {
            sums[i] += f64::from(a[i]) * f64::from(b[i]);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| f64::from(*a) * f64::from(*b));
    sums.iter().sum::<f64>() + rest.sum::<f64>()
}
