//! Kernels of `shaders/prefill`: what text pays attention to, and which tokens stay for it.

use std::ops::Range;

use burn::tensor::{DType, Int, Tensor};

use super::{
    Kernel,
    attention::{Window, with_even_heads},
    decode::gather_rows,
    from_host, host, host_integers, integers, is_on_adapter,
    launch::{Launch, from_adapter, integers_from_adapter, integers_on_adapter, on_adapter, shader},
    scale,
};
use crate::{
    cpu,
    oracle::prefill::{
        self as oracle, CompactParams, DualAttentionParams, GatherSurvivorsParams, SelectRowsParams,
        TextAttentionParams, TopKParams, UNKNOWN,
    },
};

/// `shaders/prefill/text_attention.wgsl`
pub const TEXT_ATTENTION: Kernel = shader!("prefill", "text_attention", [64, 1, 1]);
/// `shaders/prefill/select_rows.wgsl`
pub const SELECT_ROWS: Kernel = shader!("prefill", "select_rows", [256, 1, 1]);
/// `shaders/prefill/gather_survivors.wgsl`
pub const GATHER_SURVIVORS: Kernel = shader!("prefill", "gather_survivors", [64, 1, 1]);
/// `shaders/prefill/top_k.wgsl`
pub const TOP_K: Kernel = shader!("prefill", "top_k", [64, 1, 1]);
/// `shaders/prefill/compact.wgsl`
pub const COMPACT: Kernel = shader!("prefill", "compact", [64, 1, 1]);

/// Parts into which the heads of [`TEXT_ATTENTION`] are cut: text has few rows, and a picture few columns.
pub(crate) const SHARES: usize = 4;

/// The attention that a picture's tokens receive.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one a filter and picture")]
pub enum Received {
    /// On an adapter, as its shaders hand it on.
    Weights {
        /// Softmax weights summed over the heads of a share, `[shares, rows, tokens]`.
        weights: Tensor<3>,
        /// Heads of a query.
        heads: usize,
    },
    /// On the CPU path, of the mean over heads.
    Reduced {
        /// The sum over rows, `[tokens]`.
        sum: Tensor<1>,
        /// The maximum over rows, `[tokens]`.
        max: Tensor<1>,
    },
}

impl Received {
    /// The sum over rows of the mean over heads, `[tokens]`.
    pub fn sum(self) -> Tensor<1> {
        match self {
            Self::Weights { weights, heads } => {
                let [shares, rows, tokens] = weights.dims();
                weights.reshape([shares * rows, tokens]).sum_dim(0).reshape([tokens]) / heads as f32
            }
            Self::Reduced { sum, .. } => sum,
        }
    }

    /// What the same tokens receive of these rows and of others, on the same device.
    pub fn and(self, others: Self) -> Self {
        match (self, others) {
            (Self::Weights { weights, heads }, Self::Weights { weights: others, .. }) => {
                Self::Weights { weights: Tensor::cat(vec![weights, others], 1), heads }
            }
            (Self::Reduced { sum, max }, Self::Reduced { sum: other_sum, max: other_max }) => {
                Self::Reduced { sum: sum + other_sum, max: max.max_pair(other_max) }
            }
            // Rows of one pass lie on one device.
            (these, _) => these,
        }
    }
}

