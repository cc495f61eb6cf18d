//! Oracle of `shaders/vision/coverage_picks.wgsl`.

/// Sizes of one round, laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct CoveragePicksParams {
    /// Tokens of a picture.
    pub tokens: u32,
    /// The round, from 0 to `picks`.
    pub round: u32,
    /// How many tokens all rounds pick.
    pub picks: u32,
}

/// Gains below the highest by less than this share of it are equal to it. Two tokens that are alike, and like no others, would
/// bring the same: rounding shall not choose between them.
pub const TIE: f32 = 1.0 / 65_536.0;

/// How alike two tokens are; each is as like itself as can be, whatever rounding left on the diagonal.
fn likeness(similarity: &[f32], tokens: usize, one: usize, other: usize) -> f64 {
    if one == other { 1.0 } else { f64::from(similarity[one * tokens + other]) }
}

/// How much of a picture the tokens `chosen` cover: `Σ_i max(0, max_{j in chosen} s_ij)`, where `s_ii` is 1.
///
/// It never falls as tokens join, and a token brings the less the more others are there (it is monotone and submodular).
pub fn coverage(similarity: &[f32], tokens: usize, chosen: &[usize]) -> f64 {
    let nearest = |token: usize| {
        chosen.iter().map(|other| likeness(similarity, tokens, token, *other)).fold(0.0, f64::max)
    };
    (0..tokens).map(nearest).sum()
}

/// The tokens that cover a picture best, chosen greedily: each brings the most to [`coverage`], the first of equals ([`TIE`]).
///
/// Their coverage is at least `1 - 1/e` of the best possible with as many (Nemhauser, Wolsey and Fisher 1978). `params.round`
/// is of no account: these are all rounds.
///
/// # Shapes
///
/// - `similarity`: `[tokens, tokens]`, symmetric
/// - `priority`: `[tokens]`: `picks` for the token picked first, 1 for the last, 0 for all others
pub fn coverage_picks(params: &CoveragePicksParams, similarity: &[f32], priority: &mut [f32]) {
    let (tokens, picks) = (params.tokens as usize, params.picks.min(params.tokens) as usize);
    priority.fill(0.0);
    let mut covered = vec![0.0; tokens];
    for round in 0..picks {
        let gain = |token: usize| -> f64 {
            let more = |other: usize| (likeness(similarity, tokens, token, other) - covered[other]).max(0.0);
            (0..tokens).map(more).sum()
        };
        let gains: Vec<(usize, f64)> =
            (0..tokens).filter(|token| priority[*token] == 0.0).map(|token| (token, gain(token))).collect();
        let highest = gains.iter().map(|(_, gain)| *gain).fold(0.0, f64::max);
        let is_equal = |(_, gain): &&(usize, f64)| *gain >= highest * (1.0 - f64::from(TIE));
        let Some((picked, _)) = gains.iter().find(is_equal).copied() else { return };
        priority[picked] = (params.picks as usize - round) as f32;
        for (other, covered) in covered.iter_mut().enumerate() {
            *covered = likeness(similarity, tokens, picked, other).max(*covered);
        }
    }
}
