//! The tokens that cover a picture best.

use std::{cmp::Ordering, collections::BinaryHeap};

use multiversion::multiversion;

use crate::oracle::coverage::CoveragePickParams;

/// Partial sums of a gain, as the shader has them: the same bits.
const LANES: usize = 8;

/// What a token would bring, or would have brought in an earlier round.
struct Candidate {
    gain: f32,
    token: usize,
    /// Picks that were there when its gain was computed.
    round: usize,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.gain.total_cmp(&other.gain).then(other.token.cmp(&self.token))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

/// See [`oracle::coverage_picks`](crate::oracle::coverage::coverage_picks), by lazy evaluation (Minoux 1978): a gain never
/// grows, in float32 neither, so a token whose gain of now is the highest of all known ones is the one to pick.
pub fn coverage_picks(params: &CoveragePickParams, similarity: &[f32], priority: &mut [f32]) {
    let (tokens, picks) = (params.tokens as usize, params.picks.min(params.tokens) as usize);
    priority.fill(0.0);
    let mut covered = vec![0.0; tokens];
    let row = |token: usize| &similarity[token * tokens..][..tokens];
    let gain_of = |token: usize, covered: &[f32]| gain(row(token), token, covered);
    let first = |token: usize| Candidate { gain: gain_of(token, &covered), token, round: 0 };
    let mut candidates: BinaryHeap<Candidate> = (0..tokens).map(first).collect();
    let mut round = 0;
    while round < picks
        && let Some(candidate) = candidates.pop()
    {
        let token = candidate.token;
        if candidate.round < round {
            candidates.push(Candidate { gain: gain_of(token, &covered), token, round });
            continue;
        }
        priority[token] = (params.picks as usize - round) as f32;
        covered.iter_mut().zip(row(token)).for_each(|(covered, s)| *covered = f32::max(*covered, *s));
        covered[token] = 1.0;
        round += 1;
    }
}

/// What a token brings: `Σ max(0, s_i - covered_i)`, where it is as like itself as can be, whatever rounding made of that, and
/// what is no number counts as 0.
#[multiversion(targets = "simd")]
fn gain(similarity: &[f32], itself: usize, covered: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    for (start, (similarity, covered)) in similarity.chunks(LANES).zip(covered.chunks(LANES)).enumerate() {
        for (lane, (similarity, covered)) in similarity.iter().zip(covered).enumerate() {
            let similarity = if start * LANES + lane == itself { 1.0 } else { *similarity };
            sums[lane] += f32::max(similarity - covered, 0.0);
        }
    }
    sums.iter().sum()
}
