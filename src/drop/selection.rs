//! What a filter chooses behind a layer, on either path: which rows go on, as long as only the device knows.

use burn::tensor::{Device, Int, Tensor};

use super::policy::Importance;
use crate::{
    error::{Error, Result},
    kernel::{
        self, ReadBack,
        prefill::{Received, Selected},
    },
    oracle::prefill::{REPORT_HEADER, SelectRowsParams, UNKNOWN},
};

pub(super) const STEP: &str = "filter the vision tokens";

/// The tokens of a picture that are still there.
#[derive(Debug)]
pub(super) struct Alive {
    /// The first of them among the current rows.
    pub start: usize,
    /// 1 for members of the key token set.
    pub is_key: Tensor<1, Int>,
    /// How many go on behind each filter; `None` where thresholds decide.
    pub sizes: Option<Vec<usize>>,
}

impl Alive {
    pub fn len(&self) -> usize {
        self.is_key.dims()[0]
    }

    /// How many go on behind filter `number`, if that is planned.
    fn planned(&self, number: usize) -> Option<usize> {
        let planned = self.sizes.as_ref()?.get(number).copied();
        Some(planned.unwrap_or(usize::MAX).min(self.len()))
    }
}

/// What a filter chose of one picture.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one a filter and picture")]
pub(super) enum Chosen {
    /// On the CPU path: the rows that stayed, and the importance of all tokens.
    Apart(Tensor<1, Int>, Tensor<1>),
    /// In the report: where it begins, and of how many tokens.
    Reported(usize, usize),
}

/// The rows that go on behind a layer.
pub(super) struct GoingOn {
    /// Their indices, ascending.
    pub rows: Tensor<1, Int>,
    /// How many they are.
    pub count: usize,
    /// What was chosen of each picture.
    pub chosen: Vec<Chosen>,
}

/// What all filters of a prefill tell, on an adapter: read back at once in the end.
#[derive(Debug, Default)]
pub(super) struct Report {
    numbers: Option<Tensor<1>>,
    used: usize,
}

impl Report {
    /// Adds what was told to a read-back.
    pub fn tell(&self, parts: &mut ReadBack) {
        if let Some(numbers) = &self.numbers {
            // With what room is left: to cut it off would be another dispatch.
            parts.numbers(numbers);
        }
    }

    /// Whether there is something to tell.
    pub fn is_filled(&self) -> bool {
        self.numbers.is_some()
    }
}

/// Of a report that was read back, the rows that stayed of a picture, and the importance of its tokens.
pub(super) fn of_picture(report: &[f32], header: usize, tokens: usize) -> (Vec<f32>, Vec<f32>) {
    let kept = report.get(header).map_or(0, |kept| *kept as usize).min(tokens);
    let part = |start: usize, count: usize| report.get(start..start + count).unwrap_or_default().to_vec();
    let rows = header + REPORT_HEADER;
    (part(rows, kept), part(rows + tokens, tokens))
}

/// Chooses behind filter `number` of `filters`, among `rows` rows.
///
/// # Errors
///
/// [`Error::Device`](crate::Error::Device) if the device fails.
pub(super) fn choose(
    pictures: &mut [Alive],
    received: Vec<Received>,
    importance: Importance,
    rows: usize,
    (number, filters): (usize, usize),
    report: &mut Report,
) -> Result<GoingOn> {
    let mut reduced = Vec::with_capacity(received.len());
    let mut weights = Vec::with_capacity(received.len());
    for received in received {
        match received {
            Received::Weights { weights: of_picture, heads } => weights.push((of_picture, heads)),
            Received::Reduced { sum, max } => reduced.push((sum, max)),
        }
    }
    if reduced.is_empty() {
        choose_on_adapter(pictures, &weights, importance, rows, (number, filters), report)
    } else {
        Ok(choose_on_host(pictures, &reduced, importance, rows, number))
    }
}

