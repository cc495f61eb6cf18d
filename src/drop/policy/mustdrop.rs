//! MustDrop (arXiv 2411.10803), or those of its stages that are switched on.

use super::{Entry, Importance, Policy, Score, TowerTokens, coverage};
use crate::{
    drop::{Pruning, budget, vision::key_tokens},
    error::Result,
    tiling::PictureShape,
};

/// The paper's method, by thresholds or under a budget.
#[derive(Debug)]
pub(super) struct MustDrop(pub Pruning);

impl Policy for MustDrop {
    fn merges(&self) -> bool {
        self.0.merge.unwrap_or(!self.0.admits_by_coverage())
    }

    fn evicts(&self) -> bool {
        self.0.evict
    }

    fn layers(&self, _picture: &PictureShape, depth: usize) -> Vec<usize> {
        if self.0.filter { self.0.layers(depth) } else { Vec::new() }
    }

    fn sizes(&self, picture: &PictureShape, tokens: usize, depth: usize) -> Result<Option<Vec<usize>>> {
        let Some(keep) = self.0.keep else { return Ok(None) };
        if self.0.admits_by_coverage() {
            coverage::check(picture)?;
        }
        let (budget, layers) = (keep.tokens_of(picture)?, self.layers(picture, depth));
        Ok(Some(budget::schedule(budget, picture.budgeted(), tokens, depth, &layers, self.0.admit)))
    }

    fn enter(&self, tower: &TowerTokens<'_>, count: usize) -> Result<Entry> {
        let [tokens, _] = tower.features.dims();
        if self.0.admits_by_coverage() {
            let protected = self.protected(count.min(tokens));
            // Where all enter, only the protected ones have to be known.
            let picks = if count < tokens { count } else { protected };
            return Ok(Entry::Highest { score: coverage::picks(tower, picks), protected });
        }
        // Without a filter nothing asks for key tokens, but a budget asks for a choice.
        if !self.0.filter && self.0.keep.is_none() {
            return Ok(Entry::All);
        }
        let protected = key_tokens(self.0.keep_rate, tokens);
        Ok(Entry::Highest { score: Score::ClassAttention((tower.class_attention)()), protected })
    }

    fn protected(&self, entering: usize) -> usize {
        key_tokens(self.0.keep_rate, entering)
    }

    fn importance(&self) -> Importance {
        Importance::Dual {
            global_threshold: self.0.global_threshold,
            individual_threshold: self.0.individual_threshold,
        }
    }
}
