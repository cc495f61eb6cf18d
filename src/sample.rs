//! How the next token is chosen from the logits.

use std::ops::RangeInclusive;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::{Error, Result};

/// Rules for choosing the next token, applied in the order of the fields.
///
/// The same rules, seed and logits give the same tokens on every machine; with `top_p` on an adapter, but for the rounding
/// of what all tokens weigh together, which is summed there.
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
    /// Keeps the most likely tokens until their probabilities sum to `p` (arXiv 1904.09751), and at least one.
    pub top_p: Option<f32>,
    /// Seed of the generator that draws among what is kept. A conversation's answers go on with its numbers, so that what is
    /// asked again is answered differently; another seed begins anew.
    pub seed: u64,
}

impl Default for Sampling {
    /// Greedy: temperature 0, no penalty.
    fn default() -> Self {
        Self { repetition_penalty: 1.0, temperature: 0.0, top_k: None, top_p: None, seed: 0 }
    }
}

impl Sampling {
    /// What `repetition_penalty` may be, in files as on the command line.
    pub(crate) const PENALTIES: RangeInclusive<f32> = 1e-3..=1e3;
    /// What `temperature` may be.
    pub(crate) const TEMPERATURES: RangeInclusive<f32> = 0.0..=f32::MAX;
    /// What `top_p` may be.
    pub(crate) const TOP_P: RangeInclusive<f32> = 0.0..=1.0;

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
        check(
            Self::PENALTIES.contains(&penalty),
            "repetition_penalty",
            "a number from 0.001 to 1000",
            &penalty,
        )?;
        let temperature = self.temperature;
        check(
            Self::TEMPERATURES.contains(&temperature),
            "temperature",
            "a number from 0 (greedy) up",
            &temperature,
        )?;
        if let Some(k) = self.top_k {
            check(k > 0, "top_k", "a whole number from 1 up", &k)?;
        }
        if let Some(p) = self.top_p {
            check(Self::TOP_P.contains(&p), "top_p", "a number from 0 to 1", &p)?;
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

    /// Goes on with random numbers where another sampler's ended, so that an answer asked for again differs.
    pub fn resume(&mut self, generator: ChaCha8Rng) {
        self.generator = generator;
    }

    /// Where the random numbers are.
    pub fn generator(&self) -> ChaCha8Rng {
        self.generator.clone()
    }

    /// What of the logits [`next_among`](Self::next_among) has to see.
    pub fn needs(&self) -> Needs {
        let Sampling { repetition_penalty, temperature, top_k, top_p, .. } = self.rules;
        match (repetition_penalty, temperature) {
            (1.0, 0.0) => Needs::MostLikely,
            (1.0, temperature) if top_k.is_some() || top_p.is_some() => Needs::Candidates { temperature },
            _ => Needs::All,
        }
    }

    /// The next token, from some of the most likely ones: `(token, logit)`, the most likely first, and what all tokens
    /// weigh together, `Σ exp((logit - highest) / temperature)`. `None` if the rules reach beyond those; no random
    /// number is spent then.
    ///
    /// Only without a penalty ([`needs`](Self::needs)).
    pub fn next_among(&mut self, candidates: &[(u32, f32)], mass: f64) -> Option<u32> {
        let token = match self.rules.temperature {
            0.0 => candidates.first()?.0,
            _ => self.draw(candidates, Some(mass))?,
        };
        self.note(token);
        Some(token)
    }

    /// The next token. `logits` are finite, one a token of the vocabulary, and at least one.
    ///
    /// Among equal logits the lower index wins.
    pub fn next(&mut self, mut logits: Vec<f32>) -> u32 {
        self.penalise(&mut logits);
        let token = match self.rules.temperature {
            0.0 => most_likely(&logits),
            _ => {
                let mut all: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
                all.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                self.draw(&all, None).unwrap_or_else(|| most_likely(&logits))
            }
        };
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

    /// Draws among the most likely tokens: all there are or, with the mass of all, the first of them. `None` if the
    /// rules reach beyond those.
    fn draw(&mut self, ordered: &[(u32, f32)], mass_of_all: Option<f64>) -> Option<u32> {
        let Sampling { temperature, top_k, top_p, .. } = self.rules;
        if mass_of_all.is_some() && top_k.is_some_and(|k| k > ordered.len()) {
            return None;
        }
        let within = &ordered[..ordered.len().min(top_k.unwrap_or(usize::MAX))];
        let highest = f64::from(within.first()?.1);
        let weights: Vec<f64> = within
            .iter()
            .map(|(_, logit)| ((f64::from(*logit) - highest) / f64::from(temperature)).exp())
            .collect();
        // Where `top_k` cuts, what is beyond it does not count.
        let mass_of_all = mass_of_all.filter(|_| top_k.is_none());
        let total = mass_of_all.unwrap_or_else(|| weights.iter().sum());
        let nucleus = top_p.map_or(total, |p| f64::from(p) * total);

        // A token belongs to the nucleus if the more likely ones alone do not fill it.
        let mut kept = 0;
        let mut mass = 0.0;
        while kept < weights.len() && (kept == 0 || mass < nucleus) {
            mass += weights[kept];
            kept += 1;
        }
        if mass_of_all.is_some() && mass < nucleus {
            return None;
        }
        // 53 random bits: a float64 in [0, 1).
        let uniform = (self.generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut rest = uniform * mass;
        for ((token, _), weight) in within.iter().zip(&weights).take(kept) {
            rest -= weight;
            if rest < 0.0 {
                return Some(*token);
            }
        }
        within.get(kept.max(1) - 1).map(|(token, _)| *token)
    }
}

/// What of the logits a sampler has to see.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Needs {
    /// The most likely token.
    MostLikely,
    /// The most likely few, and the mass of all at this temperature.
    Candidates {
        /// Divides the logits.
        temperature: f32,
    },
    /// Every logit.
    All,
}

/// The index of the largest logit; the lowest of several.
pub fn most_likely(logits: &[f32]) -> u32 {
    let best = (0..logits.len()).min_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    best.unwrap_or(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sampler_goes_on_where_another_ended() {
        let rules = || Sampling { temperature: 1.0, seed: 3, ..Sampling::default() };
        let draw = |sampler: &mut Sampler| (0..8).map(|_| sampler.next(vec![0.0; 1000])).collect::<Vec<_>>();
        let mut whole = Sampler::new(rules(), []);
        let (first, second) = (draw(&mut whole), draw(&mut whole));
        let mut before = Sampler::new(rules(), []);
        assert_eq!(draw(&mut before), first);
        let mut after = Sampler::new(rules(), []);
        after.resume(before.generator());
        assert_eq!(draw(&mut after), second);
        assert_ne!(first, second);
    }

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
        let cool = Sampling { temperature: 1.0, ..hot.clone() };
        let narrow = drawn(Sampling { top_p: Some(0.6), ..cool.clone() }, &logits, 400);
        assert!(narrow.iter().all(|t| *t == 0));
        let one = drawn(Sampling { top_p: Some(0.0), ..hot }, &logits, 400);
        assert!(one.iter().all(|t| *t == 0), "0 leaves the likeliest alone");
        let wide = drawn(Sampling { top_p: Some(0.7), ..cool }, &logits, 400);
        assert!(wide.iter().all(|t| *t < 2) && wide.contains(&1));
    }

    #[test]
    fn the_most_likely_tokens_are_enough_where_the_rules_do_not_reach_further() {
        let logits: Vec<f32> = (0..50u32).map(|i| (i * 37 % 50) as f32 * 0.2).collect();
        let mut order: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1));
        let rules = Sampling { temperature: 0.7, seed: 5, ..Sampling::default() };
        for (top_k, top_p, is_enough) in [
            (Some(8), None, true),
            (Some(16), Some(0.5), true),
            (None, Some(0.8), true),
            (Some(17), None, false),
            (None, Some(0.999), false),
        ] {
            let rules = Sampling { top_k, top_p, ..rules.clone() };
            let mut some = Sampler::new(rules.clone(), []);
            assert_eq!(some.needs(), Needs::Candidates { temperature: 0.7 }, "{rules:?}");
            let mass = logits.iter().map(|logit| ((f64::from(*logit) - 9.8) / 0.7).exp()).sum();
            for token in drawn(rules.clone(), &logits, 50) {
                assert_eq!(some.next_among(&order[..16], mass), is_enough.then_some(token), "{rules:?}");
            }
        }
        assert_eq!(Sampler::new(rules.clone(), []).needs(), Needs::All);
        let penalised = Sampling { repetition_penalty: 1.1, ..Sampling::default() };
        assert_eq!(Sampler::new(penalised, []).needs(), Needs::All);
        assert_eq!(Sampler::new(Sampling::default(), []).needs(), Needs::MostLikely);
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
            Sampling { top_p: Some(-0.1), ..good.clone() },
            Sampling { top_p: Some(1.5), ..good.clone() },
            Sampling { top_p: Some(f32::NAN), ..good.clone() },
        ] {
            assert!(matches!(bad.validate(), Err(Error::Argument { .. })), "{bad:?}");
        }
    }
}
