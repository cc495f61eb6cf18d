//! `mustdrop eval`: how much accuracy each way of dropping costs, on any model and any questions.
//!
//! - [`questions`]: what is asked
//! - [`score`]: when an answer is right
//! - [`records`]: answers on disk, so that a run that was stopped goes on
//! - [`summary`]: the figures of each way of dropping
//! - [`plot`]: accuracy over kept tokens, as SVG

pub mod plot;
pub mod questions;
pub mod records;
pub mod score;
pub mod summary;

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    path::Path,
    time::Instant,
};

use serde::{Deserialize, Serialize};

use crate::{
    Chat, GenerationOptions, Llava, Picture, Pruning,
    drop::{Keep, PolicyName},
    error::Result,
    model::TowerFeatures,
    shown::Shown,
};
use questions::Question;
use records::Record;

/// A way of dropping that is measured: a policy and its budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// Who chooses.
    pub policy: PolicyName,
    /// How much is kept; `None` with [`PolicyName::None`].
    pub keep: Option<Keep>,
}

impl Setting {
    /// Every policy at every budget; the one that keeps everything once, and first.
    pub fn all(policies: &[PolicyName], keeps: &[Keep]) -> Vec<Self> {
        let dense = policies.iter().filter(|policy| **policy == PolicyName::None).take(1);
        let dense = dense.map(|policy| Self { policy: *policy, keep: None });
        let dropping = policies.iter().filter(|policy| **policy != PolicyName::None);
        let dropping = dropping.flat_map(|policy| keeps.iter().map(|keep| (*policy, *keep)));
        dense.chain(dropping.map(|(policy, keep)| Self { policy, keep: Some(keep) })).collect()
    }

    /// The rules of the setting; `seed` is that of [`PolicyName::Random`].
    pub fn pruning(&self, seed: u64) -> Pruning {
        let mut pruning = Pruning::policy(self.policy);
        pruning.keep = self.keep;
        pruning.seed = seed;
        pruning
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.keep {
            Some(keep) => write!(f, "{} {keep}", self.policy),
            None => write!(f, "{}", self.policy),
        }
    }
}

/// What an answer cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Mean of the vision tokens that the decoder's layers computed.
    pub vision_tokens: f64,
    /// Bytes of the caches after the answer.
    pub kv_bytes: u64,
    /// Seconds from pixels to the end of the answer, for the first question about a picture: later ones find parts of
    /// the work done.
    pub seconds: Option<f64>,
}

/// Asks `questions` about one picture under every setting, and hands each answer to `take`.
///
/// The tower runs once for all policies that treat it alike. `wanted` tells which questions (by index) are still to
/// be asked under which setting (by index).
///
/// # Errors
///
/// [`Error::Picture`](crate::Error::Picture) if the picture cannot be read, [`Error::Prompt`](crate::Error::Prompt) if
/// a question does not fit the context, [`Error::Device`](crate::Error::Device) if the device fails, and what `take`
/// returns.
pub fn ask_about(
    model: &Llava,
    path: &Path,
    settings: &[(Setting, Pruning)],
    questions: &[(usize, &Question)],
    wanted: impl Fn(usize, usize) -> bool,
    mut take: impl FnMut(Record) -> Result<()>,
) -> Result<()> {
    let is_wanted = |setting: usize| questions.iter().any(|(question, _)| wanted(setting, *question));
    if !(0..settings.len()).any(is_wanted) {
        return Ok(());
    }
    let pixels = model.preprocessor.run(&Picture::open(path)?)?;
    let depth = model.model.decoder.depth();
    let mut towers: HashMap<Option<usize>, (TowerFeatures, f64)> = HashMap::new();
    for (number, (setting, pruning)) in settings.iter().enumerate().filter(|(number, _)| is_wanted(*number)) {
        let (tower, tower_seconds) = match towers.entry(model.model.vision.least_tokens(pruning, depth)?) {
            Entry::Occupied(seen) => seen.into_mut(),
            Entry::Vacant(unseen) => {
                let start = Instant::now();
                let tower = model.model.vision.look(&pixels.values, pruning, depth)?;
                model.compute().wait("encode the picture")?;
                unseen.insert((tower, start.elapsed().as_secs_f64()))
            }
        };
        let start = Instant::now();
        let pruned = model.model.admit(tower, pruning)?;
        let embeddings = pruned.features.clone();
        let mut shown = Some(Shown { embeddings, pruned: Some(pruned), placement: pixels.placement });
        let mut chat = chat(model, pruning);
        // The first question under a setting shows what one alone would take.
        let mut is_first = true;
        for (question, text) in questions.iter().filter(|(question, _)| wanted(number, *question)) {
            let mut answer = chat.ask_afresh(shown.take(), &text.question)?;
            let said = answer.complete()?;
            let seconds = is_first.then(|| *tower_seconds + start.elapsed().as_secs_f64());
            is_first = false;
            let report = answer.report();
            let vision_tokens = report.pruning.as_ref().filter(|pruning| !pruning.pictures.is_empty());
            let cost = Cost {
                // A question that found its picture in the cache computed nothing of it: the same as the first did.
                vision_tokens: vision_tokens.map_or(report.vision_tokens as f64, |p| p.mean_vision_tokens),
                kv_bytes: report.kv_bytes,
                seconds,
            };
            take(Record::new(setting, *question, said, cost))?;
        }
    }
    Ok(())
}

/// Greedy answers, whatever the checkpoint's own rules are.
fn chat(model: &Llava, pruning: &Pruning) -> Chat {
    let options = GenerationOptions { max_new_tokens: 64, ..GenerationOptions::default() };
    model.chat().options(options).pruning(pruning.clone())
}