fn choose_on_adapter(
    pictures: &mut [Alive],
    weights: &[(Tensor<3>, usize)],
    importance: Importance,
    rows: usize,
    (number, filters): (usize, usize),
    report: &mut Report,
) -> Result<GoingOn> {
    let planned: Vec<Option<usize>> = pictures.iter().map(|picture| picture.planned(number)).collect();
    let most =
        |(picture, planned): (&Alive, &Option<usize>)| picture.len() - planned.unwrap_or(picture.len());
    let room = rows - pictures.iter().zip(&planned).map(most).sum::<usize>();
    let device = weights[0].0.device();
    // Later filters have no more tokens than this one.
    let of_filter: usize = pictures.iter().map(|picture| REPORT_HEADER + 2 * picture.len()).sum();
    let numbers =
        report.numbers.get_or_insert_with(|| Tensor::empty([of_filter * (filters - number)], &device));
    let (mut going_on, mut previous, mut end) = (None, UNKNOWN, 0);
    let (mut chosen, mut is_key) = (Vec::new(), Vec::new());
    for (index, (picture, (weights, heads))) in pictures.iter().zip(weights).enumerate() {
        let [shares, asked, tokens] = weights.dims();
        let behind = picture.start + tokens;
        let (is_dual, global_threshold, individual_threshold) = match importance {
            Importance::Sum => (0, 0.0, 0.0),
            Importance::Dual { global_threshold, individual_threshold } => {
                (1, global_threshold, individual_threshold)
            }
        };
        let params = SelectRowsParams {
            tokens: tokens as u32,
            rows: asked as u32,
            shares: shares as u32,
            heads: *heads as u32,
            // Without thresholds, all stay that no plan drops.
            kept: planned[index]
                .map_or(if is_dual == 1 { UNKNOWN } else { tokens as u32 }, |kept| kept as u32),
            is_dual,
            global_threshold,
            individual_threshold,
            start: picture.start as u32,
            end,
            all: if index + 1 == pictures.len() { rows as u32 } else { behind as u32 },
            header: report.used as u32,
            previous,
        };
        let selected =
            kernel::prefill::select_rows(&params, weights, &picture.is_key, going_on.take(), room, numbers);
        let Some(Selected { rows, is_key: kept_is_key }) = selected else {
            return Err(Error::device(STEP, "a tensor is not where it should be"));
        };
        going_on = Some(rows);
        is_key.push(kept_is_key);
        chosen.push(Chosen::Reported(report.used, tokens));
        previous = params.header;
        report.used += REPORT_HEADER + 2 * tokens;
        end = behind as u32;
    }
    let sizes = sizes(&planned, &chosen, numbers)?;
    let mut dropped = 0;
    for ((picture, is_key), size) in pictures.iter_mut().zip(is_key).zip(sizes) {
        let tokens = picture.len();
        picture.start -= dropped;
        picture.is_key = first_of(is_key, size);
        dropped += tokens - size;
    }
    let rows_left = rows - dropped;
    let going_on = going_on.unwrap_or_else(|| kernel::integers(Vec::new(), [0], &device));
    Ok(GoingOn { rows: first_of(going_on, rows_left), count: rows_left, chosen })
}

/// The first `count` values; all are no copy.
fn first_of(values: Tensor<1, Int>, count: usize) -> Tensor<1, Int> {
    if values.dims()[0] == count { values } else { values.slice([0..count]) }
}

/// How many tokens of each picture stay: one small read-back where thresholds decide.
fn sizes(planned: &[Option<usize>], chosen: &[Chosen], report: &Tensor<1>) -> Result<Vec<usize>> {
    if let Some(planned) = planned.iter().copied().collect() {
        return Ok(planned);
    }
    let mut counts = ReadBack::default();
    for (planned, chosen) in planned.iter().zip(chosen) {
        if let (None, Chosen::Reported(header, _)) = (planned, chosen) {
            counts.numbers(&report.clone().slice([*header..header + 1]));
        }
    }
    let mut counts = counts.read(STEP)?;
    let mut next = || counts.next().and_then(|count| count.first().copied()).unwrap_or(0.0) as usize;
    Ok(planned.iter().map(|planned| planned.unwrap_or_else(&mut next)).collect())
}

fn choose_on_host(
    pictures: &mut [Alive],
    reduced: &[(Tensor<1>, Tensor<1>)],
    importance: Importance,
    rows: usize,
    number: usize,
) -> GoingOn {
    let device = Device::flex();
    let (mut chosen, mut staying) = (Vec::new(), Vec::new());
    let (mut end, mut dropped) = (0, 0);
    for (picture, (sum, max)) in pictures.iter_mut().zip(reduced) {
        let (importance, stays) = match importance {
            Importance::Sum => (sum.clone(), None),
            Importance::Dual { global_threshold, individual_threshold } => {
                let (importance, stays) = kernel::prefill::dual_attention(
                    sum,
                    max,
                    &picture.is_key,
                    global_threshold,
                    individual_threshold,
                );
                (importance, Some(stays))
            }
        };
        let stays = match (picture.planned(number), stays) {
            (None, Some(stays)) => stays,
            (planned, _) => {
                let size = planned.unwrap_or(picture.len());
                kernel::prefill::top_k(&importance, &picture.is_key, size)
            }
        };
        let size = kernel::prefill::count(&stays);
        let (tokens, start) = (picture.len(), picture.start);
        let (kept, is_key) = kernel::prefill::compact(&stays, &picture.is_key, size, start);
        staying.push(rows_between(end, start, &device));
        staying.push(kept.clone());
        chosen.push(Chosen::Apart(kept, importance));
        picture.start -= dropped;
        picture.is_key = is_key;
        (end, dropped) = (start + tokens, dropped + tokens - size);
    }
    staying.push(rows_between(end, rows, &device));
    GoingOn { rows: kernel::concatenate(staying), count: rows - dropped, chosen }
}

/// The indices of text rows from `start` to `end`.
fn rows_between(start: usize, end: usize, device: &Device) -> Tensor<1, Int> {
    kernel::integers((start as u32..end as u32).collect(), [end.saturating_sub(start)], device)
}
