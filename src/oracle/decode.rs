//! Oracles of `shaders/decode`.

/// Sizes of [`gather_rows`], laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct GatherRowsParams {
    /// Rows of the result.
    pub rows: u32,
    /// Width of a row.
    pub width: u32,
}

/// Row `index[i]` of `x` as row `i`: what survives a filter, or an eviction from a cache.
///
/// # Shapes
///
/// - `x`: `[any, width]`
/// - `index`: `[rows]`
/// - `gathered`: `[rows, width]`
pub fn gather_rows(params: &GatherRowsParams, x: &[f32], index: &[u32], gathered: &mut [f32]) {
    let width = params.width as usize;
    for (gathered, index) in gathered.chunks_exact_mut(width).zip(index).take(params.rows as usize) {
        gathered.copy_from_slice(&x[*index as usize * width..][..width]);
    }
}

/// Sizes of [`attention_join`], laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct AttentionJoinParams {
    /// Queries.
    pub rows: u32,
    /// Heads of a query.
    pub heads: u32,
    /// Components of a head; a multiple of 4.
    pub head_dim: u32,
    /// Parts into which the columns were cut.
    pub tiles: u32,
}

/// Attention from that to some columns at a time: `sums` of values weighted by `exp(score - highest)`, and in `totals` the
/// highest score and the sum of the weights.
///
/// # Shapes
///
/// - `sums`: `[rows, heads, tiles, head_dim]`
/// - `totals`: `[rows, heads, tiles, 2]`
/// - `mixed`: `[rows, heads, head_dim]`
/// - `log_sum`: `[rows, heads]`
pub fn attention_join(
    params: &AttentionJoinParams,
    sums: &[f32],
    totals: &[f32],
    mixed: &mut [f32],
    log_sum: &mut [f32],
) {
    let (tiles, head_dim) = (params.tiles as usize, params.head_dim as usize);
    let lines = sums.chunks_exact(tiles * head_dim).zip(totals.chunks_exact(2 * tiles));
    for ((sums, totals), (mixed, log_sum)) in lines.zip(mixed.chunks_exact_mut(head_dim).zip(log_sum)) {
        let highest =
            totals.iter().step_by(2).fold(f64::NEG_INFINITY, |highest, score| highest.max((*score).into()));
        let weights: Vec<f64> =
            totals.iter().step_by(2).map(|score| (f64::from(*score) - highest).exp()).collect();
        let total: f64 = totals
            .iter()
            .skip(1)
            .step_by(2)
            .zip(&weights)
            .map(|(sum, weight)| f64::from(*sum) * weight)
            .sum();
        for (component, mixed) in mixed.iter_mut().enumerate() {
            let sums = sums.iter().skip(component).step_by(head_dim).zip(&weights);
            *mixed = (sums.map(|(sum, weight)| f64::from(*sum) * weight).sum::<f64>() / total) as f32;
        }
        *log_sum = (highest + total.ln()) as f32;
    }
}

/// Sizes of [`most_likely`], laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct MostLikelyParams {
    /// Logits; at least 1.
    pub count: u32,
    /// `1 / temperature`.
    pub sharpness: f32,
}

/// The most likely token (the lowest of several), the bits of its logit, the bits of
/// `Σ exp((logit - highest) / temperature)`, and how many logits are not finite: `summary`, `[4]`.
pub fn most_likely(params: &MostLikelyParams, logits: &[f32], summary: &mut [u32]) {
    let logits = &logits[..params.count as usize];
    let token =
        (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a))).unwrap_or(0);
    let highest = f64::from(logits[token]);
    let mass: f64 =
        logits.iter().map(|logit| ((f64::from(*logit) - highest) * f64::from(params.sharpness)).exp()).sum();
    let not_finite = logits.iter().filter(|logit| !logit.is_finite()).count();
    summary.copy_from_slice(&[
        token as u32,
        logits[token].to_bits(),
        (mass as f32).to_bits(),
        not_finite as u32,
    ]);
}

/// Sizes of [`best_tokens`], laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct BestTokensParams {
    /// Entries.
    pub count: u32,
    /// 0 if an entry is the bits of a logit whose token is its index, 1 if it is a pair of both.
    pub is_paired: u32,
}

/// Entries that [`best_tokens`] looks at together.
pub const BEST_OF: usize = 256;
/// How many of them it keeps.
pub const BEST: usize = 64;
/// The token of a place for which there was no entry.
pub const NO_TOKEN: u32 = u32::MAX;

/// Of every 256 entries the 64 of the highest logits, higher ones first, then lower tokens.
///
/// # Shapes
///
/// - `entries`: `[count]` or `[count, 2]`
/// - `best`: `[ceil(count / 256), 64, 2]`: bits of a logit, and its token, [`NO_TOKEN`] where entries ran out
pub fn best_tokens(params: &BestTokensParams, entries: &[u32], best: &mut [u32]) {
    let pair = |i: usize| match params.is_paired {
        1 => (entries[i * 2], entries[i * 2 + 1]),
        _ => (entries[i], i as u32),
    };
    let count = params.count as usize;
    for (group, best) in best.chunks_exact_mut(BEST * 2).enumerate() {
        let indices = (group * BEST_OF)..count.min((group + 1) * BEST_OF);
        let mut pairs: Vec<_> = indices.map(pair).filter(|(_, token)| *token != NO_TOKEN).collect();
        pairs.sort_by(|a, b| f32::from_bits(b.0).total_cmp(&f32::from_bits(a.0)).then(a.1.cmp(&b.1)));
        let nothing = std::iter::repeat((u32::MAX, NO_TOKEN));
        for (place, (bits, token)) in best.chunks_exact_mut(2).zip(pairs.into_iter().chain(nothing)) {
            place.copy_from_slice(&[bits, token]);
        }
    }
}
