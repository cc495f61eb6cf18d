//! Oracles of `shaders/prefill`.

use std::cmp::Ordering;

/// Sizes of [`text_attention`], laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct TextAttentionParams {
    /// Text tokens.
    pub rows: u32,
    /// The first of them among the queries.
    pub asked: u32,
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
    /// Parts into which the heads are cut; the CPU path has one.
    pub shares: u32,
    /// Column of the first text token.
    pub own: u32,
    /// Positions that a text token looks back at, its own included; 0 lets it see all.
    pub window: u32,
}

impl TextAttentionParams {
    /// Query heads that share a key head.
    pub fn group(&self) -> usize {
        (self.heads / self.key_heads) as usize
    }

    /// Whether a text token sees a vision token, given the columns' positions, which are nothing without a window.
    pub fn is_seen(&self, row: usize, column: usize, positions: &[u32]) -> bool {
        let at =
            |first: u32, number: usize| positions.get(first as usize + number).copied().unwrap_or_default();
        self.window == 0 || at(self.own, row).saturating_sub(at(self.first, column)) < self.window
    }
}

/// The softmax attention from text row `i` to vision token `j`, summed over the heads of each share (MustDrop, stage P).
///
/// # Shapes
///
/// - `query`: `[asked + rows, heads, head_dim]`
/// - `key`: `[first + columns or more, key_heads, head_dim]`
/// - `log_sum`: `[asked + rows, heads]`, from [`log_sum_exp`](super::nn::log_sum_exp) over all columns a row sees
/// - `positions`: `[own + rows or more]`, or nothing
/// - `weights`: `[shares, rows, columns]`
pub fn text_attention(
    params: &TextAttentionParams,
    query: &[f32],
    key: &[f32],
    log_sum: &[f32],
    positions: &[u32],
    weights: &mut [f32],
) {
    let TextAttentionParams { rows, asked, first, columns, .. } = *params;
    let (heads, key_heads) = (params.heads as usize, params.key_heads as usize);
    let (head_dim, shares) = (params.head_dim as usize, params.shares as usize);
    for share in 0..shares {
        for row in 0..rows as usize {
            let line = asked as usize + row;
            for column in 0..columns as usize {
                let place = (share * rows as usize + row) * columns as usize + column;
                if !params.is_seen(row, column, positions) {
                    weights[place] = 0.0;
                    continue;
                }
                let key = &key[(first as usize + column) * key_heads * head_dim..];
                let weight = |head: usize| {
                    let key = &key[head / params.group() * head_dim..][..head_dim];
                    let query = &query[(line * heads + head) * head_dim..][..head_dim];
                    exp(f64::from(params.scale) * dot(query, key) - f64::from(log_sum[line * heads + head]))
                };
                let own = share * heads / shares..(share + 1) * heads / shares;
                weights[place] = own.map(weight).sum::<f64>() as f32;
            }
        }
    }
}

/// `S_j = sum_i A_ij` and `M_j = max_i A_ij` of the mean over heads `A_ij` of the attention from text row `i` to vision
/// token `j`, from what [`text_attention`] gives.
///
/// # Shapes
///
/// - `weights`: `[shares, rows, columns]`
/// - `attention_sum`, `attention_max`: `[columns]`
pub fn attention_received(
    params: &TextAttentionParams,
    weights: &[f32],
    attention_sum: &mut [f32],
    attention_max: &mut [f32],
) {
    let (rows, columns) = (params.rows as usize, params.columns as usize);
    for (column, (sum, max)) in attention_sum.iter_mut().zip(attention_max).enumerate() {
        let mean = |row: usize| {
            let shares = weights.iter().skip(row * columns + column).step_by(rows * columns);
            shares.map(|weight| f64::from(*weight)).sum::<f64>() / f64::from(params.heads)
        };
        *sum = (0..rows).map(mean).sum::<f64>() as f32;
        *max = (0..rows).map(mean).fold(0.0, f64::max) as f32;
    }
}

/// Sizes of [`dual_attention`].
#[derive(Clone, Copy, Debug, PartialEq)]
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
/// The importance is `max(S_j / (g Σ S), M_j / a)`; a token that is no key token stays iff it is at least 1. Of a picture
/// that no text sees, as behind a sliding window, all sums are 0, none is below its bound, and everything stays.
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

