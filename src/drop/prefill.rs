//! Stage P: tokens that text pays little attention to are dropped behind some layers of the first pass.

use std::{collections::BTreeSet, ops::Range};

use burn::tensor::{Int, Tensor};

use super::{
    Positions, Pruning,
    missed::Missed,
    newlines::Standing,
    policy::{AskedRows, Policy, Score},
    selection::{Alive, Chosen, Report, STEP, choose, of_picture},
};
use crate::{
    error::Result,
    kernel::{self, ReadBack, attention::Window, prefill::Received},
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
    /// How far back rows look.
    pub window: Option<&'a Window>,
}

/// The vision tokens of one picture as they enter the decoder.
#[derive(Debug, Clone)]
pub struct Candidates {
    /// 1 for members of the key token set, one value a token.
    pub is_key: Tensor<1, Int>,
    /// Decoder layers behind which tokens are dropped, ascending.
    pub layers: Vec<usize>,
    /// How many go on behind each of them; `None` where thresholds decide.
    pub sizes: Option<Vec<usize>>,
    /// The rows of the tower's features that entered; `None` if all did, or means of them.
    pub rows: Option<Tensor<1, Int>>,
    /// What the tower's tokens were chosen by.
    pub score: Option<Score>,
    /// Of a picture in tiles: where tokens stand, and which are protected.
    pub standing: Option<Vec<Standing>>,
}

/// What the device chose before the decoder, read back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Admitted {
    /// Members of the key token set among the tokens that entered the decoder, ascending.
    pub key_tokens: Vec<usize>,
    /// As [`Candidates::rows`].
    pub rows: Option<Vec<usize>>,
    /// The values of [`Candidates::score`].
    pub score: Option<Vec<f32>>,
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
    /// For each picture: its first row and what was chosen.
    pictures: Vec<(usize, Chosen)>,
}

/// The filters of one prefill.
///
/// Choices are made on the device and come back together at the end ([`finish`](Self::finish)). Only where thresholds
/// decide does each filter read back how many stay: the next layer's size.
#[derive(Debug)]
pub struct PrefillFilter {
    rules: Box<dyn Policy>,
    renumber: bool,
    pictures: Vec<Alive>,
    candidates: Vec<Candidates>,
    choices: Vec<Choice>,
    report: Report,
    /// For each picture, what entered the decoder, once the pass is finished.
    pub admitted: Vec<Admitted>,
    /// What was done, once the pass is finished.
    pub steps: Vec<FilterStep>,
    /// A look at pictures of earlier questions.
    pub missed: Option<Missed>,
}

impl PrefillFilter {
    /// A filter for a pass without pictures so far.
    pub fn new(pruning: &Pruning) -> Self {
        Self {
            rules: pruning.rules(),
            renumber: pruning.positions == Positions::Compact,
            pictures: Vec::new(),
            candidates: Vec::new(),
            choices: Vec::new(),
            report: Report::default(),
            admitted: Vec::new(),
            steps: Vec::new(),
            missed: None,
        }
    }

    /// Adds the next picture, whose first row in the pass is `start`.
    pub fn add_picture(&mut self, start: usize, picture: &Candidates) {
        self.pictures.push(Alive {
            start,
            is_key: picture.is_key.clone(),
            layers: picture.layers.clone(),
            sizes: picture.sizes.clone(),
            standing: picture.standing.clone(),
        });
        self.candidates.push(picture.clone());
    }

    /// Whether rows may be dropped behind `layer`.
    pub fn is_due(&self, layer: usize) -> bool {
        self.pictures.iter().any(|picture| picture.layers.contains(&layer))
    }

    /// Whether the caches of layers before the last filter are cut in the end.
    pub fn evicts(&self) -> bool {
        self.rules.evicts()
    }

    /// Looks at pictures of earlier questions, if `layer` is where to.
    pub fn look_back(&mut self, layer: usize, scores: &Scores) {
        if let Some(missed) = &mut self.missed {
            missed.look(layer, scores);
        }
    }

