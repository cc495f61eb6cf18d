//! Patches drawn at random: the baseline that any method has to beat.

use rand::{SeedableRng, seq::index};
use rand_chacha::ChaCha8Rng;

use super::{Entry, Keep, Policy, TowerTokens, at_once};
use crate::{drop::token_map::Group, error::Result, tiling::PictureShape};

/// Draws as many patches as the budget has, other ones for each picture and seed.
#[derive(Debug)]
pub(super) struct Random {
    pub keep: Option<Keep>,
    pub seed: u64,
}

impl Policy for Random {
    fn sizes(&self, picture: &PictureShape, tokens: usize, _depth: usize) -> Result<Option<Vec<usize>>> {
        at_once(self.keep, picture, tokens)
    }

    fn enter(&self, tower: &TowerTokens<'_>, count: usize) -> Result<Entry> {
        let [tokens, _] = tower.features.dims();
        let mut generator = ChaCha8Rng::seed_from_u64(self.seed ^ tower.fingerprint);
        let drawn = index::sample(&mut generator, tokens, count.min(tokens));
        Ok(Entry::Means(drawn.into_iter().map(|token| Group::single(token as u32)).collect()))
    }
}
