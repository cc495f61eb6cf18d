//! Kernels of `shaders/vision`: how alike windows are, and their merge.

use burn::tensor::{DType, Int, Tensor};

use super::{
    Kernel, from_host, host, host_integers,
    launch::{Launch, from_adapter, integers_on_adapter, on_adapter, shader},
};
use crate::{
    cpu,
    oracle::vision::{self as oracle, WindowMergeParams, WindowSimilarityParams},
};

/// `shaders/vision/window_similarity.wgsl`
pub const WINDOW_SIMILARITY: Kernel = shader!("vision", "window_similarity", [64, 1, 1]);
/// `shaders/vision/window_merge.wgsl`
pub const WINDOW_MERGE: Kernel = shader!("vision", "window_merge", [64, 1, 1]);

/// The mean cosine within every window; see [`oracle::window_similarity`]. `params.width` is that of `x`.
pub fn window_similarity(x: &Tensor<2>, params: WindowSimilarityParams) -> Tensor<1> {
    let count = params.windows() * params.windows();
    if let Some(adapter) = on_adapter(x) {
        let rows = params.first + params.grid * params.grid;
        let launch = Launch::new(WINDOW_SIMILARITY)
            .floats(adapter, (rows * params.width) as usize)
            .output([count], DType::F32);
        return from_adapter(launch.run([count as u32, 1, 1], &params, params.cost()).remove(0));
    }
    let mut similarity = vec![0.0; count];
    cpu::scores::window_similarity(&params, &host(x), &mut similarity);
    from_host(similarity, [count], &x.device())
}

/// Every token as the mean of its rows; see [`oracle::window_merge`].
pub fn window_merge(x: &Tensor<2>, member: &Tensor<2, Int>) -> Tensor<2> {
    let ([_, width], [tokens, members]) = (x.dims(), member.dims());
    let params = WindowMergeParams { tokens: tokens as u32, members: members as u32, width: width as u32 };
    if let (Some(x), Some(member)) = (on_adapter(x), integers_on_adapter(member)) {
        let groups = [params.width.div_ceil(WINDOW_MERGE.workgroup[0]), params.tokens, 1];
        let launch = Launch::new(WINDOW_MERGE)
            .somewhere(x)
            .words(member, tokens * members)
            .output([tokens, width], DType::F32);
        return from_adapter(launch.run(groups, &params, params.cost()).remove(0));
    }
    let mut merged = vec![0.0; tokens * width];
    oracle::window_merge(&params, &host(x), &host_integers(member), &mut merged);
    from_host(merged, [tokens, width], &x.device())
}
