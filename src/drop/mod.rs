//! MustDrop (arXiv 2411.10803): which vision tokens are merged, dropped and evicted, and when.
//!
//! - [`vision`], in the tower: windows of alike patches become one token each; `[CLS]` names the tokens to protect.
//! - [`prefill`], in the decoder's first pass: tokens that text pays little attention to are dropped.
//! - [`decode`], before the first decode step: the caches of the layers from the first filter's to the last's are cut to the
//!   survivors.
//!
//! [`missed`] says whether a later question asks about what they dropped.
//!
//! That is the paper, by thresholds. Under a [`budget`], [`Admit`] says which tokens enter the decoder at all: by default those
//! that cover the picture, of which the first are protected, and no windows are merged.
//!
//! Kernels of `shaders/vision`, `shaders/prefill` and `shaders/decode` compute and choose; here is decided what and when. Other ways to choose stand
//! beside MustDrop in [`policy`].

mod admit;
pub mod budget;
pub mod decode;
pub mod missed;
pub mod newlines;
#[doc(hidden)]
pub mod policy;
pub mod prefill;
mod preset;
mod selection;
mod stage;
pub mod token_map;
mod turns;
pub mod vision;

pub use admit::Admit;
pub use budget::Keep;
pub use policy::PolicyName;
pub use preset::Preset;
pub use stage::Stage;
pub use turns::Turns;

use crate::{
    error::{Error, Result},
    tiling::PictureShape,
};

/// The order in which the tokens of a picture with merged windows enter the decoder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RowOrder {
    /// As in the picture: a merged token stands where its window's central patch stood.
    #[default]
    Raster,
    /// Merged windows first, most similar first, then the other patches (the authors' code). Tokens of a picture in tiles stand
    /// as in the picture all the same, since its newlines end rows.
    Similarity,
}

/// The rotary positions of a picture's tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Positions {
    /// Every token keeps its own; under a budget that of its place in the picture, whatever did not enter the decoder.
    #[default]
    Original,
    /// What enters the decoder is numbered without gaps, and survivors anew after every filter, until the end of the
    /// prefill (the authors' code).
    Compact,
}

/// Has the values of a type be written and read by their names, `as_str` of each in `ALL`; an unknown name is an error of
/// `argument` with all of them.
macro_rules! named {
    ($type:ty, $argument:literal) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::error::Error;

            fn from_str(text: &str) -> $crate::error::Result<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == text).ok_or_else(|| {
                    let names: Vec<_> = Self::ALL.iter().map(|one| one.as_str()).collect();
                    $crate::error::Error::argument($argument, names.join(", "), format!("{text:?}"))
                })
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}
pub(crate) use named;

/// What is dropped, stage by stage. The default is the paper's method for about 192 tokens.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Pruning {
    /// Who chooses. All but MustDrop heed nothing of the rest but `keep`, `turns`, `seed`, `order` and `positions`.
    pub policy: PolicyName,
    /// Whether alike windows are merged in the tower (stage V). `None`: as in the paper, unless coverage admits tokens, which
    /// leaves few windows to merge and chooses better among all of them.
    pub merge: Option<bool>,
    /// Whether tokens are dropped during the prefill (stage P).
    pub filter: bool,
    /// Whether caches are cut to the survivors (stage D).
    pub evict: bool,
    /// Patches along a side of a window, 2 to 4.
    pub window: usize,
    /// The mean cosine from which on a window is merged.
    pub similarity_threshold: f32,
    /// The share of a picture's tokens that is protected; where coverage admits, of those that enter.
    pub keep_rate: f64,
    /// Bound of a token's share in all attention of the text (`g`).
    pub global_threshold: f32,
    /// Bound of a token's attention from a single text token (`a`).
    pub individual_threshold: f32,
    /// A fixed budget instead of the thresholds, which then only weigh the two kinds of attention. Unless `admit` says otherwise,
    /// coverage then admits tokens, no windows are merged, and there is one filter.
    pub keep: Option<Keep>,
    /// How tokens are admitted and protected under a budget.
    pub admit: Admit,
    /// What a later question of a conversation finds of what earlier turns dropped.
    pub turns: Turns,
    /// Decoder layers, counted from 0, behind which tokens are dropped; `None`: those of [`layers`](Self::layers).
    pub pruning_layers: Option<Vec<usize>>,
    /// Order of a picture's tokens.
    pub order: RowOrder,
    /// Positions of the survivors.
    pub positions: Positions,
    /// Seed of [`PolicyName::Random`].
    pub seed: u64,
}

impl Default for Pruning {
    fn default() -> Self {
        Self {
            policy: PolicyName::MustDrop,
            merge: None,
            filter: true,
            evict: true,
            window: 3,
            similarity_threshold: 0.8,
            keep_rate: 0.08,
            global_threshold: 0.001,
            individual_threshold: 0.001,
            keep: None,
            admit: Admit::default(),
            turns: Turns::Pin,
            pruning_layers: None,
            order: RowOrder::Raster,
            positions: Positions::Original,
            seed: 0,
        }
    }
}

