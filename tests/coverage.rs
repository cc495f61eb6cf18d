//! Tokens that cover a picture best: kernels against the oracle, and what must hold whatever the picture.

use crate::common::{both, noise, tensor, values};
use mustdrop::{
    kernel::{
        variants::{Unpack, Variants},
        vision::{coverage_picks, likeness},
    },
    oracle::coverage::{self as oracle, CoveragePicksParams, TIE, coverage},
};
use proptest::prelude::*;

/// Cosines of noise, symmetric, in steps of 1/64: sums of them are exact in float32, and equal gains are common.
fn stepped(seed: u64, tokens: usize) -> Vec<f32> {
    symmetric(seed, tokens).into_iter().map(|s| (s * 64.0).round() / 64.0).collect()
}

/// Numbers from -1 to 1, symmetric, with 1 on the diagonal.
fn symmetric(seed: u64, tokens: usize) -> Vec<f32> {
    let noise = noise(seed, tokens * tokens);
    let value = |i: usize, j: usize| if i == j { 1.0 } else { noise[i.min(j) * tokens + i.max(j)] };
    (0..tokens * tokens).map(|at| value(at / tokens, at % tokens)).collect()
}

fn expected(similarity: &[f32], tokens: usize, picks: usize) -> Vec<f32> {
    let params = CoveragePicksParams { tokens: tokens as u32, round: 0, picks: picks.min(tokens) as u32 };
    let mut priority = vec![f32::NAN; tokens];
    oracle::coverage_picks(&params, similarity, &mut priority);
    priority
}

/// The tokens of a priority above 0, the highest first.
fn order(priority: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..priority.len()).filter(|token| priority[*token] > 0.0).collect();
    order.sort_by(|a, b| priority[*b].total_cmp(&priority[*a]));
    order
}

#[test]
fn picks_are_the_oracles() {
    for (tokens, picks) in [
        (1, 1),
        (2, 5),
        (31, 31),
        (32, 7),
        (33, 0),
        (64, 9),
        (65, 64),
        (255, 12),
        (256, 40),
        (257, 3),
        (576, 80),
        (577, 16),
    ] {
        let similarity = stepped(tokens as u64, tokens);
        let expected = expected(&similarity, tokens, picks);
        assert_eq!(order(&expected).len(), picks.min(tokens));
        for device in both() {
            let found = values(coverage_picks(&tensor(&similarity, [tokens, tokens], &device), picks));
            assert_eq!(found, expected, "{picks} of {tokens} on {device:?}");
        }
    }
}

/// Gains are summed in the same order everywhere: where the cosines are the same bits, so are the choices.
#[test]
fn both_paths_pick_the_same_of_any_numbers() {
    for seed in 0..8 {
        let (tokens, picks) = (100 + 61 * seed as usize, 33);
        let similarity = symmetric(seed, tokens);
        let [cpu, gpu] = both()
            .map(|device| values(coverage_picks(&tensor(&similarity, [tokens, tokens], &device), picks)));
        assert_eq!(cpu, gpu, "{tokens}");
    }
}

#[test]
fn of_equal_tokens_the_first_are_picked() {
    let (tokens, picks) = (70, 20);
    for level in [0.0, 1.0] {
        let similarity = vec![level; tokens * tokens];
        let expected: Vec<f32> = (0..tokens).map(|token| picks.max(token) as f32 - token as f32).collect();
        for device in both() {
            let found = values(coverage_picks(&tensor(&similarity, [tokens, tokens], &device), picks));
            assert_eq!(found, expected, "all cosines {level}");
        }
    }
}

/// Pairs of tokens that are like each other and no others: either brings the same, whatever the last bits say.
#[test]
fn rounding_does_not_choose_between_equals() {
    let tokens = 90;
    for seed in 0..4 {
        let bits = noise(seed, tokens * tokens);
        let similarity: Vec<f32> = (0..tokens * tokens)
            .map(|at| {
                let (i, j) = (at / tokens, at % tokens);
                // The earlier a pair, the more alike.
                let alike = if i / 2 == j / 2 { 0.9 - 0.01 * (i / 2) as f32 } else { 0.0 };
                alike * (1.0 + 2e-6 * bits[at])
            })
            .collect();
        let firsts: Vec<usize> = (0..tokens).step_by(2).collect();
        assert_eq!(order(&expected(&similarity, tokens, tokens / 2)), firsts);
        for device in both() {
            let found = values(coverage_picks(&tensor(&similarity, [tokens, tokens], &device), tokens / 2));
            assert_eq!(order(&found), firsts, "{device:?}");
        }
    }
}

