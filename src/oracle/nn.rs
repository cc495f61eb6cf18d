//! Oracles of `shaders/nn`.

/// Sizes of [`attention`], laid out as the shaders' uniform.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct AttentionParams {
    /// The first query that is computed; 0 on the CPU path and with few rows.
    pub start: u32,
    /// The one behind the last.
    pub rows: u32,
    /// Keys.
    pub columns: u32,
    /// Heads of a query.
    pub heads: u32,
    /// Heads of a key, dividing `heads`; consecutive query heads share one.
    pub key_heads: u32,
    /// Components of a head.
    pub head_dim: u32,
    /// Row `i` sees columns 0 to `past + i`; `columns` or more lets every row see all.
    pub past: u32,
    /// Factor on the scores, `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// 1 if queries, keys and values of a row lie behind each other in one buffer, else 0; not on the CPU path.
    pub is_packed: u32,
    /// Positions that a row looks back at, its own included (Mistral's sliding window, arXiv 2310.06825, section 2); 0 lets
    /// it see all.
    pub window: u32,
}

impl AttentionParams {
    /// Query heads that share a key head.
    pub fn group(&self) -> usize {
        (self.heads / self.key_heads) as usize
    }

    /// Behind the last column that a row sees.
    pub fn visible(&self, row: usize) -> usize {
        (self.columns as usize).min((self.past as usize).saturating_add(row + 1))
    }

    /// The first column that a row sees, given the columns' positions, ascending; those are nothing without a window.
    pub fn first(&self, row: usize, positions: &[u32]) -> usize {
        let visible = self.visible(row);
        match positions.get(visible - 1) {
            Some(own) if self.window > 0 => {
                positions[..visible].partition_point(|position| own.saturating_sub(*position) >= self.window)
            }
            _ => 0,
        }
    }
}

/// `log(sum(exp(scale q·k)))` over the keys that a row sees: the logarithm of its softmax denominator.
///
/// # Shapes
///
/// - `query`: `[rows, heads, head_dim]`
/// - `key`: `[columns, key_heads, head_dim]`
/// - `positions`: `[columns or more]`, or nothing
/// - `log_sum`: `[rows, heads]`
pub fn log_sum_exp(
    params: &AttentionParams,
    query: &[f32],
    key: &[f32],
    positions: &[u32],
    log_sum: &mut [f32],
) {
    let (heads, key_heads) = (params.heads as usize, params.key_heads as usize);
    let head_dim = params.head_dim as usize;
    let lines = query.chunks_exact(head_dim).zip(log_sum).enumerate();
    for (index, (query, log_sum)) in lines.skip(params.start as usize * heads) {
        let (row, head) = (index / heads, index % heads);
        let keys = key.chunks_exact(head_dim).skip(head / params.group()).step_by(key_heads);
        let scores: Vec<f64> = keys
            .take(params.visible(row))
            .skip(params.first(row, positions))
            .map(|key| {
                f64::from(params.scale)
                    * query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum::<f64>()
            })
            .collect();
        let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scores.iter().map(|score| (score - highest).exp()).sum();
        *log_sum = (highest + total.ln()) as f32;
    }
}

/// `softmax(scale Q Kᵀ) V` over the columns that a row sees, for every head, and the logarithm of each row's softmax
/// denominator. `attention`, `attention_rows` and `attention_split` before `attention_join` compute it, for heads of a
/// multiple of 4 components, at most 128, any, and at most 256.
///
/// # Shapes
///
/// - `query`, `mixed`: `[rows, heads, head_dim]`
/// - `key`, `value`: `[columns or more, key_heads, head_dim]`
/// - `positions`: `[columns or more]`, or nothing
/// - `log_sum`: `[rows, heads]`
pub fn attention(
    params: &AttentionParams,
    query: &[f32],
    key: &[f32],
    value: &[f32],
    positions: &[u32],
    mixed: &mut [f32],
    log_sum: &mut [f32],
) {
    let (heads, key_heads) = (params.heads as usize, params.key_heads as usize);
    let head_dim = params.head_dim as usize;
    log_sum_exp(params, query, key, positions, log_sum);
    let rows = query.chunks_exact(head_dim).zip(mixed.chunks_exact_mut(head_dim)).zip(log_sum);
    for (index, ((query, mixed), log_sum)) in rows.enumerate().skip(params.start as usize * heads) {
        let (row, head) = (index / heads, index % heads);
        let mut sums = vec![0.0f64; head_dim];
        for column in params.first(row, positions)..params.visible(row) {
            let at = (column * key_heads + head / params.group()) * head_dim;
            let score: f64 = query.iter().zip(&key[at..]).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
            let weight = (f64::from(params.scale) * score - f64::from(*log_sum)).exp();
            sums.iter_mut().zip(&value[at..]).for_each(|(sum, value)| *sum += weight * f64::from(*value));
        }
        mixed.iter_mut().zip(sums).for_each(|(mixed, sum)| *mixed = sum as f32);
    }
}

