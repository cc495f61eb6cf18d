//! How the next token is chosen from the logits.

use std::cmp::Ordering;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::{Error, Result};

/// Rules for choosing the next token, applied in the order of the fields.
///
/// The same rules, seed and logits give the same tokens on every machine.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Sampling {
    /// Divides positive and multiplies negative logits of tokens already seen, prompt included; 1 changes
    /// nothing (arXiv 1909.05858, section 4.1).
    pub repetition_penalty: f32,
    /// Divides the logits; 0 takes the most likely token and ignores the rules below.
    pub temperature: f32,
    /// Keeps the `k` most likely tokens.
    pub top_k: Option<usize>,
    /// Keeps the most likely tokens until their probabilities sum to `p` (arXiv 1904.09751).
    pub top_p: Option<f32>,
    /// Seed of the generator that draws among what is kept.
    pub seed: u64,
}

impl Default for Sampling {
    /// Greedy: temperature 0, no penalty.
    fn default() -> Self {
        Self { repetition_penalty: 1.0, temperature: 0.0, top_k: None, top_p: None, seed: 0 }
    }
}

impl Sampling {
    /// Checks that every value lies in its range.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] naming the first value outside its range.
    pub fn validate(&self) -> Result<()> {
        let check = |ok: bool, name: &str, expected: &str, found: &dyn std::fmt::Display| {
            if ok { Ok(()) } else { Err(Error::argument(name, expected, found.to_string())) }
        };
        let penalty = self.repetition_penalty;
        check(penalty.is_finite() && penalty > 0.0, "repetition_penalty", "a number above 0", &penalty)?;
        let temperature = self.temperature;
        check(
            temperature.is_finite() && temperature >= 0.0,
            "temperature",
            "a number from 0 (greedy) up",
            &temperature,
        )?;
        if let Some(k) = self.top_k {
            check(k > 0, "top_k", "a whole number from 1 up", &k)?;
        }
        if let Some(p) = self.top_p {
            check(p > 0.0 && p <= 1.0, "top_p", "a number above 0, up to 1", &p)?;
        }
        Ok(())
    }
}

/// Chooses tokens by [`Sampling`]'s rules, remembering which it has seen.
#[derive(Debug, Clone)]
pub struct Sampler {
    rules: Sampling,
    generator: ChaCha8Rng,
    seen: Vec<bool>,
}

impl Sampler {
    /// A sampler that has seen the prompt's text tokens.
    pub fn new(rules: Sampling, prompt: impl IntoIterator<Item = u32>) -> Self {
        let generator = ChaCha8Rng::seed_from_u64(rules.seed);
        let mut sampler = Self { rules, generator, seen: Vec::new() };
        prompt.into_iter().for_each(|token| sampler.note(token));
        sampler
    }

    /// The next token. `logits` are finite, one a token of the vocabulary, and at least one.
    ///
    /// Among equal logits the lower index wins.
    pub fn next(&mut self, mut logits: Vec<f32>) -> u32 {
        self.penalise(&mut logits);
        let token = if self.rules.temperature == 0.0 { most_likely(&logits) } else { self.draw(&logits) };
        self.note(token);
        token
    }

    fn note(&mut self, token: u32) {
        let token = token as usize;
        if self.seen.len() <= token {
            self.seen.resize(token + 1, false);
        }
        self.seen[token] = true;
    }