    /// Decides what goes on behind `layer`; `None` where no text follows the last picture.
    ///
    /// # Errors
    ///
    /// [`Error::Device`](crate::Error::Device) if the device fails.
    pub fn survivors(&mut self, layer: usize, scores: Scores) -> Result<Option<Survivors>> {
        let Scores { query, keys, log_sum, past, window } = scores;
        let rows = query.dims()[0];
        if self.pictures.last().is_none_or(|last| last.start + last.len() >= rows) {
            return Ok(None);
        }
        let received = self.pictures.iter().enumerate().map(|(number, picture)| {
            let tokens = (past + picture.start, picture.len());
            let of_run =
                |asked| kernel::prefill::text_attention(query, keys, log_sum, asked, tokens, past, window);
            let (last, others) = self.asked(number, rows);
            others.into_iter().map(of_run).fold(of_run(last), Received::and)
        });
        let received = received.collect();
        let starts: Vec<usize> = self.pictures.iter().map(|picture| picture.start).collect();
        let left = self.pictures.iter().flat_map(|picture| &picture.layers).filter(|due| **due >= layer);
        let filters = left.collect::<BTreeSet<_>>().len();
        let importance = self.rules.importance();
        let going_on =
            choose(&mut self.pictures, received, importance, rows, (layer, filters), &mut self.report)?;
        let pictures = starts.into_iter().zip(going_on.chosen).collect();
        self.choices.push(Choice { layer, rows, pictures });
        Ok(Some(Survivors { rows: going_on.rows, count: going_on.count, renumber: self.renumber }))
    }

    /// The rows, of `rows` in all, whose attention to picture `number` counts: the last run of text, and those before it.
    fn asked(&self, number: usize, rows: usize) -> (Range<usize>, Vec<Range<usize>>) {
        let last = self.pictures.last().map_or(0, |last| last.start + last.len());
        if self.rules.asked() == AskedRows::Last {
            return (rows - 1..rows, Vec::new());
        }
        let ends = self.pictures[number..].iter().map(|picture| picture.start + picture.len());
        let starts = self.pictures[number + 1..].iter().map(|picture| picture.start);
        let between = ends.zip(starts).map(|(end, start)| end..start).filter(|run| !run.is_empty());
        (last..rows, between.collect())
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
            candidates.score.iter().for_each(|score| parts.numbers(score.values()));
        }
        self.report.tell(&mut parts);
        for (_, chosen) in self.choices.iter().flat_map(|choice| &choice.pictures) {
            if let Chosen::Apart(kept, importance) = chosen {
                parts.integers(kept);
                parts.numbers(importance);
            }
        }
        self.missed.iter().for_each(|missed| missed.tell(&mut parts));
        let mut parts = parts.read(STEP)?;
        let mut next = || parts.next().unwrap_or_default();
        for candidates in &self.candidates {
            let is_key = next();
            self.admitted.push(Admitted {
                key_tokens: (0..is_key.len()).filter(|token| is_key[*token] > 0.0).collect(),
                rows: candidates.rows.as_ref().map(|_| next().iter().map(|row| *row as usize).collect()),
                score: candidates.score.as_ref().map(|_| next()),
            });
        }
        let report = if self.report.is_filled() { next() } else { Vec::new() };
        for choice in self.choices.drain(..) {
            let mut step = FilterStep { layer: choice.layer, ..FilterStep::default() };
            let mut end = 0;
            for (start, chosen) in choice.pictures {
                let (kept, importance) = match chosen {
                    Chosen::Apart(..) => (next(), next()),
                    Chosen::Reported(header, tokens) => of_picture(&report, header, tokens),
                    Chosen::Known(kept, importance) => (kept, importance),
                };
                step.rows.extend(end as u32..start as u32);
                step.rows.extend(kept.iter().map(|row| *row as u32));
                step.kept.push(kept.iter().map(|row| (*row as usize).saturating_sub(start)).collect());
                end = start + importance.len();
                step.importance.push(importance);
            }
            step.rows.extend(end as u32..choice.rows as u32);
            self.steps.push(step);
        }
        if let Some(missed) = &mut self.missed {
            missed.hear(next);
        }
        Ok(())
    }
}
