//! The paper's levels.

use super::{Keep, Pruning, named};

/// The levels of the paper's tables.
///
/// For LLaVA 1.5 it publishes thresholds, and the mean number of tokens that it found: they fix no budget, and how many tokens stay depends on the
/// picture, the question and the model. For LLaVA-NeXT, whose 2,880 tokens it drops to 640, 320 and 160, it publishes none: these are budgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preset {
    /// About 192 tokens: g = 0.001, a = 0.001.
    Retain192,
    /// About 128 tokens: g = 0.0012, a = 0.001.
    Retain128,
    /// About 64 tokens: g = 0.011, a = 0.01.
    Retain64,
    /// 640 tokens of a picture in tiles.
    Next640,
    /// 320 tokens of a picture in tiles.
    Next320,
    /// 160 tokens of a picture in tiles.
    Next160,
}

impl Preset {
    /// All there are.
    pub const ALL: &'static [Self] =
        &[Self::Retain192, Self::Retain128, Self::Retain64, Self::Next640, Self::Next320, Self::Next160];

    /// The name as it is written on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retain192 => "retain-192",
            Self::Retain128 => "retain-128",
            Self::Retain64 => "retain-64",
            Self::Next640 => "next-640",
            Self::Next320 => "next-320",
            Self::Next160 => "next-160",
        }
    }

    /// Global and individual threshold (`g`, `a`), if it has any.
    pub fn thresholds(self) -> Option<(f32, f32)> {
        match self {
            Self::Retain192 => Some((0.001, 0.001)),
            Self::Retain128 => Some((0.0012, 0.001)),
            Self::Retain64 => Some((0.011, 0.01)),
            Self::Next640 | Self::Next320 | Self::Next160 => None,
        }
    }

    /// The budget, if it is one.
    pub fn keep(self) -> Option<Keep> {
        match self {
            Self::Next640 => Some(Keep::Tokens(640)),
            Self::Next320 => Some(Keep::Tokens(320)),
            Self::Next160 => Some(Keep::Tokens(160)),
            Self::Retain192 | Self::Retain128 | Self::Retain64 => None,
        }
    }
}

named!(Preset, "--preset");

impl Pruning {
    /// One of the paper's levels: its thresholds, or its budget.
    pub fn preset(self, preset: Preset) -> Self {
        let keep = preset.keep().or(self.keep);
        match preset.thresholds() {
            Some((global, individual)) => Self { keep, ..self.thresholds(global, individual) },
            None => Self { keep, ..self },
        }
    }
}
