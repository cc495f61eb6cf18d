//! Arguments about dropping vision tokens.

use clap::Args;

use super::named::named;
use crate::{
    Error, Pruning, Result,
    drop::{Admit, Keep, PolicyName, Positions, Preset, RowOrder, Stage, Turns},
};

/// How vision tokens are dropped; without any of these, none are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Dropping vision tokens")]
pub struct PruningArguments {
    /// Who chooses: mustdrop, or for comparison coverage, coverage-means, none, random, pool, fastv or visionzip [default: mustdrop, once any of
    /// these options is given]
    #[arg(long, value_name = "NAME", value_parser = named::<PolicyName>(PolicyName::ALL.iter().map(|one| one.as_str())), hide_possible_values = true)]
    policy: Option<PolicyName>,

    /// Keep N vision tokens of each picture, or P% of its patches: the mean over all decoder layers
    #[arg(long, value_name = "N|P%", allow_negative_numbers = true, conflicts_with_all = ["global_thr", "individual_thr", "preset"])]
    keep: Option<Keep>,

    /// How a budget admits and protects tokens: coverage, a few of everything in the picture, or class, those that [CLS] attends
    /// to [default: coverage]
    #[arg(long, value_name = "NAME", value_parser = named::<Admit>(Admit::ALL.iter().map(|one| one.as_str())), hide_possible_values = true, requires = "keep", conflicts_with_all = ["global_thr", "individual_thr", "preset"])]
    admit: Option<Admit>,

    /// Merge alike windows in the vision tower, though coverage admits the tokens
    #[arg(long, requires = "keep", conflicts_with_all = ["global_thr", "individual_thr", "preset"])]
    merge: bool,

    /// A level of the paper: the thresholds retain-192, retain-128 or retain-64, or of pictures in tiles so many tokens: next-640,
    /// next-320 or next-160
    #[arg(long, value_name = "NAME", value_parser = named::<Preset>(Preset::ALL.iter().map(|one| one.as_str())), hide_possible_values = true, conflicts_with_all = ["global_thr", "individual_thr"])]
    preset: Option<Preset>,

    /// Drop tokens whose share of the text's attention is below G (with --individual-thr)
    #[arg(long, value_name = "G", allow_negative_numbers = true, requires = "individual_thr")]
    global_thr: Option<f32>,

    /// ... and that no single text token pays an attention of A or more (with --global-thr)
    #[arg(long, value_name = "A", allow_negative_numbers = true, requires = "global_thr")]
    individual_thr: Option<f32>,

    /// Decoder layers, counted from 0, behind which tokens are dropped, as in 3,7 [default: 9 of 32; 2,6,10,14
    /// without --keep or by class; scaled]
    #[arg(long, value_name = "LAYERS", value_delimiter = ',')]
    pruning_layers: Option<Vec<usize>>,

    /// What a later question finds of dropped tokens: pin, they stay dropped, or requery, they are back, and are chosen from
    /// anew [default: pin]
    #[arg(long, value_name = "NAME", value_parser = named::<Turns>(Turns::ALL.iter().map(|one| one.as_str())), hide_possible_values = true)]
    turns: Option<Turns>,

    /// Switch a stage off: merge, filter or evict; may be repeated
    #[arg(long, value_name = "STAGE", value_delimiter = ',', value_parser = named::<Stage>(Stage::ALL.iter().map(|one| one.as_str())), hide_possible_values = true)]
    without: Vec<Stage>,

    /// As the authors' code has it: merged windows first, positions numbered anew behind every filter, and under a budget
    /// --admit class
    #[arg(long)]
    reference: bool,
}

impl PruningArguments {
    /// The rules these arguments ask for, `seed` being that of `--policy random`; `None` if there are none.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if an option of MustDrop stands beside another policy.
    pub fn pruning(&self, seed: u64) -> Result<Option<Pruning>> {
        let thresholds = self.global_thr.zip(self.individual_thr);
        let is_mustdrop = [
            ("--preset, --global-thr or --individual-thr", self.preset.is_some() || thresholds.is_some()),
            ("--pruning-layers", self.pruning_layers.is_some()),
            ("--admit", self.admit.is_some()),
            ("--merge", self.merge),
            ("--without", !self.without.is_empty()),
            ("--reference", self.reference),
        ];
        if self.merge && self.without.contains(&Stage::Merge) {
            return Err(Error::argument("--merge", "no --without merge beside it", "both"));
        }
        let own = is_mustdrop.into_iter().find(|(_, is_given)| *is_given);
        if let (Some((option, _)), Some(policy)) = (own, self.policy.filter(|p| *p != PolicyName::MustDrop)) {
            return Err(Error::argument(option, "--policy mustdrop", format!("--policy {policy}")));
        }
        if own.is_none() && self.policy.is_none() && self.keep.is_none() {
            return match self.turns {
                None => Ok(None),
                Some(turns) => {
                    let expected = "an option that drops tokens beside it, such as --keep";
                    Err(Error::argument("--turns", expected, format!("{turns} alone")))
                }
            };
        }
        let mut pruning = Pruning::policy(self.policy.unwrap_or_default());
        if let Some((global, individual)) = thresholds {
            pruning = pruning.thresholds(global, individual);
        }
        if let Some(preset) = self.preset {
            pruning = pruning.preset(preset);
        }
        if self.reference {
            (pruning.order, pruning.positions) = (RowOrder::Similarity, Positions::Compact);
            pruning.admit = Admit::Class;
        }
        pruning.keep = self.keep.or(pruning.keep);
        pruning.admit = self.admit.unwrap_or(pruning.admit);
        pruning.seed = seed;
        pruning.turns = self.turns.unwrap_or_default();
        pruning.merge = self.merge.then_some(true);
        pruning.pruning_layers.clone_from(&self.pruning_layers);
        Ok(Some(pruning.without(&self.without)))
    }
}