/// A token whose features are no numbers: it covers nothing but itself, and the others are chosen as if it were not there.
#[test]
fn what_is_no_number_counts_for_nothing() {
    let (tokens, picks, broken) = (70, 20, 11);
    let mut similarity = stepped(3, tokens);
    let expected = {
        let mut alone = similarity.clone();
        (0..tokens).for_each(|other| {
            (alone[broken * tokens + other], alone[other * tokens + broken]) = (0.0, 0.0);
        });
        expected(&alone, tokens, picks)
    };
    (0..tokens).for_each(|other| {
        (similarity[broken * tokens + other], similarity[other * tokens + broken]) = (f32::NAN, f32::NAN);
    });
    for device in both() {
        let found = values(coverage_picks(&tensor(&similarity, [tokens, tokens], &device), picks));
        assert_eq!(found, expected, "{device:?}");
    }
}

#[test]
fn likeness_is_the_cosine_without_the_mean() {
    for (tokens, width) in [(1, 4), (2, 7), (9, 33), (64, 64), (65, 192), (576, 20)] {
        let mut x = noise(5, tokens * width);
        // What all have in common is large beside what tells them apart.
        x.iter_mut().enumerate().for_each(|(at, x)| *x += (at % width) as f32);
        let mean = |column: usize| {
            (0..tokens).map(|row| f64::from(x[row * width + column])).sum::<f64>() / tokens as f64
        };
        let means: Vec<f64> = (0..width).map(mean).collect();
        let centred = |row: usize| -> Vec<f64> {
            (0..width).map(|column| f64::from(x[row * width + column]) - means[column]).collect()
        };
        let rows: Vec<Vec<f64>> = (0..tokens).map(centred).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for device in both() {
            let variants =
                [Unpack::Registers, Unpack::Tile].map(|unpack| Variants { unpack, ..Variants::default() });
            for variants in variants {
                let found = values(
                    likeness(&tensor(&x, [tokens, width], &device), variants).reshape([tokens * tokens]),
                );
                for (at, found) in found.iter().enumerate() {
                    let (a, b) = (&rows[at / tokens], &rows[at % tokens]);
                    let norms = (dot(a, a) * dot(b, b)).sqrt();
                    // A single token is its own mean: nothing is left of it.
                    let expected = if tokens > 1 { dot(a, b) / norms } else { 0.0 };
                    // The mean of up to 600 numbers of up to 200, rounded to float32, beside distances of 1.
                    let tolerance = 2e-6 * width as f64;
                    assert!(
                        (f64::from(*found) - expected).abs() < tolerance,
                        "{tokens} x {width}: {found} instead of {expected} at {at}"
                    );
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn more_picks_cover_more_and_bring_less(seed in any::<u64>(), tokens in 1usize..60) {
        let similarity = symmetric(seed, tokens);
        let order = order(&expected(&similarity, tokens, tokens));
        prop_assert_eq!(order.len(), tokens, "in the end every token is picked");
        let covered: Vec<f64> = (0..=tokens).map(|count| coverage(&similarity, tokens, &order[..count])).collect();
        let gains: Vec<f64> = covered.windows(2).map(|pair| pair[1] - pair[0]).collect();
        prop_assert!(gains.iter().all(|gain| *gain >= 0.0), "{gains:?}");
        // A pick may bring less than the best by the share below which gains are equal.
        let best = |gain: f64| gain / (1.0 - f64::from(TIE)) + 1e-9;
        prop_assert!(gains.windows(2).all(|pair| pair[1] <= best(pair[0])), "{gains:?}");
        prop_assert!((covered[tokens] - tokens as f64).abs() < 1e-9, "each token covers itself");
    }

    #[test]
    fn a_smaller_budget_has_the_first_picks_of_a_larger_one(
        seed in any::<u64>(), tokens in 2usize..60, share in 0.0f64..1.0,
    ) {
        let similarity = symmetric(seed, tokens);
        let few = (share * tokens as f64) as usize;
        let [device, _] = both();
        let likeness = tensor(&similarity, [tokens, tokens], &device);
        let [all, some] = [tokens, few].map(|picks| order(&values(coverage_picks(&likeness, picks))));
        prop_assert_eq!(&all[..few], some.as_slice());
    }

    /// Nemhauser, Wolsey and Fisher's bound, against sets that chance draws.
    #[test]
    fn no_other_tokens_cover_much_more(seed in any::<u64>(), tokens in 4usize..40, drawn in prop::collection::btree_set(0usize..1000, 1..8)) {
        let similarity = symmetric(seed, tokens);
        let mut others: Vec<usize> = drawn.into_iter().map(|token| token % tokens).collect();
        others.sort_unstable();
        others.dedup();
        let picked = order(&expected(&similarity, tokens, others.len()));
        let bound = (1.0 - (-1.0f64).exp()) * coverage(&similarity, tokens, &others);
        prop_assert!(coverage(&similarity, tokens, &picked) >= bound);
    }
}
