//! Ways to choose vision tokens: MustDrop and what it is compared with.
//!
//! A [`Policy`] only says what to keep. Everything else is the runtime's and the same for all of them: text is never
//! dropped, tokens stay in the picture's order, caches and accounts follow what was kept, positions the picture.

mod coverage;
mod fastv;
mod mustdrop;
mod pool;
mod random;
mod visionzip;

use burn::tensor::Tensor;

use super::{Keep, Pruning, named, token_map::Group};
use crate::{
    error::Result,
    kernel::variants::Variants,
    tiling::{PictureShape, Size},
};

/// The names of the policies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PolicyName {
    /// MustDrop (arXiv 2411.10803): merge in the tower, filter in the prefill, evict before decoding; under a budget, what
    /// covers the picture enters.
    #[default]
    MustDrop,
    /// What covers the picture: a few tokens of everything in it.
    Coverage,
    /// The same, each token as the mean of all that are most like it.
    CoverageMeans,
    /// Everything is kept.
    None,
    /// Patches drawn at random, by a seed.
    Random,
    /// The means of a grid of windows, 3 x 3 patches each where no budget asks for others.
    Pool,
    /// FastV (arXiv 2403.06764): behind an early decoder layer, what the last token attends to.
    FastV,
    /// After VisionZip (arXiv 2412.04467): what `[CLS]` attends to, and means of the rest.
    VisionZip,
}

impl PolicyName {
    /// All of them, MustDrop first.
    pub const ALL: &'static [Self] = &[
        Self::MustDrop,
        Self::Coverage,
        Self::CoverageMeans,
        Self::None,
        Self::Random,
        Self::Pool,
        Self::FastV,
        Self::VisionZip,
    ];

    /// The name as it is written on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MustDrop => "mustdrop",
            Self::Coverage => "coverage",
            Self::CoverageMeans => "coverage-means",
            Self::None => "none",
            Self::Random => "random",
            Self::Pool => "pool",
            Self::FastV => "fastv",
            Self::VisionZip => "visionzip",
        }
    }

    /// Whether it cannot do without a budget.
    pub(super) fn needs_budget(self) -> bool {
        !matches!(self, Self::MustDrop | Self::None | Self::Pool)
    }
}

named!(PolicyName, "--policy");

/// A way to choose vision tokens.
///
/// Scores stay on the device: a policy says how to judge, and the runtime selects there.
pub trait Policy: std::fmt::Debug {
    /// Whether windows of alike patches become one token each inside the tower.
    fn merges(&self) -> bool {
        false
    }

    /// Whether the caches of the layers from the first filter's to the last's are cut to the last's survivors.
    fn evicts(&self) -> bool {
        false
    }

    /// Decoder layers behind which tokens of a picture of this shape are dropped, ascending, in a decoder of `depth` layers.
    fn layers(&self, _picture: &PictureShape, _depth: usize) -> Vec<usize> {
        Vec::new()
    }

    /// Of a picture's `tokens` tokens behind the tower: how many enter the decoder, and how many go on behind each of
    /// [`layers`](Self::layers). `None` where [`importance`](Self::importance) decides.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`](crate::Error::Argument) for a budget that the policy cannot hit.
    fn sizes(&self, picture: &PictureShape, tokens: usize, depth: usize) -> Result<Option<Vec<usize>>>;

    /// Which of the tower's tokens enter the decoder; `count` is the first of [`sizes`](Self::sizes).
    ///
    /// # Errors
    ///
    /// [`Error::Device`](crate::Error::Device) if the device fails.
    fn enter(&self, _tower: &TowerTokens<'_>, _count: usize) -> Result<Entry> {
        Ok(Entry::All)
    }

    /// How many of so many tokens that enter a picture in tiles are protected, where they are picked one by one.
    fn protected(&self, _entering: usize) -> usize {
        0
    }

    /// The text rows whose attention is asked for behind a layer.
    fn asked(&self) -> AskedRows {
        AskedRows::Text
    }

