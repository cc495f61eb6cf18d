//! The tokens that cover a picture best.

use std::{cmp::Ordering, collections::BinaryHeap};

use multiversion::multiversion;

use crate::oracle::coverage::{CoveragePicksParams, TIE};

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
/// grows, in float32 neither, so that what a token would have brought in an earlier round bounds what it brings now.
pub fn coverage_picks(params: &CoveragePicksParams, similarity: &[f32], priority: &mut [f32]) {
    let (tokens, picks) = (params.tokens as usize, params.picks.min(params.tokens) as usize);
    priority.fill(0.0);
    let mut covered = vec![0.0; tokens];
    let row = |token: usize| &similarity[token * tokens..][..tokens];
    let candidate = |token: usize, round: usize, covered: &[f32]| Candidate {
        gain: gain(row(token), token, covered),
        token,
        round,
    };
    let mut candidates: BinaryHeap<Candidate> =
        (0..tokens).map(|token| candidate(token, 0, &covered)).collect();
    for round in 0..picks {
        let mut equals: Vec<Candidate> = Vec::new();
        let mut least = f32::MIN;
        while let Some(best) = candidates.peek().filter(|best| best.gain >= least) {
            let (token, is_of_now) = (best.token, best.round == round);
            let Some(best) = candidates.pop() else { break };
            if !is_of_now {
                candidates.push(candidate(token, round, &covered));
                continue;
            }
            if equals.is_empty() {
                least = best.gain * (1.0 - TIE);
            }
            equals.push(best);
        }
        let Some(picked) = equals.iter().map(|candidate| candidate.token).min() else { return };
        candidates.extend(equals.into_iter().filter(|candidate| candidate.token != picked));
        priority[picked] = (params.picks as usize - round) as f32;
        covered.iter_mut().zip(row(picked)).for_each(|(covered, s)| *covered = f32::max(*covered, *s));
        covered[picked] = 1.0;
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
