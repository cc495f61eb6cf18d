//! The tokens that cover a picture best.

use super::{Entry, Keep, Policy, Score, TowerTokens};
use crate::{error::Result, kernel::vision};

/// As many tokens as the budget has, a few of everything in the picture: each the one that brings the most to the likeness
/// of all tokens to the nearest chosen one ([`oracle::coverage`](crate::oracle::coverage)).
#[derive(Debug)]
pub(super) struct Coverage {
    pub keep: Option<Keep>,
}

impl Policy for Coverage {
    fn sizes(&self, patches: usize, tokens: usize, _depth: usize) -> Result<Option<Vec<usize>>> {
        self.keep.map(|keep| Ok(vec![keep.tokens(patches)?.min(tokens)])).transpose()
    }

    fn enter(&self, tower: &TowerTokens<'_>, count: usize) -> Result<Entry> {
        Ok(Entry::Highest { score: picks(tower, count), protected: 0 })
    }
}

/// The order of the first `count` picks.
pub(super) fn picks(tower: &TowerTokens<'_>, count: usize) -> Score {
    let likeness = vision::likeness(&tower.features, tower.variants);
    Score::Picks(vision::coverage_picks(&likeness, count))
}