/// The attention that `columns` keys from `first` on receive from the queries in `asked`; see
/// [`oracle::text_attention`]. Keys before the pass's are `past`, and each query looks as far back as `window` says.
pub fn text_attention(
    query: &Tensor<3>,
    key: &Tensor<3>,
    log_sum: &Tensor<2>,
    asked: Range<usize>,
    (first, columns): (usize, usize),
    past: usize,
    window: Option<&Window>,
) -> Received {
    let ([all_rows, heads, head_dim], [_, key_heads, _]) = (query.dims(), key.dims());
    let (rows, asked) = (asked.len(), asked.start);
    let params = TextAttentionParams {
        rows: rows as u32,
        asked: asked as u32,
        first: first as u32,
        columns: columns as u32,
        heads: heads as u32,
        key_heads: key_heads as u32,
        head_dim: head_dim as u32,
        scale: scale(head_dim),
        shares: 1,
        own: (past + asked) as u32,
        window: Window::tokens(window),
    };
    // Zeros behind heads of components that are no multiple of 4, which no usual model has.
    let even = is_on_adapter(query).then(|| [query, key].map(with_even_heads));
    if let Some([even_query, even_key]) = &even
        && let (Some(query), Some(key), Some(log_sum)) =
            (on_adapter(even_query), on_adapter(even_key), on_adapter(log_sum))
    {
        let components = even_query.dims()[2];
        let shares = SHARES.min(heads);
        let params = TextAttentionParams { head_dim: components as u32, shares: shares as u32, ..params };
        let launch = Launch::new(TEXT_ATTENTION).floats(query, all_rows * heads * components);
        let launch = launch.floats(key, (first + columns) * key_heads * components);
        let launch = launch.floats(log_sum.clone(), all_rows * heads);
        let positions = Window::on_adapter(window);
        let launch = launch.optional(positions.as_ref(), &log_sum, past + all_rows);
        let launch = launch.output([shares, rows, columns], DType::F32);
        let groups = [params.columns.div_ceil(64), params.rows.div_ceil(4), params.shares];
        let weights = from_adapter(launch.run(groups, &params, params.cost()).remove(0));
        return Received::Weights { weights, heads };
    }
    let (mut sum, mut max) = (vec![0.0; columns], vec![0.0; columns]);
    let device = query.device();
    let (query, keys, log_sum) = (host(query), host(key), host(log_sum));
    let positions = Window::positions(window);
    let positions = positions.as_deref().unwrap_or_default();
    cpu::scores::text_attention(&params, &query, &keys, &log_sum, positions, &mut sum, &mut max);
    Received::Reduced { sum: from_host(sum, [columns], &device), max: from_host(max, [columns], &device) }
}

/// Importance, and 1 for every token that stays, on the CPU path; see [`oracle::dual_attention`].
pub fn dual_attention(
    attention_sum: &Tensor<1>,
    attention_max: &Tensor<1>,
    is_key: &Tensor<1, Int>,
    global_threshold: f32,
    individual_threshold: f32,
) -> (Tensor<1>, Tensor<1, Int>) {
    let [tokens] = attention_sum.dims();
    let params = DualAttentionParams { tokens: tokens as u32, global_threshold, individual_threshold };
    let (mut importance, mut keep) = (vec![0.0; tokens], vec![0; tokens]);
    let (sum, max) = (host(attention_sum), host(attention_max));
    oracle::dual_attention(&params, &sum, &max, &host_integers(is_key), &mut importance, &mut keep);
    let device = attention_sum.device();
    (from_host(importance, [tokens], &device), integers(keep, [tokens], &device))
}

/// What [`select_rows`] fills.
#[derive(Debug)]
pub struct Selected {
    /// Rows that go on, with room for as many as may.
    pub rows: Tensor<1, Int>,
    /// 1 for members of the key token set among the tokens that stay, with room likewise.
    pub is_key: Tensor<1, Int>,
}

/// The rows of one picture, and of the text around it, that go on behind a layer, on an adapter; see
/// [`oracle::select_rows`]. `rows` are those of earlier pictures, and `room` is for how many there may be at all;
/// `report` is written in place, and nobody else may hold it.
pub fn select_rows(
    params: &SelectRowsParams,
    weights: &Tensor<3>,
    is_key: &Tensor<1, Int>,
    rows: Option<Tensor<1, Int>>,
    room: usize,
    report: &Tensor<1>,
) -> Option<Selected> {
    let tokens = params.tokens as usize;
    let kept = if params.kept == UNKNOWN { tokens } else { tokens.min(params.kept as usize) };
    let count = (params.shares * params.rows) as usize * tokens;
    let launch = Launch::new(SELECT_ROWS).floats(on_adapter(weights)?, count);
    let launch = launch.words(integers_on_adapter(is_key)?, tokens);
    let launch = match rows {
        Some(rows) => launch.inout(integers_on_adapter(&rows)?, room),
        None => launch.output([room.max(1)], DType::U32),
    };
    let end = params.header as usize + oracle::REPORT_HEADER + 2 * tokens;
    let launch = launch.inout(on_adapter(report)?, end).output([kept.max(1)], DType::U32);
    let mut outputs = launch.run([1, 1, 1], params, params.cost());
    Some(Selected {
        rows: integers_from_adapter(outputs.remove(0)),
        is_key: integers_from_adapter(outputs.remove(1)),
    })
}