    fn penalise(&self, logits: &mut [f32]) {
        let penalty = self.rules.repetition_penalty;
        if penalty != 1.0 {
            for (logit, _) in logits.iter_mut().zip(&self.seen).filter(|(_, seen)| **seen) {
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
    }

    fn draw(&mut self, logits: &[f32]) -> u32 {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_unstable_by(|&a, &b| by_likelihood(logits, a, b));
        order.truncate(self.rules.top_k.unwrap_or(usize::MAX));

        let temperature = f64::from(self.rules.temperature);
        let highest = f64::from(logits[order[0]]);
        let weights: Vec<f64> =
            order.iter().map(|&i| ((f64::from(logits[i]) - highest) / temperature).exp()).collect();
        let total: f64 = weights.iter().sum();
        let nucleus = self.rules.top_p.map_or(total, |p| f64::from(p) * total);

        // A token belongs to the nucleus if the more likely ones alone do not fill it.
        let mut kept = 0;
        let mut mass = 0.0;
        while kept < weights.len() && mass < nucleus {
            mass += weights[kept];
            kept += 1;
        }
        // 53 random bits: a float64 in [0, 1).
        let uniform = (self.generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut rest = uniform * mass;
        for (&index, weight) in order.iter().zip(&weights).take(kept) {
            rest -= weight;
            if rest < 0.0 {
                return index as u32;
            }
        }
        order[kept.max(1) - 1] as u32
    }
}

/// The index of the largest logit; the lowest of several.
pub fn most_likely(logits: &[f32]) -> u32 {
    (0..logits.len()).min_by(|&a, &b| by_likelihood(logits, a, b)).unwrap_or(0) as u32
}

/// Larger logits first, then lower indices.
fn by_likelihood(logits: &[f32], a: usize, b: usize) -> Ordering {
    logits[b].total_cmp(&logits[a]).then(a.cmp(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(rules: Sampling, logits: &[f32], draws: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(rules, []);
        (0..draws).map(|_| sampler.next(logits.to_vec())).collect()
    }

    #[test]
    fn greedy_takes_the_lowest_index_among_equals() {
        assert_eq!(most_likely(&[0.0, 3.0, 3.0, -1.0]), 1);
        assert_eq!(drawn(Sampling::default(), &[-0.0, 0.0], 1), [1], "0.0 orders above -0.0");
    }

    #[test]
    fn a_seed_fixes_the_draws_and_another_changes_them() {
        let logits = [0.5, 0.4, 0.3, 0.2];
        let rules = Sampling { temperature: 1.0, seed: 7, ..Sampling::default() };
        assert_eq!(drawn(rules.clone(), &logits, 64), drawn(rules.clone(), &logits, 64));
        assert_ne!(drawn(rules.clone(), &logits, 64), drawn(Sampling { seed: 8, ..rules }, &logits, 64));
    }

    #[test]
    fn draws_follow_the_softmax() {
        let logits = [1.0, 0.0, -1.0];
        let rules = Sampling { temperature: 0.5, seed: 1, ..Sampling::default() };
        let draws = drawn(rules, &logits, 20_000);
        let total: f64 = logits.iter().map(|l| (2.0 * f64::from(*l)).exp()).sum();
        for (token, logit) in logits.iter().enumerate() {
            let expected = (2.0 * f64::from(*logit)).exp() / total;
            let found = draws.iter().filter(|d| **d == token as u32).count() as f64 / draws.len() as f64;
            // Five standard errors of a binomial share.
            let tolerance = 5.0 * (expected * (1.0 - expected) / draws.len() as f64).sqrt();
            assert!((found - expected).abs() < tolerance, "token {token}: {found} for {expected}");
        }
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let logits = [2.0, 1.0, 0.0, -1.0];
        let hot = Sampling { temperature: 10.0, seed: 3, ..Sampling::default() };
        let top_k = drawn(Sampling { top_k: Some(2), ..hot.clone() }, &logits, 400);
        assert!(top_k.iter().all(|t| *t < 2) && top_k.contains(&1));
        // At temperature 1 the first token has 64 % of the mass, the second 24 %.
        let cool = Sampling { temperature: 1.0, ..hot };
        let narrow = drawn(Sampling { top_p: Some(0.6), ..cool.clone() }, &logits, 400);
        assert!(narrow.iter().all(|t| *t == 0));
        let wide = drawn(Sampling { top_p: Some(0.7), ..cool }, &logits, 400);
        assert!(wide.iter().all(|t| *t < 2) && wide.contains(&1));
    }

    #[test]
    fn the_penalty_reaches_the_prompt_and_what_was_said() {
        let rules = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
        let mut sampler = Sampler::new(rules, [0]);
        assert_eq!(sampler.next(vec![3.0, 2.0, 1.0]), 1, "token 0 stands in the prompt: 3 / 2 < 2");
        assert_eq!(sampler.next(vec![3.0, 2.0, 1.6]), 2, "token 1 was said: 2 / 2 < 1.6");
        let rules = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
        assert_eq!(Sampler::new(rules, [0]).next(vec![-1.0, -1.5]), 1, "negative logits are multiplied");
    }

    #[test]
    fn values_outside_their_range_are_refused() {
        let good = Sampling::default();
        assert!(good.validate().is_ok());
        for bad in [
            Sampling { repetition_penalty: 0.0, ..good.clone() },
            Sampling { repetition_penalty: f32::NAN, ..good.clone() },
            Sampling { temperature: -0.1, ..good.clone() },
            Sampling { temperature: f32::INFINITY, ..good.clone() },
            Sampling { top_k: Some(0), ..good.clone() },
            Sampling { top_p: Some(0.0), ..good.clone() },
            Sampling { top_p: Some(1.5), ..good.clone() },
            Sampling { top_p: Some(f32::NAN), ..good.clone() },
        ] {
            assert!(matches!(bad.validate(), Err(Error::Argument { .. })), "{bad:?}");
        }
    }
}