/// Sizes of [`rms_norm`] and [`layer_norm`], laid out as the shaders' uniform.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct NormParams {
    /// Rows.
    pub rows: u32,
    /// Width of a row.
    pub width: u32,
    /// Added to the mean square, or to the variance.
    pub eps: f32,
}

/// `x / sqrt(mean(x²) + eps) * weight` for each row (RMSNorm, arXiv 1910.07467).
///
/// # Shapes
///
/// - `x`, `normed`: `[rows, width]`
/// - `weight`: `[width]`
pub fn rms_norm(params: &NormParams, x: &[f32], weight: &[f32], normed: &mut [f32]) {
    let width = params.width as usize;
    for (x, normed) in x.chunks_exact(width).zip(normed.chunks_exact_mut(width)) {
        let square: f64 = x.iter().map(|value| f64::from(*value).powi(2)).sum();
        let factor = 1.0 / (square / width as f64 + f64::from(params.eps)).sqrt();
        for ((normed, value), weight) in normed.iter_mut().zip(x).zip(weight) {
            *normed = (f64::from(*value) * factor * f64::from(*weight)) as f32;
        }
    }
}

/// `(x - mean) / sqrt(variance + eps) * weight + bias` for each row (LayerNorm, arXiv 1607.06450).
///
/// # Shapes
///
/// - `x`, `normed`: `[rows, width]`
/// - `weight`, `bias`: `[width]`
pub fn layer_norm(params: &NormParams, x: &[f32], weight: &[f32], bias: &[f32], normed: &mut [f32]) {
    let width = params.width as usize;
    for (x, normed) in x.chunks_exact(width).zip(normed.chunks_exact_mut(width)) {
        let mean = x.iter().map(|value| f64::from(*value)).sum::<f64>() / width as f64;
        let variance = x.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / width as f64;
        let factor = 1.0 / (variance + f64::from(params.eps)).sqrt();
        for ((normed, value), (weight, bias)) in normed.iter_mut().zip(x).zip(weight.iter().zip(bias)) {
            *normed = ((f64::from(*value) - mean) * factor * f64::from(*weight) + f64::from(*bias)) as f32;
        }
    }
}

/// Sizes of [`product`], laid out as the shaders' uniform.
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct ProductParams {
    /// The first row of `x` that is multiplied.
    pub start: u32,
    /// The one behind the last.
    pub rows: u32,
    /// Columns of the matrix; a multiple of 4.
    pub inputs: u32,
    /// Rows of the matrix.
    pub outputs: u32,
    /// Of all outputs, the number of this matrix's first.
    pub first: u32,
    /// Columns of `y`.
    pub columns: u32,
    /// 1 if a bias is added, else 0.
    pub has_bias: u32,
    /// 1 if a residual is added, else 0.
    pub has_residual: u32,
    /// Of the sum: 0 none, 1 QuickGELU, 2 GELU, 3 GELU by tanh, 4 SiLU, 5 ReLU.
    pub activation: u32,
    /// 1 if outputs come in pairs, of which the first, activated, is multiplied with the second, else 0.
    pub is_gated: u32,
    /// Of the norm.
    pub eps: f32,
}

/// What [`product`] reads.
#[derive(Debug, Clone, Copy)]
pub struct ProductInputs<'a> {
    /// `[rows, inputs]`
    pub x: &'a [f32],
    /// `[outputs, inputs]`, whatever the format that stands for them.
    pub weight: &'a [f32],
    /// `[inputs]`: weights of an RMSNorm of `x`.
    pub norm: Option<&'a [f32]>,
    /// `[all outputs]`, or nothing.
    pub bias: &'a [f32],
    /// `[rows, columns]`, or nothing.
    pub residual: &'a [f32],
}

