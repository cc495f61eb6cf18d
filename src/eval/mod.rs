//! `mustdrop eval`: how much accuracy each way of dropping costs, on any model and any questions.
//!
//! - [`setting`]: the ways of dropping
//! - [`questions`]: what is asked
//! - [`score`]: when an answer is right
//! - [`records`]: answers on disk, so that a run that was stopped goes on
//! - [`bootstrap`]: how sure a figure is
//! - [`summary`]: the figures of each way of dropping
//! - [`plot`]: accuracy over kept tokens, as SVG

pub mod bootstrap;
pub mod plot;
pub mod questions;
pub mod records;
pub mod score;
pub mod setting;
pub mod summary;

use std::{
    collections::{HashMap, hash_map::Entry},
    path::Path,
    time::Instant,
};

use serde::{Deserialize, Serialize};

use crate::{
    Chat, GenerationOptions, Llava, Picture, Pruning,
    error::{Error, Result},
    model::TowerFeatures,
    shown::Shown,
};
use questions::Question;
use records::{Outcome, Record};
pub use setting::{Change, Setting};

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
/// The tower runs once for all policies that treat it alike, and what a policy lets into the decoder once for all
/// questions. `wanted` tells which questions (by index) are still to be asked under which setting (by index).
///
/// # Errors
///
/// [`Error::Picture`] if the picture cannot be read, [`Error::Device`] if the device fails, and what `take` returns. A
/// question that does not fit the context is an [`Outcome`].
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
    let picture = Picture::open(path)?;
    let shape = model.config.picture_shape(picture.size(), true);
    let tiles = model.preprocessor.tiles(&picture, &shape)?;
    let pixels: Vec<&[f32]> = tiles.iter().map(|tile| tile.values.as_slice()).collect();
    let depth = model.model.decoder.depth();
    let mut towers: HashMap<Option<usize>, (TowerFeatures, f64)> = HashMap::new();
    for (number, (setting, pruning)) in settings.iter().enumerate().filter(|(number, _)| is_wanted(*number)) {
        let (tower, tower_seconds) =
            match towers.entry(model.model.vision.least_tokens(&shape, pruning, depth)?) {
                Entry::Occupied(seen) => seen.into_mut(),
                Entry::Vacant(unseen) => {
                    let start = Instant::now();
                    let tower = model.model.vision.look(&pixels, &shape, pruning, depth)?;
                    model.compute().wait("encode the picture")?;
                    unseen.insert((tower, start.elapsed().as_secs_f64()))
                }
            };
        let start = Instant::now();
        let pruned = model.model.admit(tower, pruning)?;
        let mut shown = Some(Shown {
            embeddings: pruned.features.clone(),
            pruned: Some(pruned),
            shape: shape.clone(),
            placements: tiles.iter().map(|tile| tile.placement).collect(),
            alone: None,
            tower: None,
        });
        let mut chat = chat(model, pruning);
        for (question, text) in questions.iter().filter(|(question, _)| wanted(number, *question)) {
            // A picture's first question shows what one alone would take.
            let is_first = questions.first().is_some_and(|(first, _)| first == question);
            let outcome = match answer(&mut chat, shown.take(), text) {
                Ok((answer, mut cost)) => {
                    cost.seconds = is_first.then(|| *tower_seconds + start.elapsed().as_secs_f64());
                    Outcome::Answered { answer, cost }
                }
                Err(error @ Error::Context { .. }) => Outcome::Refused { refused: error.to_string() },
                Err(error) => return Err(error),
            };
            take(Record::new(setting, text, outcome))?;
        }
    }
    Ok(())
}

/// The answer to one question, and what it cost but for the time.
fn answer(chat: &mut Chat, shown: Option<Shown>, question: &Question) -> Result<(String, Cost)> {
    let mut answer = chat.ask_afresh(shown, &question.question)?;
    let said = answer.complete()?;
    let report = answer.report();
    let pruning = report.pruning.as_ref().filter(|pruning| !pruning.pictures.is_empty());
    let cost = Cost {
        // A question that found its picture in the cache computed nothing of it: the same as the first did.
        vision_tokens: pruning.map_or(report.vision_tokens as f64, |pruning| pruning.mean_vision_tokens),
        kv_bytes: report.kv_bytes,
        seconds: None,
    };
    Ok((said, cost))
}

/// Greedy answers, whatever the checkpoint's own rules are.
fn chat(model: &Llava, pruning: &Pruning) -> Chat {
    let options = GenerationOptions { max_new_tokens: 64, ..GenerationOptions::default() };
    model.chat().options(options).pruning(pruning.clone())
}