    /// Behind a layer: what makes a token important.
    fn importance(&self) -> Importance {
        Importance::Sum
    }
}

/// The sizes of a policy that lets in what the budget has, and drops nothing later.
fn at_once(keep: Option<Keep>, picture: &PictureShape, tokens: usize) -> Result<Option<Vec<usize>>> {
    keep.map(|keep| Ok(vec![keep.tokens_of(picture)?.min(tokens)])).transpose()
}

/// The index of the highest value, the first of equals; 0 if there is none.
fn highest(values: &[f32]) -> usize {
    (1..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

/// What a policy sees of a picture, or of one of its tiles, behind the vision tower.
pub struct TowerTokens<'a> {
    /// `[tokens, width]`
    pub features: Tensor<2>,
    /// Rows and columns of patches, where no windows are merged.
    pub grid: Size,
    /// A number that depends on the picture's pixels alone.
    pub fingerprint: u64,
    /// Computes the attention of `[CLS]` to each token, `[tokens]`; of all tokens on average, where a tower has none.
    pub class_attention: &'a dyn Fn() -> Tensor<1>,
    /// Kernels to compare features with.
    pub variants: Variants,
}

/// The tokens that enter the decoder.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of them at a time, for one call")]
pub enum Entry {
    /// All, none of them protected.
    All,
    /// Those with the highest scores, of which the `protected` highest of all are the key token set.
    Highest {
        /// One a token.
        score: Score,
        /// Size of the key token set.
        protected: usize,
    },
    /// The means of these, none of them protected.
    Means(Vec<Group>),
}

/// What tokens are admitted by, one value a token.
#[derive(Debug, Clone)]
pub enum Score {
    /// The attention of `[CLS]`, or where a tower has none, of all tokens on average.
    ClassAttention(Tensor<1>),
    /// Their place in the order in which they were picked: high for the first, 1 for the last, 0 for all others.
    Picks(Tensor<1>),
}

impl Score {
    /// The values, whatever they mean.
    pub fn values(&self) -> &Tensor<1> {
        match self {
            Self::ClassAttention(values) | Self::Picks(values) => values,
        }
    }
}

/// The rows whose attention a policy asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedRows {
    /// Every text row behind a picture.
    Text,
    /// The prompt's last row.
    Last,
}

/// What makes a token important behind a layer, given the attention that it receives by the mean over heads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Importance {
    /// Its sum over the asked rows.
    Sum,
    /// The larger of its sum and its maximum over the asked rows, each over a threshold: MustDrop's dual attention. Without
    /// a budget, tokens of at least 1 stay.
    Dual {
        /// Of the sum, relative to the sum over all tokens.
        global_threshold: f32,
        /// Of the maximum.
        individual_threshold: f32,
    },
}

impl Pruning {
    /// The policy that these rules name.
    pub fn rules(&self) -> Box<dyn Policy> {
        match self.policy {
            PolicyName::MustDrop => Box::new(mustdrop::MustDrop(self.clone())),
            PolicyName::Coverage => Box::new(coverage::Coverage { keep: self.keep, joins: false }),
            PolicyName::CoverageMeans => Box::new(coverage::Coverage { keep: self.keep, joins: true }),
            PolicyName::None => Box::new(Everything),
            PolicyName::Random => Box::new(random::Random { keep: self.keep, seed: self.seed }),
            PolicyName::Pool => Box::new(pool::Pool { keep: self.keep }),
            PolicyName::FastV => Box::new(fastv::FastV { keep: self.keep }),
            PolicyName::VisionZip => Box::new(visionzip::VisionZip { keep: self.keep }),
        }
    }
}

/// The policy that keeps everything.
#[derive(Debug)]
struct Everything;

impl Policy for Everything {
    fn sizes(&self, _picture: &PictureShape, tokens: usize, _depth: usize) -> Result<Option<Vec<usize>>> {
        Ok(Some(vec![tokens]))
    }
}
