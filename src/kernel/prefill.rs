//! Kernels of `shaders/prefill`: what text pays attention to, and which tokens stay for it.

use burn::tensor::{DType, Int, Tensor};

use super::{
    Kernel, from_host, host, host_integers, integers,
    launch::{Launch, from_adapter, integers_from_adapter, integers_on_adapter, on_adapter},
    scale,
};
use crate::{
    cpu,
    oracle::prefill::{self as oracle, CompactParams, DualAttentionParams, TextAttentionParams, TopKParams},
};

/// `shaders/prefill/text_attention.wgsl`
pub const TEXT_ATTENTION: Kernel =
    Kernel::new("text_attention", include_str!("../../shaders/prefill/text_attention.wgsl"), [64, 1, 1]);
/// `shaders/prefill/dual_attention.wgsl`
pub const DUAL_ATTENTION: Kernel =
    Kernel::new("dual_attention", include_str!("../../shaders/prefill/dual_attention.wgsl"), [256, 1, 1]);
/// `shaders/prefill/top_k.wgsl`
pub const TOP_K: Kernel = Kernel::new("top_k", include_str!("../../shaders/prefill/top_k.wgsl"), [64, 1, 1]);
/// `shaders/prefill/compact.wgsl`
pub const COMPACT: Kernel =
    Kernel::new("compact", include_str!("../../shaders/prefill/compact.wgsl"), [64, 1, 1]);

/// Sum and maximum of the attention that `columns` keys from `first` on receive; see [`oracle::text_attention`].
pub fn text_attention(
    query: &Tensor<3>,
    key: &Tensor<3>,
    log_sum: &Tensor<2>,
    first: usize,
    columns: usize,
) -> (Tensor<1>, Tensor<1>) {
    let ([rows, heads, head_dim], [_, key_heads, _]) = (query.dims(), key.dims());
    let params = TextAttentionParams {
        rows: rows as u32,
        first: first as u32,
        columns: columns as u32,
        heads: heads as u32,
        key_heads: key_heads as u32,
        head_dim: head_dim as u32,
        scale: scale(head_dim),
    };
    if let (Some(query), Some(key), Some(log_sum)) = (on_adapter(query), on_adapter(key), on_adapter(log_sum))
    {
        let launch = Launch::new(TEXT_ATTENTION).floats(query, rows * heads * head_dim);
        let launch =
            launch.floats(key, (first + columns) * key_heads * head_dim).floats(log_sum, rows * heads);
        let launch = launch.output([columns], DType::F32).output([columns], DType::F32);
        let groups = [params.columns.div_ceil(TEXT_ATTENTION.workgroup[0]), 1, 1];
        let mut outputs = launch.run(groups, &params);
        let sum = from_adapter(outputs.remove(0));
        return (sum, from_adapter(outputs.remove(0)));
    }
    let (mut sum, mut max) = (vec![0.0; columns], vec![0.0; columns]);
    let (keys, log_sum) = (host(key), host(log_sum));
    cpu::scores::text_attention(&params, &host(query), &keys, &log_sum, &mut sum, &mut max);
    (from_host(sum, [columns], &query.device()), from_host(max, [columns], &query.device()))
}

/// Importance, and 1 for every token that stays; see [`oracle::dual_attention`].
pub fn dual_attention(
    attention_sum: &Tensor<1>,
    attention_max: &Tensor<1>,
    is_key: &Tensor<1, Int>,
    global_threshold: f32,
    individual_threshold: f32,
) -> (Tensor<1>, Tensor<1, Int>) {
    let [tokens] = attention_sum.dims();
    let params = DualAttentionParams { tokens: tokens as u32, global_threshold, individual_threshold };
    if let (Some(sum), Some(max), Some(key)) =
        (on_adapter(attention_sum), on_adapter(attention_max), integers_on_adapter(is_key))
    {
        let launch = Launch::new(DUAL_ATTENTION).floats(sum, tokens).floats(max, tokens).words(key, tokens);
        let launch = launch.output([tokens], DType::F32).output([tokens], DType::U32);
        let mut outputs = launch.run([1, 1, 1], &params);
        let importance = from_adapter(outputs.remove(0));
        return (importance, integers_from_adapter(outputs.remove(0)));
    }
    let (mut importance, mut keep) = (vec![0.0; tokens], vec![0; tokens]);
    let (sum, max) = (host(attention_sum), host(attention_max));
    oracle::dual_attention(&params, &sum, &max, &host_integers(is_key), &mut importance, &mut keep);
    let device = attention_sum.device();
    (from_host(importance, [tokens], &device), integers(keep, [tokens], &device))
}

/// 1 for the `k` highest scores; see [`oracle::top_k`].
pub fn top_k(score: &Tensor<1>, preferred: &Tensor<1, Int>, k: usize) -> Tensor<1, Int> {
    let [count] = score.dims();
    let params = TopKParams { count: count as u32, k: k as u32 };
    if let (Some(score), Some(preferred)) = (on_adapter(score), integers_on_adapter(preferred)) {
        let launch =
            Launch::new(TOP_K).floats(score, count).words(preferred, count).output([count], DType::U32);
        let groups = [params.count.div_ceil(TOP_K.workgroup[0]), 1, 1];
        return integers_from_adapter(launch.run(groups, &params).remove(0));
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
        let mut outputs = launch.run(groups, &params);
        let index = integers_from_adapter(outputs.remove(0));
        return (index, integers_from_adapter(outputs.remove(0)));
    }
    let (mut index, mut kept_is_key) = (vec![0; kept], vec![0; kept]);
    let device = stays.device();
    let (stays, is_key) = (host_integers(stays), host_integers(is_key));
    oracle::compact(&params, &stays, &is_key, &mut index, &mut kept_is_key);
    (integers(index, [kept], &device), integers(kept_is_key, [kept], &device))
}
