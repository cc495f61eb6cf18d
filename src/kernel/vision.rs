//! Kernels of `shaders/vision`: how alike windows are, and their merge; which tokens cover a picture best.

use burn::tensor::{DType, Int, Tensor};

use super::{
    Kernel, from_host, host, host_integers, integers,
    launch::{Launch, from_adapter, integers_on_adapter, on_adapter, shader},
    nn,
    product::{self, Around, Operand},
    variants::Variants,
};
use crate::{
    cpu,
    oracle::{
        coverage::CoveragePicksParams,
        vision::{self as oracle, WindowMergeParams, WindowSimilarityParams},
    },
};

/// `shaders/vision/window_similarity.wgsl`
pub const WINDOW_SIMILARITY: Kernel = shader!("vision", "window_similarity", [64, 1, 1]);
/// `shaders/vision/window_merge.wgsl`
pub const WINDOW_MERGE: Kernel = shader!("vision", "window_merge", [64, 1, 1]);
/// `shaders/vision/coverage_picks.wgsl`
pub const COVERAGE_PICKS: Kernel = shader!("vision", "coverage_picks", [256, 1, 1]);

/// Tokens whose gains a workgroup of [`COVERAGE_PICKS`] computes.
const COVERAGE_COLUMNS: u32 = 32;

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

/// How alike tokens are beyond what all of them have in common: the cosine of each two rows, their mean taken away.
///
/// # Shapes
///
/// `x`: `[tokens, width]`; result: `[tokens, tokens]`
pub fn likeness(x: &Tensor<2>, variants: Variants) -> Tensor<2> {
    let ([tokens, width], device) = (x.dims(), x.device());
    let all = integers((0..tokens as u32).collect(), [1, tokens], &device);
    let centred = x.clone() - window_merge(x, &all);
    // A row over its root mean square has the length √width.
    let scale = Tensor::full([width], 1.0 / (width as f32).sqrt(), &device);
    // So little that it only keeps a row of zeros from being divided by 0.
    let units = nn::rms_norm(&centred, &scale, 1e-20, variants);
    match Operand::floats(&units) {
        Some(operand) => product::product(&units, &[operand], &Around::default(), variants),
        None => nn::product(&units, std::slice::from_ref(&units), None),
    }
}

/// The order in which `picks` tokens are chosen that cover a picture best, given how alike each two are: `picks` for the
/// first, 1 for the last, and 0 for what is not chosen; see [`oracle::coverage_picks`](crate::oracle::coverage::coverage_picks).
pub fn coverage_picks(likeness: &Tensor<2>, picks: usize) -> Tensor<1> {
    let [tokens, _] = likeness.dims();
    let picks = picks.min(tokens);
    if picks == 0 {
        return Tensor::zeros([tokens], &likeness.device());
    }
    let params = CoveragePicksParams { tokens: tokens as u32, round: 0, picks: picks as u32 };
    let Some(likeness_on_adapter) = on_adapter(likeness) else {
        let mut priority = vec![0.0; tokens];
        cpu::coverage::coverage_picks(&params, &host(likeness), &mut priority);
        return from_host(priority, [tokens], &likeness.device());
    };
    let (sizes, all) = ([2 * tokens, 2 * tokens, tokens], params.tokens.div_ceil(COVERAGE_COLUMNS));
    let mut state = Vec::new();
    for round in 0..=params.picks {
        let params = CoveragePicksParams { round, ..params };
        let mut launch = Launch::new(COVERAGE_PICKS).floats(likeness_on_adapter.clone(), tokens * tokens);
        launch = match state.is_empty() {
            true => sizes.iter().fold(launch, |launch, size| launch.output([*size], DType::F32)),
            false => {
                state.into_iter().zip(sizes).fold(launch, |launch, (tensor, size)| launch.inout(tensor, size))
            }
        };
        let groups = if round == params.picks { 1 } else { all };
        state = launch.run([groups, 1, 1], &params, params.cost());
    }
    from_adapter(state.remove(2))
}