/// The first `count` rows that `index` names of three matrices; see [`oracle::gather_survivors`].
pub fn gather_survivors(matrices: [&Tensor<2>; 3], index: &Tensor<1, Int>, count: usize) -> [Tensor<2>; 3] {
    let widths = matrices.map(|matrix| matrix.dims()[1]);
    let operands = matrices.map(on_adapter);
    if let ([Some(x), Some(mixed), Some(angles)], Some(index)) = (operands, integers_on_adapter(index)) {
        let [first, second, third] = widths.map(|width| width as u32);
        let params = GatherSurvivorsParams { rows: count as u32, first, second, third };
        let mut launch = Launch::new(GATHER_SURVIVORS).words(index, count);
        for matrix in [x, mixed, angles] {
            launch = launch.somewhere(matrix);
        }
        for width in widths {
            launch = launch.output([count, width], DType::F32);
        }
        let groups = [(first + second + third).div_ceil(64), params.rows, 1];
        let mut gathered = launch.run(groups, &params, params.cost()).into_iter().map(from_adapter);
        return std::array::from_fn(|i| gathered.next().unwrap_or_else(|| matrices[i].clone()));
    }
    matrices.map(|matrix| gather_rows(matrix, index))
}

/// How many of `stays` are 1, on the CPU path.
pub fn count(stays: &Tensor<1, Int>) -> usize {
    host_integers(stays).iter().filter(|stays| **stays == 1).count()
}

/// 1 for the `k` highest scores; see [`oracle::top_k`].
pub fn top_k(score: &Tensor<1>, preferred: &Tensor<1, Int>, k: usize) -> Tensor<1, Int> {
    let [count] = score.dims();
    let params = TopKParams { count: count as u32, k: k as u32 };
    if let (Some(score), Some(preferred)) = (on_adapter(score), integers_on_adapter(preferred)) {
        let launch =
            Launch::new(TOP_K).floats(score, count).words(preferred, count).output([count], DType::U32);
        let groups = [params.count.div_ceil(TOP_K.workgroup[0]), 1, 1];
        return integers_from_adapter(launch.run(groups, &params, params.cost()).remove(0));
    }
    let mut is_top = vec![0; count];
    cpu::scores::top_k(&params, &host(score), &host_integers(preferred), &mut is_top);
    integers(is_top, [count], &score.device())
}

/// The indices of the `kept` tokens that stay, `offset` added, and whether they are protected; see
/// [`oracle::compact`].
pub fn compact(
    stays: &Tensor<1, Int>,
    is_key: &Tensor<1, Int>,
    kept: usize,
    offset: usize,
) -> (Tensor<1, Int>, Tensor<1, Int>) {
    let [count] = stays.dims();
    let params = CompactParams { count: count as u32, kept: kept as u32, offset: offset as u32 };
    if let (Some(stays), Some(is_key)) = (integers_on_adapter(stays), integers_on_adapter(is_key)) {
        let launch = Launch::new(COMPACT).words(stays, count).words(is_key, count);
        let launch = launch.output([kept], DType::U32).output([kept], DType::U32);
        let groups = [params.count.div_ceil(COMPACT.workgroup[0]), 1, 1];
        let mut outputs = launch.run(groups, &params, params.cost());
        let index = integers_from_adapter(outputs.remove(0));
        return (index, integers_from_adapter(outputs.remove(0)));
    }
    let (mut index, mut kept_is_key) = (vec![0; kept], vec![0; kept]);
    let device = stays.device();
    let (stays, is_key) = (host_integers(stays), host_integers(is_key));
    oracle::compact(&params, &stays, &is_key, &mut index, &mut kept_is_key);
    (integers(index, [kept], &device), integers(kept_is_key, [kept], &device))
}