impl Pruning {
    /// The paper's method with our order and positions; with [`keep`](Self::keep), ours for a budget.
    pub fn mustdrop() -> Self {
        Self::default()
    }

    /// The authors' code: similarity order, compact positions, and tokens admitted as they protect them.
    pub fn reference() -> Self {
        let (order, positions) = (RowOrder::Similarity, Positions::Compact);
        Self { order, positions, admit: Admit::Class, ..Self::default() }
    }

    /// Every stage off: the dense model.
    pub fn none() -> Self {
        Self { merge: Some(false), filter: false, evict: false, ..Self::default() }
    }

    /// Another way to choose, as a baseline; most need a budget ([`keep`](Self::keep)).
    pub fn policy(policy: PolicyName) -> Self {
        Self { policy, ..Self::default() }
    }

    /// A fixed budget: the mean number of a picture's tokens over all decoder layers. See the field of this name.
    pub fn keep(mut self, keep: Keep) -> Self {
        self.keep = Some(keep);
        self
    }

    /// Other thresholds of the prefill filter: `g` and `a`.
    pub fn thresholds(mut self, global: f32, individual: f32) -> Self {
        (self.global_threshold, self.individual_threshold) = (global, individual);
        self
    }

    /// The decoder layers behind which tokens are dropped, for a decoder of `layers` layers.
    ///
    /// The default is the paper's {2, 6, 10, 14} of 32 at the same relative depths, at least one layer apart,
    /// and never the last layer, behind which nothing is computed any more. Where coverage admits tokens, it is one layer, the
    /// last of the first third.
    pub fn layers(&self, layers: usize) -> Vec<usize> {
        if let Some(chosen) = &self.pruning_layers {
            return chosen.clone();
        }
        if self.admits_by_coverage() {
            return (layers > 1).then(|| (layers / 3).max(1) - 1).into_iter().collect();
        }
        let mut scaled: Vec<usize> = Vec::new();
        for depth in [2, 6, 10, 14] {
            let layer = (depth * layers + 16) / 32;
            let layer = scaled.last().map_or(layer, |last| layer.max(last + 1));
            if layer + 1 < layers {
                scaled.push(layer);
            }
        }
        scaled
    }

    /// Whether coverage chooses what enters the decoder, as it does under a budget unless another way was asked for.
    pub(crate) fn admits_by_coverage(&self) -> bool {
        self.policy == PolicyName::MustDrop && self.keep.is_some() && self.admit == Admit::Coverage
    }

    /// Whether tokens stand where they were seen, though others of the picture never entered the decoder.
    ///
    /// The paper's thresholds let all tokens in, and the tokens of merged windows are numbered like any others: so they are
    /// here. What a budget keeps out is most of a picture. Without its place, the rest would move together.
    pub(crate) fn keeps_places(&self) -> bool {
        let is_as_published = self.keep.is_none() && self.policy == PolicyName::MustDrop;
        !is_as_published && self.positions == Positions::Original && self.order == RowOrder::Raster
    }

    /// Checks the rules for pictures of this shape and a decoder of so many layers: every value in its range, and every budget
    /// one that can be kept.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] naming the first value outside its range.
    pub(crate) fn check(&self, picture: &PictureShape, layers: usize) -> Result<()> {
        self.validate(layers)?;
        if picture.is_square() {
            return self.rules().sizes(picture, picture.budgeted(), layers).map(drop);
        }
        // What of a smaller picture in tiles can be kept, is seen when there is one.
        self.keep.map_or(Ok(()), |keep| keep.tokens(picture.budgeted()).map(drop))
    }

    /// Checks every value against its range, for a decoder of `layers` layers.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] naming the first value outside its range.
    pub fn validate(&self, layers: usize) -> Result<()> {
        let in_range = |name: &str, value: f64, least: f64, most: f64| match (least..=most).contains(&value) {
            true => Ok(()),
            false => {
                Err(Error::argument(name, format!("a number from {least} to {most}"), value.to_string()))
            }
        };
        in_range("similarity_threshold", self.similarity_threshold.into(), -1.0, 1.0)?;
        in_range("keep_rate", self.keep_rate, 0.0, 1.0)?;
        in_range("global_threshold", self.global_threshold.into(), 0.0, 1e6)?;
        in_range("individual_threshold", self.individual_threshold.into(), 0.0, 1e6)?;
        in_range("window", self.window as f64, 2.0, 4.0)?;
        if let (Some(keep), PolicyName::None) = (self.keep, self.policy) {
            return Err(Error::argument("--keep", "a policy that drops tokens", format!("{keep} with none")));
        }
        if self.keep.is_none() && self.policy.needs_budget() {
            let expected = format!("a number of tokens or a share with --policy {}", self.policy);
            return Err(Error::argument("--keep", expected, "none"));
        }
        let chosen = self.layers(layers);
        if chosen.windows(2).any(|pair| pair[0] >= pair[1]) || chosen.iter().any(|layer| layer + 1 >= layers)
        {
            return Err(Error::argument(
                "pruning_layers",
                format!("layers in rising order from 0 to {}", layers.saturating_sub(2)),
                format!("{chosen:?}"),
            ));
        }
        Ok(())
    }
}
