//! MustDrop's stages, by name: what can be switched off, to see what each of them does.

use super::{Pruning, named};

/// A stage of MustDrop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Stage {
    /// Merging windows of alike patches in the vision tower.
    Merge,
    /// Dropping tokens during the prefill.
    Filter,
    /// Cutting caches to the survivors.
    Evict,
}

impl Stage {
    /// All of them, in the order in which they work.
    pub const ALL: &'static [Self] = &[Self::Merge, Self::Filter, Self::Evict];

    /// The name as it is written on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Merge => "merge",
            Self::Filter => "filter",
            Self::Evict => "evict",
        }
    }
}

named!(Stage, "--without");

impl Pruning {
    /// Switches stages off. Without the filter, a budget is met by what is admitted ([`Admit`](super::Admit)), and by merging
    /// down to it where windows are merged.
    pub fn without(mut self, stages: &[Stage]) -> Self {
        for stage in stages {
            match stage {
                Stage::Merge => self.merge = Some(false),
                Stage::Filter => self.filter = false,
                Stage::Evict => self.evict = false,
            }
        }
        self
    }
}