/// Sizes of [`select_rows`], laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct SelectRowsParams {
    /// Tokens of the picture.
    pub tokens: u32,
    /// Text tokens that were asked.
    pub rows: u32,
    /// Parts into which the heads were cut.
    pub shares: u32,
    /// Heads of a query.
    pub heads: u32,
    /// So many tokens stay; [`UNKNOWN`] where thresholds decide.
    pub kept: u32,
    /// 1 if importance is that of [`dual_attention`], 0 if it is the sum of attention.
    pub is_dual: u32,
    /// As [`DualAttentionParams::global_threshold`].
    pub global_threshold: f32,
    /// As [`DualAttentionParams::individual_threshold`].
    pub individual_threshold: f32,
    /// Row of token 0.
    pub start: u32,
    /// Row behind the previous picture's tokens; text from there on stays.
    pub end: u32,
    /// Row behind the text that follows the picture and is to stay.
    pub all: u32,
    /// Where in the report this picture's part begins.
    pub header: u32,
    /// Where the previous picture's part begins, or [`UNKNOWN`].
    pub previous: u32,
}

/// What is not known, or not there.
pub const UNKNOWN: u32 = u32::MAX;

/// Numbers of a report before those of the tokens.
pub const REPORT_HEADER: usize = 2;

/// [`dual_attention`], [`top_k`] and [`compact`] of what [`text_attention`] gave, and the rows that go on behind the layer.
///
/// # Shapes
///
/// - `weights`: `[shares, rows, tokens]`
/// - `is_key`: `[tokens]`
/// - `going_on`: rows that stay, those of earlier pictures first
/// - `report`: from `header` on the number of tokens that stay, the number of `going_on` so far, `[tokens]` rows of
///   the tokens that stay, `[tokens]` importance
/// - `kept_is_key`: `[tokens that stay or more]`
pub fn select_rows(
    params: &SelectRowsParams,
    weights: &[f32],
    is_key: &[u32],
    going_on: &mut [u32],
    report: &mut [f32],
    kept_is_key: &mut [u32],
) {
    let (tokens, header) = (params.tokens as usize, params.header as usize);
    let received = TextAttentionParams {
        rows: params.rows,
        asked: 0,
        first: 0,
        columns: params.tokens,
        heads: params.heads,
        key_heads: params.heads,
        head_dim: 0,
        scale: 1.0,
        shares: params.shares,
        own: 0,
        window: 0,
    };
    let (mut importance, mut max, mut stays) = (vec![0.0; tokens], vec![0.0; tokens], vec![1; tokens]);
    attention_received(&received, weights, &mut importance, &mut max);
    if params.is_dual == 1 {
        let SelectRowsParams { tokens, global_threshold, individual_threshold, .. } = *params;
        let dual = DualAttentionParams { tokens, global_threshold, individual_threshold };
        let sum = importance.clone();
        dual_attention(&dual, &sum, &max, is_key, &mut importance, &mut stays);
    }
    if params.kept != UNKNOWN {
        top_k(&TopKParams { count: params.tokens, k: params.kept }, &importance, is_key, &mut stays);
    }
    // More would stay, were a score no number.
    let kept = stays.iter().sum::<u32>().min(params.kept) as usize;
    let mut rows = vec![0; kept];
    let compacted = CompactParams { count: params.tokens, kept: kept as u32, offset: params.start };
    compact(&compacted, &stays, is_key, &mut rows, kept_is_key);
    let before = if params.previous == UNKNOWN { 0 } else { report[params.previous as usize + 1] as usize };
    let behind = params.start + params.tokens;
    let all: Vec<u32> =
        (params.end..params.start).chain(rows.iter().copied()).chain(behind..params.all).collect();
    going_on[before..before + all.len()].copy_from_slice(&all);
    report[header] = kept as f32;
    report[header + 1] = (before + all.len()) as f32;
    let report = &mut report[header + REPORT_HEADER..][..2 * tokens];
    report.iter_mut().zip(&rows).for_each(|(report, row)| *report = *row as f32);
    report[tokens..].copy_from_slice(&importance);
}

/// Sizes of [`gather_survivors`], laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct GatherSurvivorsParams {
    /// Rows that go on.
    pub rows: u32,
    /// Width of the first matrix.
    pub first: u32,
    /// Width of the second.
    pub second: u32,
    /// Width of the third.
    pub third: u32,
}

/// [`gather_rows`](super::decode::gather_rows) of three matrices.
pub fn gather_survivors(
    params: &GatherSurvivorsParams,
    index: &[u32],
    matrices: [&[f32]; 3],
    gathered: [&mut [f32]; 3],
) {
    let widths = [params.first, params.second, params.third];
    for ((matrix, gathered), width) in
        matrices.into_iter().zip(gathered).zip(widths).filter(|(_, width)| *width > 0)
    {
        let params = super::decode::GatherRowsParams { rows: params.rows, width };
        super::decode::gather_rows(&params, matrix, index, gathered);
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
