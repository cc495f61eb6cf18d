//! The ways of dropping that are measured.

use std::{collections::HashSet, fmt};

use serde::Serialize;

use crate::{
    Pruning,
    drop::{Admit, Keep, PolicyName, Stage},
};

/// A way of dropping that is measured: a policy, what of MustDrop is changed, and its budget.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// Who chooses.
    pub policy: PolicyName,
    /// What is changed; `None` but with [`PolicyName::MustDrop`].
    #[serde(flatten)]
    pub change: Option<Change>,
    /// How much is kept; `None` with [`PolicyName::None`].
    #[serde(serialize_with = "as_asked_for")]
    pub keep: Option<Keep>,
}

/// What is changed of MustDrop under a budget.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    /// How tokens are admitted.
    pub admit: Admit,
    /// As [`Pruning::merge`].
    pub merge: Option<bool>,
    /// Stages that are switched off.
    pub without: Vec<Stage>,
    /// Other layers behind which tokens are dropped; none for the usual ones.
    pub pruning_layers: Vec<usize>,
}

/// A budget as it is written on the command line.
fn as_asked_for<S: serde::Serializer>(keep: &Option<Keep>, serializer: S) -> Result<S::Ok, S::Error> {
    keep.map(|keep| keep.to_string()).serialize(serializer)
}

impl Setting {
    /// Everything is kept.
    pub fn dense() -> Self {
        Self { policy: PolicyName::None, change: None, keep: None }
    }

    /// Every policy at every budget, each once, MustDrop with each of the given changes; the one that keeps everything first.
    pub fn all(policies: &[PolicyName], changes: &[Change], keeps: &[Keep]) -> Vec<Self> {
        let mut settings = Vec::new();
        if policies.contains(&PolicyName::None) {
            settings.push(Self::dense());
        }
        for policy in policies.iter().copied().filter(|policy| *policy != PolicyName::None) {
            let changes: Vec<_> = match policy {
                PolicyName::MustDrop => changes.iter().map(Some).collect(),
                _ => vec![None],
            };
            for change in changes {
                let setting = |keep: &Keep| Self { policy, change: change.cloned(), keep: Some(*keep) };
                settings.extend(keeps.iter().map(setting));
            }
        }
        let mut seen = HashSet::new();
        settings.retain(|setting| seen.insert(setting.to_string()));
        settings
    }

    /// The rules of the setting; `seed` is that of [`PolicyName::Random`].
    pub fn pruning(&self, seed: u64) -> Pruning {
        let mut pruning = Pruning::policy(self.policy);
        pruning.keep = self.keep;
        pruning.seed = seed;
        let Some(Change { admit, merge, without, pruning_layers }) = &self.change else { return pruning };
        pruning.admit = *admit;
        pruning.merge = *merge;
        pruning.pruning_layers = (!pruning_layers.is_empty()).then(|| pruning_layers.clone());
        pruning.without(without)
    }

    /// The policy, and what is changed of it.
    pub fn way(&self) -> String {
        let mut way = self.policy.to_string();
        let Some(Change { admit, merge, without, pruning_layers }) = &self.change else { return way };
        if *admit != Admit::default() {
            way += &format!(" by {admit}");
        }
        if *merge == Some(true) {
            way += " with merge";
        }
        if !pruning_layers.is_empty() {
            way += &format!(" behind {}", joined(pruning_layers));
        }
        if !without.is_empty() {
            way += &format!(" without {}", joined(without));
        }
        way
    }
}

/// Names with "and" between them.
fn joined(parts: &[impl fmt::Display]) -> String {
    parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.way())?;
        match self.keep {
            Some(keep) => write!(f, " {keep}"),
            None => Ok(()),
        }
    }
}