/// `y = activation(norm(x) Wᵀ + bias) + residual`; with pairs of outputs `y = activation(first) * second`. All shaders that
/// multiply with a matrix compute it: of a few rows or many, of floats or blocks, with workgroup memory or without.
///
/// # Shapes
///
/// `y`: `[rows, columns]`, of which the matrix's outputs are written.
pub fn product(params: &ProductParams, read: &ProductInputs, y: &mut [f32]) {
    let (inputs, columns, first) = (params.inputs as usize, params.columns as usize, params.first as usize);
    let mut normed = read.x.to_vec();
    if let Some(weight) = read.norm {
        let norm = NormParams { rows: params.rows, width: params.inputs, eps: params.eps };
        rms_norm(&norm, read.x, weight, &mut normed);
    }
    let sum = |row: usize, output: usize| {
        let (x, weight) = (&normed[row * inputs..][..inputs], &read.weight[output * inputs..][..inputs]);
        let sum: f64 = x.iter().zip(weight).map(|(x, weight)| f64::from(*x) * f64::from(*weight)).sum();
        sum + if params.has_bias == 1 { f64::from(read.bias[first + output]) } else { 0.0 }
    };
    for row in params.start as usize..params.rows as usize {
        for output in 0..params.outputs as usize {
            let value = activated(params.activation, sum(row, output));
            if params.is_gated == 0 {
                let at = row * columns + first + output;
                let residual = if params.has_residual == 1 { f64::from(read.residual[at]) } else { 0.0 };
                y[at] = (value + residual) as f32;
            } else if output % 2 == 0 {
                y[row * columns + (first + output) / 2] = (value * sum(row, output + 1)) as f32;
            }
        }
    }
}

/// An activation by its number, see [`ProductParams`].
pub fn activated(activation: u32, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match activation {
        1 => x * sigmoid(1.702 * x),
        2 => x * normal_distribution(x),
        3 => x * sigmoid(2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))),
        4 => x * sigmoid(x),
        5 => x.max(0.0),
        _ => x,
    }
}

/// `Φ(x)`, by integrating the density from 0 in steps of 2⁻¹⁰ (Simpson's rule).
fn normal_distribution(x: f64) -> f64 {
    let density = |t: f64| (-t * t / 2.0).exp() / std::f64::consts::TAU.sqrt();
    // Beyond 9 deviations nothing is left that 53 bits show.
    let end = x.clamp(-9.0, 9.0);
    let pairs = (end.abs() * 512.0).ceil().max(1.0);
    let step = end / (2.0 * pairs);
    let inner = (0..pairs as u32).map(|i| {
        let t = 2.0 * f64::from(i) * step;
        density(t) + 4.0 * density(t + step) + density(t + 2.0 * step)
    });
    0.5 + inner.sum::<f64>() * step / 3.0
}

/// Sizes of [`rotary`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Sizes of [`rotary_append`], laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct RotaryAppendParams {
    /// New rows.
    pub rows: u32,
    /// Heads of a query.
    pub heads: u32,
    /// Heads of a key and of a value.
    pub key_heads: u32,
    /// Components of a head; even.
    pub head_dim: u32,
    /// Rows that the cache holds already.
    pub past: u32,
    /// Row of the table that is the first row's.
    pub first: u32,
}

/// [`rotary`] of queries and keys; keys and values go behind the `past` rows of a cache.
///
/// # Shapes
///
/// - `projected`: `[rows, heads + 2 key_heads, head_dim]`, queries, keys and values of a row behind each other
/// - `table`: `[first + rows or more, head_dim]`
/// - `keys`, `values`: `[past + rows or more, key_heads, head_dim]`
/// - `query`: `[rows, heads, head_dim]`
pub fn rotary_append(
    params: &RotaryAppendParams,
    projected: &[f32],
    table: &[f32],
    keys: &mut [f32],
    values: &mut [f32],
    query: &mut [f32],
) {
    let RotaryAppendParams { heads, key_heads, head_dim, past, .. } = *params;
    let (queries, held) = ((heads * head_dim) as usize, (key_heads * head_dim) as usize);
    let rows = projected
        .chunks_exact(queries + 2 * held)
        .zip(table.chunks_exact(head_dim as usize).skip(params.first as usize));
    for (row, (projected, table)) in rows.enumerate() {
        let rotate = |heads: u32, x: &[f32], rotated: &mut [f32]| {
            rotary(&RotaryParams { tokens: 1, heads, head_dim }, x, table, rotated);
        };
        let place = (past as usize + row) * held..(past as usize + row + 1) * held;
        rotate(heads, &projected[..queries], &mut query[row * queries..][..queries]);
        rotate(key_heads, &projected[queries..][..held], &mut keys[place.clone()]);
        values[place].copy_from_slice(&projected[queries + held..]);
    }
}
