//! Kernels of `shaders/decode`: the survivors of a filter, and of an eviction from a cache.

use burn::tensor::{DType, Int, Tensor};

use super::{
    Kernel, from_host, host, host_integers, integers,
    launch::{Launch, from_adapter, integers_from_adapter, integers_on_adapter, on_adapter, shader},
};
use crate::oracle::decode::{self as oracle, BEST, BestTokensParams, GatherRowsParams, MostLikelyParams};

/// `shaders/decode/best_tokens.wgsl`
pub const BEST_TOKENS: Kernel = shader!("decode", "best_tokens", [256, 1, 1]);
/// `shaders/decode/most_likely.wgsl`
pub const MOST_LIKELY: Kernel = shader!("decode", "most_likely", [256, 1, 1]);

/// The most likely token of one row of logits and what is needed to judge the others, `[4]`; see
/// [`oracle::most_likely`].
pub fn most_likely(logits: &Tensor<2>, temperature: f32) -> Tensor<1, Int> {
    let count = logits.dims()[1];
    let params = MostLikelyParams { count: count as u32, sharpness: 1.0 / temperature };
    if let Some(logits) = on_adapter(logits) {
        let launch = Launch::new(MOST_LIKELY).floats(logits, count).output([4], DType::U32);
        return integers_from_adapter(launch.run([1, 1, 1], &params, params.cost()).remove(0));
    }
    let mut summary = [0; 4];
    oracle::most_likely(&params, &host(logits), &mut summary);
    integers(summary.to_vec(), [4], &logits.device())
}

/// The 64 most likely tokens of one row of logits with the bits of their logits, `[64 * 2]`; see
/// [`oracle::best_tokens`].
pub fn best_tokens(logits: &Tensor<2>) -> Tensor<1, Int> {
    let device = logits.device();
    let mut params = BestTokensParams { count: logits.dims()[1] as u32, is_paired: 0 };
    let groups = |params: &BestTokensParams| params.count.div_ceil(oracle::BEST_OF as u32);
    if let Some(mut entries) = on_adapter(logits) {
        loop {
            let groups = groups(&params);
            let shape = [groups as usize * BEST * 2];
            let launch = Launch::new(BEST_TOKENS)
                .words(entries, (params.count << params.is_paired) as usize)
                .output(shape, DType::U32);
            entries = launch.run([groups, 1, 1], &params, params.cost()).remove(0);
            if groups == 1 {
                return integers_from_adapter(entries);
            }
            params = BestTokensParams { count: groups * BEST as u32, is_paired: 1 };
        }
    }
    let mut entries: Vec<u32> = host(logits).iter().map(|logit| logit.to_bits()).collect();
    loop {
        let groups = groups(&params);
        let mut best = vec![0; groups as usize * BEST * 2];
        oracle::best_tokens(&params, &entries, &mut best);
        entries = best;
        if groups == 1 {
            return integers(entries, [BEST * 2], &device);
        }
        params = BestTokensParams { count: groups * BEST as u32, is_paired: 1 };
    }
}

/// `shaders/decode/gather_rows.wgsl`
pub const GATHER_ROWS: Kernel = shader!("decode", "gather_rows", [64, 1, 1]);

/// The rows `index` of `x`; see [`oracle::gather_rows`]. Every index must be below the number of rows.
pub fn gather_rows(x: &Tensor<2>, index: &Tensor<1, Int>) -> Tensor<2> {
    let ([_, width], [rows]) = (x.dims(), index.dims());
    let params = GatherRowsParams { rows: rows as u32, width: width as u32 };
    if let (Some(x), Some(index)) = (on_adapter(x), integers_on_adapter(index)) {
        let groups = [params.width.div_ceil(GATHER_ROWS.workgroup[0]), params.rows, 1];
        let launch =
            Launch::new(GATHER_ROWS).somewhere(x).words(index, rows).output([rows, width], DType::F32);
        return from_adapter(launch.run(groups, &params, params.cost()).remove(0));
    }
    let mut gathered = vec![0.0; rows * width];
    oracle::gather_rows(&params, &host(x), &host_integers(index), &mut gathered);
    from_host(gathered, [rows, width], &x.device())
}
