//! Stage P: tokens that text pays little attention to are dropped behind some layers of the first pass.

use burn::tensor::{Int, Tensor};

use super::{
    Positions, Pruning,
    policy::{AskedRows, Policy, TextAttention},
};
use crate::{
    error::Result,
    kernel::{self, ReadBack},
};

/// The rows that go on behind a layer.
#[derive(Debug)]
pub struct Survivors {
    /// Indices among the rows that entered the layer, ascending.
    pub rows: Tensor<1, Int>,
    /// How many they are.
    pub count: usize,
    /// Whether their positions are numbered anew from the first row's.
    pub renumber: bool,
}

/// What a layer's attention was computed from.
#[derive(Debug)]
pub struct Scores<'a> {
    /// `[rows, heads, head_dim]` of the pass's rows, rotated.
    pub query: &'a Tensor<3>,
    /// `[past + rows or more, key_heads, head_dim]`: all that the layer's cache holds.
    pub keys: &'a Tensor<3>,
    /// The logarithms of the rows' softmax denominators, `[rows, heads]`.
    pub log_sum: &'a Tensor<2>,
    /// Rows that the cache held before the pass's.
    pub past: usize,
}

/// The vision tokens of one picture as they enter the decoder.
#[derive(Debug, Clone)]
pub struct Candidates {
    /// 1 for members of the key token set, one value a token.
    pub is_key: Tensor<1, Int>,
    /// How many go on behind each filter; `None` where thresholds decide.
    pub sizes: Option<Vec<usize>>,
    /// The rows of the tower's features that entered; `None` if all did, or means of them.
    pub rows: Option<Tensor<1, Int>>,
    /// The score of each of the tower's tokens by which they were chosen.
    pub class_attention: Option<Tensor<1>>,
}

/// What the device chose before the decoder, read back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Admitted {
    /// Members of the key token set among the tokens that entered the decoder, ascending.
    pub key_tokens: Vec<usize>,
    /// As [`Candidates::rows`].
    pub rows: Option<Vec<usize>>,
    /// As [`Candidates::class_attention`].
    pub class_attention: Option<Vec<f32>>,
}

/// The tokens of a picture that are still there.
#[derive(Debug)]
struct Alive {
    /// The first of them among the current rows.
    start: usize,
    is_key: Tensor<1, Int>,
    sizes: Option<Vec<usize>>,
}

impl Alive {
    fn len(&self) -> usize {
        self.is_key.dims()[0]
    }
}

/// What one filter did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FilterStep {
    /// The layer behind which it worked.
    pub layer: usize,
    /// For each picture, the tokens that stayed among those alive before, ascending.
    pub kept: Vec<Vec<usize>>,
    /// For each picture, the importance of the tokens alive before.
    pub importance: Vec<Vec<f32>>,
    /// All rows that stayed, among those alive before.
    pub rows: Vec<u32>,
}

/// A filter's choice, as long as it is on the device alone.
#[derive(Debug)]
struct Choice {
    layer: usize,
    /// Rows that entered the layer.
    rows: usize,
    /// For each picture: its first row, the rows of it that stayed, and the importance of all.
    pictures: Vec<(usize, Tensor<1, Int>, Tensor<1>)>,
}

/// The filters of one prefill.
///
/// Choices are made on the device and come back together at the end ([`finish`](Self::finish)). Only where thresholds
/// decide does each filter read back which tokens stay: their number is the next layer's size.
#[derive(Debug)]
pub struct PrefillFilter {
    rules: Box<dyn Policy>,
    layers: Vec<usize>,
    renumber: bool,
    pictures: Vec<Alive>,
    candidates: Vec<Candidates>,
    choices: Vec<Choice>,
    /// For each picture, what entered the decoder, once the pass is finished.
    pub admitted: Vec<Admitted>,
    /// What was done, once the pass is finished.
    pub steps: Vec<FilterStep>,
}

const STEP: &str = "filter the vision tokens";

