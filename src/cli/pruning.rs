//! Arguments about dropping vision tokens.

use clap::{Args, ValueEnum};

use crate::{Pruning, drop::Keep};

/// How vision tokens are dropped; without any of these, none are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Dropping vision tokens (MustDrop)")]
pub struct PruningArguments {
    /// Keep N vision tokens of each picture, or P% of its patches: the mean over all decoder layers
    #[arg(long, value_name = "N|P%", conflicts_with_all = ["global_thr", "individual_thr"])]
    keep: Option<Keep>,

    /// Drop tokens whose share of the text's attention is below G (with --individual-thr)
    #[arg(long, value_name = "G", requires = "individual_thr")]
    global_thr: Option<f32>,

    /// ... and that no single text token pays an attention of A or more (with --global-thr)
    #[arg(long, value_name = "A", requires = "global_thr")]
    individual_thr: Option<f32>,

    /// Decoder layers, counted from 0, behind which tokens are dropped [default: 2,6,10,14 of 32, scaled]
    #[arg(long, value_name = "LAYERS", value_delimiter = ',')]
    pruning_layers: Option<Vec<usize>>,

    /// Switch a stage off; may be repeated
    #[arg(long, value_name = "STAGE", value_enum)]
    without: Vec<Stage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Merging windows of alike patches in the vision tower
    Merge,
    /// Dropping tokens during the prefill
    Filter,
    /// Cutting caches to the survivors
    Evict,
}

impl PruningArguments {
    /// The rules these arguments ask for; `None` if there are none.
    pub fn pruning(&self) -> Option<Pruning> {
        let mut pruning = match (self.keep, self.global_thr.zip(self.individual_thr)) {
            (Some(keep), _) => Pruning::mustdrop().keep(keep),
            (None, Some((global, individual))) => Pruning::mustdrop().thresholds(global, individual),
            (None, None) if self.pruning_layers.is_none() && self.without.is_empty() => return None,
            (None, None) => Pruning::mustdrop(),
        };
        pruning.pruning_layers.clone_from(&self.pruning_layers);
        pruning.merge = !self.without.contains(&Stage::Merge);
        pruning.filter = !self.without.contains(&Stage::Filter);
        pruning.evict = !self.without.contains(&Stage::Evict);
        Some(pruning)
    }
}
