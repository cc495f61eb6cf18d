//! The tokens that cover a picture best.

use super::{Entry, Keep, Policy, Score, TowerTokens, at_once, highest};
use crate::{
    drop::token_map::Group,
    error::{Error, Result},
    kernel::{self, vision},
    tiling::PictureShape,
};

/// The most tokens whose likeness to one another is one buffer that every adapter binds: 128 MiB.
const MOST_TOKENS: usize = 5_792;

/// As many tokens as the budget has, a few of everything in the picture: each the one that brings the most to the likeness
/// of all tokens to the nearest chosen one ([`oracle::coverage`](crate::oracle::coverage)).
#[derive(Debug)]
pub(super) struct Coverage {
    pub keep: Option<Keep>,
    /// Whether what is not chosen joins the chosen token that it is most like, as part of a mean.
    pub joins: bool,
}

impl Policy for Coverage {
    fn sizes(&self, picture: &PictureShape, tokens: usize, _depth: usize) -> Result<Option<Vec<usize>>> {
        check(picture)?;
        at_once(self.keep, picture, tokens)
    }

    fn enter(&self, tower: &TowerTokens<'_>, count: usize) -> Result<Entry> {
        match self.joins {
            _ if count >= tower.features.dims()[0] => Ok(Entry::All),
            true => Ok(Entry::Means(joined(tower, count)?)),
            false => Ok(Entry::Highest { score: picks(tower, count), protected: 0 }),
        }
    }
}

/// Refuses pictures of which a tile has more tokens than can be compared with each other at once.
///
/// # Errors
///
/// [`Error::Argument`] saying how many can.
pub(super) fn check(picture: &PictureShape) -> Result<()> {
    let tokens = picture.patches_of_tile();
    if tokens <= MOST_TOKENS {
        return Ok(());
    }
    let expected =
        format!("another way to choose: coverage compares at most {MOST_TOKENS} tokens of a picture");
    Err(Error::argument("--policy or --admit", expected, format!("coverage of {tokens}")))
}

/// The order of the first `count` picks.
pub(super) fn picks(tower: &TowerTokens<'_>, count: usize) -> Score {
    let likeness = vision::likeness(&tower.features, tower.variants);
    Score::Picks(vision::coverage_picks(&likeness, count))
}

/// The first `count` picks, each with the tokens that are most like it; between equals the first of the picture.
fn joined(tower: &TowerTokens<'_>, count: usize) -> Result<Vec<Group>> {
    const STEP: &str = "choose the tokens that cover the picture";
    let likeness = vision::likeness(&tower.features, tower.variants);
    let priority = kernel::read_numbers(vision::coverage_picks(&likeness, count), STEP)?;
    let tokens = priority.len();
    let likeness = kernel::read_numbers(likeness.reshape([tokens * tokens]), STEP)?;
    let mut groups: Vec<Group> =
        (0..tokens).filter(|token| priority[*token] > 0.0).map(|token| Group::single(token as u32)).collect();
    for token in (0..tokens).filter(|token| priority[*token] == 0.0) {
        let like = |group: &Group| likeness[token * tokens + group.anchor as usize];
        let nearest = highest(&groups.iter().map(like).collect::<Vec<f32>>());
        if let Some(group) = groups.get_mut(nearest) {
            group.members.push(token as u32);
        }
    }
    Ok(groups)
}
