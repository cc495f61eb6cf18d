//! How sure a figure is: percentile intervals by bootstrap over pictures.
//!
//! Questions about one picture share its fate, so that pictures are drawn, not questions (a cluster bootstrap; Efron and
//! Tibshirani 1993, chapters 8 and 13). Two figures of the same draws are paired: what a picture adds to both cancels.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How often pictures are drawn anew.
const DRAWS: usize = 2000;
/// Half of what lies outside the interval.
const TAIL: f64 = 0.025;

/// Draws of as many pictures as there are, each any number of times; the same ones for every figure.
#[derive(Debug)]
pub struct Bootstrap {
    draws: Vec<Vec<u32>>,
}

impl Bootstrap {
    /// Draws among so many pictures.
    pub fn new(pictures: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let pictures = u32::try_from(pictures).unwrap_or(u32::MAX);
        let mut draw = || (0..pictures).map(|_| rng.random_range(0..pictures)).collect();
        Self { draws: (0..DRAWS).map(|_| draw()).collect() }
    }

    /// The 95 % interval of `sum(numerators) / sum(denominators)`, one of each a picture; `None` if that is no number for
    /// any draw, or there are too few pictures to draw from.
    pub fn ratio(&self, numerators: &[f64], denominators: &[f64]) -> Option<[f64; 2]> {
        if numerators.len() < 2 {
            return None;
        }
        let sum = |values: &[f64], draw: &[u32]| -> f64 {
            draw.iter().map(|picture| values[*picture as usize]).sum()
        };
        let ratio = |draw: &Vec<u32>| sum(numerators, draw) / sum(denominators, draw);
        let mut ratios: Vec<f64> = self.draws.iter().map(ratio).filter(|ratio| ratio.is_finite()).collect();
        ratios.sort_by(f64::total_cmp);
        let outside = (TAIL * ratios.len() as f64) as usize;
        Some([*ratios.get(outside)?, *ratios.iter().nth_back(outside)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_share_is_that_of_the_normal_approximation() {
        // 400 pictures of one question, 300 of them right: 0.75 +- 1.96 sqrt(0.75 * 0.25 / 400).
        let right: Vec<f64> = (0..400).map(|i| f64::from(i % 4 != 0)).collect();
        let [low, high] = Bootstrap::new(400).ratio(&right, &vec![1.0; 400]).unwrap_or_default();
        assert!((low - 0.7076).abs() < 0.005 && (high - 0.7924).abs() < 0.005, "{low} to {high}");
    }

    #[test]
    fn what_is_paired_is_surer_than_what_is_not() {
        // Every tenth answer is lost, whatever the picture: the ratio is known exactly, the accuracies are not.
        let dense: Vec<f64> = (0..100).map(|picture| f64::from(picture % 10 + 1) * 10.0).collect();
        let dropped: Vec<f64> = dense.iter().map(|right| 0.9 * right).collect();
        let [low, high] = Bootstrap::new(100).ratio(&dropped, &dense).unwrap_or_default();
        assert!((low - 0.9).abs() < 1e-9 && (high - 0.9).abs() < 1e-9, "{low} to {high}");
        let [low, high] = Bootstrap::new(100).ratio(&dropped, &[100.0; 100]).unwrap_or_default();
        assert!(high - low > 0.05);
    }

    #[test]
    fn nothing_right_and_no_pictures_give_no_interval() {
        assert_eq!(Bootstrap::new(3).ratio(&[0.0; 3], &[0.0; 3]), None);
        assert_eq!(Bootstrap::new(0).ratio(&[], &[]), None);
        assert_eq!(Bootstrap::new(1).ratio(&[2.0], &[3.0]), None, "one picture says nothing about others");
    }
}
