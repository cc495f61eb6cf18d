//! What a chat drops.

use crate::{
    Pruning,
    drop::{PolicyName, Turns},
};

/// What is dropped, and what would be.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub rules: Pruning,
    pub is_on: bool,
}

impl Rules {
    /// These rules, or MustDrop's, once there is a budget.
    pub fn new(given: Option<Pruning>, seed: u64) -> Self {
        let is_on = given.is_some();
        let rules = given.unwrap_or_else(|| {
            let mut rules = Pruning::mustdrop();
            rules.seed = seed;
            rules
        });
        Self { rules, is_on }
    }

    /// What the conversation goes by.
    pub fn pruning(&self) -> Option<Pruning> {
        match self.rules.turns {
            _ if self.is_on => Some(self.rules.clone()),
            // What an earlier budget kept out is to come back.
            Turns::Requery => {
                let mut everything = Pruning::policy(PolicyName::None);
                everything.turns = Turns::Requery;
                Some(everything)
            }
            _ => None,
        }
    }

    /// The same as options of the command line.
    pub fn describe(&self) -> String {
        let Pruning { policy, keep, turns, .. } = &self.rules;
        match (self.is_on, keep) {
            (false, _) => format!(
                "everything is kept of pictures shown from now on; /keep N drops by --policy {policy} --turns {turns}"
            ),
            (true, Some(keep)) => format!("--policy {policy} --keep {keep} --turns {turns}"),
            (true, None) => format!("--policy {policy} --turns {turns}"),
        }
    }
}
