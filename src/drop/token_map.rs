//! Which patches every vision token stands for.

use crate::oracle::vision::ABSENT;

/// The tokens of one picture in the decoder's order, each with its patches (raster indices).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenMap {
    /// `patches[token]`: one patch, all of a merged window's, or none for a class token.
    pub patches: Vec<Vec<u32>>,
}

impl TokenMap {
    /// One token for each of `count` patches.
    pub fn dense(count: usize) -> Self {
        Self { patches: (0..count as u32).map(|patch| vec![patch]).collect() }
    }

    /// Tokens.
    pub fn len(&self) -> usize {
        self.patches.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.patches.is_empty()
    }
}

/// Tokens that become one: their mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The token whose place in the order it takes.
    pub anchor: u32,
    /// The tokens.
    pub members: Vec<u32>,
}

impl Group {
    /// A token that stays by itself.
    pub fn single(token: u32) -> Self {
        Self { anchor: token, members: vec![token] }
    }

    /// A window, in the place of its central token.
    pub fn around_its_middle(members: Vec<u32>) -> Self {
        Self { anchor: members.get(members.len() / 2).copied().unwrap_or_default(), members }
    }
}

/// The rows whose mean each token is, behind `first` rows that stay as they are: for every token a list of as many
/// places as the second value says, filled up with [`ABSENT`].
pub fn member_table<'a>(first: u32, groups: impl IntoIterator<Item = &'a [u32]>) -> (Vec<u32>, usize) {
    let kept = (0..first).map(|row| vec![row]);
    let merged = groups.into_iter().map(|members| members.iter().map(|member| member + first).collect());
    let lists: Vec<Vec<u32>> = kept.chain(merged).collect();
    let places = lists.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let fill = |mut list: Vec<u32>| {
        list.resize(places, ABSENT);
        list
    };
    (lists.into_iter().flat_map(fill).collect(), places)
}