impl PrefillFilter {
    /// A filter for a pass without pictures so far, for pictures of `patches` patches in a decoder of `depth` layers.
    pub fn new(pruning: &Pruning, patches: usize, depth: usize) -> Self {
        let rules = pruning.rules();
        Self {
            layers: rules.layers(patches, depth),
            rules,
            renumber: pruning.positions == Positions::Compact,
            pictures: Vec::new(),
            candidates: Vec::new(),
            choices: Vec::new(),
            admitted: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Adds the next picture, whose first row in the pass is `start`.
    pub fn add_picture(&mut self, start: usize, picture: &Candidates) {
        self.pictures.push(Alive { start, is_key: picture.is_key.clone(), sizes: picture.sizes.clone() });
        self.candidates.push(picture.clone());
    }

    /// Whether rows may be dropped behind `layer`.
    pub fn is_due(&self, layer: usize) -> bool {
        self.layers.contains(&layer) && !self.pictures.is_empty()
    }

    /// Whether the caches of layers before the last filter are cut in the end.
    pub fn evicts(&self) -> bool {
        self.rules.evicts()
    }

    /// Decides what goes on behind `layer`; `None` where no text follows the last picture.
    ///
    /// # Errors
    ///
    /// [`Error::Device`](crate::Error::Device) if the device fails.
    pub fn survivors(&mut self, layer: usize, scores: Scores) -> Result<Option<Survivors>> {
        let Scores { query, keys, log_sum, past } = scores;
        let rows = query.dims()[0];
        let text = self.pictures.last().map_or(rows, |last| last.start + last.len());
        if text >= rows {
            return Ok(None);
        }
        let asked = match self.rules.asked() {
            AskedRows::Text => text,
            AskedRows::Last => rows - 1,
        };
        let query = query.clone().slice([asked..rows]);
        let log_sum = log_sum.clone().slice([asked..rows]);
        let mut judged = Vec::with_capacity(self.pictures.len());
        for picture in &self.pictures {
            let (sum, max) =
                kernel::prefill::text_attention(&query, keys, &log_sum, past + picture.start, picture.len());
            judged.push(self.rules.judge(&TextAttention { sum, max }, &picture.is_key));
        }
        let sizes = self.sizes(judged.iter().map(|judged| judged.stays.as_ref()))?;

        let device = query.device();
        let mut choice = Choice { layer, rows, pictures: Vec::new() };
        let mut staying = Vec::new();
        let (mut end, mut dropped) = (0, 0);
        for ((picture, judged), size) in self.pictures.iter_mut().zip(judged).zip(sizes) {
            let stays = match (&picture.sizes, judged.stays) {
                (None, Some(stays)) => stays,
                _ => kernel::prefill::top_k(&judged.importance, &picture.is_key, size),
            };
            let (tokens, start) = (picture.len(), picture.start);
            let (kept, is_key) = kernel::prefill::compact(&stays, &picture.is_key, size, start);
            staying.push(rows_between(end, start, &device));
            staying.push(kept.clone());
            choice.pictures.push((start, kept, judged.importance));
            picture.start -= dropped;
            picture.is_key = is_key;
            (end, dropped) = (start + tokens, dropped + tokens - size);
        }
        staying.push(rows_between(end, rows, &device));
        self.choices.push(choice);
        Ok(Some(Survivors {
            rows: kernel::concatenate(staying),
            count: rows - dropped,
            renumber: self.renumber,
        }))
    }

    /// How many tokens of each picture stay behind the next filter: one small read-back where thresholds decide.
    fn sizes<'a>(&self, stays: impl Iterator<Item = Option<&'a Tensor<1, Int>>>) -> Result<Vec<usize>> {
        let number = self.choices.len();
        let mut flags = ReadBack::default();
        let mut sizes = Vec::with_capacity(self.pictures.len());
        for (picture, stays) in self.pictures.iter().zip(stays) {
            let planned = picture.sizes.as_ref().and_then(|sizes| sizes.get(number).copied());
            match (planned, stays) {
                (None, Some(stays)) => {
                    flags.integers(stays);
                    sizes.push(None);
                }
                (planned, _) => sizes.push(Some(planned.unwrap_or(usize::MAX).min(picture.len()))),
            }
        }
        if sizes.iter().all(Option::is_some) {
            return Ok(sizes.into_iter().flatten().collect());
        }
        let mut counts = flags.read(STEP)?.map(|flags| flags.iter().filter(|flag| **flag > 0.0).count());
        Ok(sizes.into_iter().map(|size| size.or_else(|| counts.next()).unwrap_or(0)).collect())
    }

    /// Reads back what entered the decoder and what the filters did, all at once.
    ///
    /// # Errors
    ///
    /// [`Error::Device`](crate::Error::Device) if the device failed.
    pub fn finish(&mut self) -> Result<()> {
        let mut parts = ReadBack::default();
        for candidates in &self.candidates {
            parts.integers(&candidates.is_key);
            candidates.rows.iter().for_each(|rows| parts.integers(rows));
            candidates.class_attention.iter().for_each(|score| parts.numbers(score));
        }
        for (_, kept, importance) in self.choices.iter().flat_map(|choice| &choice.pictures) {
            parts.integers(kept);
            parts.numbers(importance);
        }
        let mut parts = parts.read(STEP)?;
        let mut next = || parts.next().unwrap_or_default();
        for candidates in &self.candidates {
            let is_key = next();
            self.admitted.push(Admitted {
                key_tokens: (0..is_key.len()).filter(|token| is_key[*token] > 0.0).collect(),
                rows: candidates.rows.as_ref().map(|_| next().iter().map(|row| *row as usize).collect()),
                class_attention: candidates.class_attention.as_ref().map(|_| next()),
            });
        }
        for choice in self.choices.drain(..) {
            let mut step = FilterStep { layer: choice.layer, ..FilterStep::default() };
            let mut end = 0;
            for (start, ..) in choice.pictures {
                let (kept, importance) = (next(), next());
                step.rows.extend(end as u32..start as u32);
                step.rows.extend(kept.iter().map(|row| *row as u32));
                step.kept.push(kept.iter().map(|row| (*row as usize).saturating_sub(start)).collect());
                end = start + importance.len();
                step.importance.push(importance);
            }
            step.rows.extend(end as u32..choice.rows as u32);
            self.steps.push(step);
        }
        Ok(())
    }
}

/// The indices of text rows from `start` to `end`.
fn rows_between(start: usize, end: usize, device: &burn::tensor::Device) -> Tensor<1, Int> {
    kernel::integers((start as u32..end as u32).collect(), [end.saturating_sub(start)], device)
}
