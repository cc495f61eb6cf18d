//! Which of a picture's tokens a budget lets into the decoder, and which it protects there.

use super::named;

/// How MustDrop admits and protects tokens under a budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Admit {
    /// Those that cover the picture: a few tokens of everything in it.
    #[default]
    Coverage,
    /// Those that `[CLS]` attends to most, as the paper protects them.
    Class,
}

impl Admit {
    /// All there are, the default first.
    pub const ALL: &'static [Self] = &[Self::Coverage, Self::Class];

    /// The name as it is written on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Coverage => "coverage",
            Self::Class => "class",
        }
    }

    /// How many tokens of a picture of `patches` patches enter the decoder so that filters have something to drop, the first of them
    /// behind the layer that ends a share `f` of all layers; without filters, the budget does.
    ///
    /// - By coverage, a forty-eighth of the picture more than the budget: 12 of 576 tokens. Each of them is paid for with
    ///   others in the last layers, and what covers the picture is a good choice already.
    /// - By class, so many that the first layers have half of all the work (tokens times layers): it is the filters that choose.
    ///
    /// `budget / √f` is what a late filter can make up for.
    pub(super) fn entering(self, budget: usize, patches: usize, f: f64) -> f64 {
        let budget = budget as f64;
        match self {
            Self::Coverage => (budget + (patches as f64 / 48.0).max(1.0)).min(budget / f.sqrt()),
            Self::Class => budget * f.sqrt().max(0.5) / f,
        }
    }
}

named!(Admit, "--admit");
