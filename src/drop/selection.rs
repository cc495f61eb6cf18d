//! What a filter chooses behind a layer, on either path: which rows go on, as long as only the device knows.

use burn::tensor::{Device, Int, Tensor};

use super::{
    newlines::{Standing, best_within, with_newlines},
    policy::Importance,
};
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
    /// Decoder layers behind which some are dropped, ascending.
    pub layers: Vec<usize>,
    /// How many go on behind each of them; `None` where thresholds decide.
    pub sizes: Option<Vec<usize>>,
    /// Of a picture in tiles, where each stands.
    pub standing: Option<Vec<Standing>>,
}

impl Alive {
    pub fn len(&self) -> usize {
        self.is_key.dims()[0]
    }

    /// How many go on behind `layer`, if that is planned.
    fn planned(&self, layer: usize) -> Option<usize> {
        let Some(filter) = self.layers.iter().position(|due| *due == layer) else { return Some(self.len()) };
        let planned = self.sizes.as_ref()?.get(filter).copied();
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
    /// By the host: the same two as apart.
    Known(Vec<f32>, Vec<f32>),
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

/// Chooses behind `layer`, the first of `filters` that are left, among `rows` rows.
///
/// # Errors
///
/// [`Error::Device`](crate::Error::Device) if the device fails.
pub(super) fn choose(
    pictures: &mut [Alive],
    received: Vec<Received>,
    importance: Importance,
    rows: usize,
    (layer, filters): (usize, usize),
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
    if pictures.iter().any(|picture| picture.standing.is_some()) {
        let verdicts = match reduced.is_empty() {
            true => verdicts_on_adapter(pictures, &weights, importance, rows, filters, report)?,
            false => verdicts_on_host(pictures, &reduced, importance)?,
        };
        return Ok(choose_with_newlines(pictures, verdicts, rows, layer));
    }
    if reduced.is_empty() {
        choose_on_adapter(pictures, &weights, importance, rows, (layer, filters), report)
    } else {
        Ok(choose_on_host(pictures, &reduced, importance, rows, layer))
    }
}

fn choose_on_adapter(
    pictures: &mut [Alive],
    weights: &[(Tensor<3>, usize)],
    importance: Importance,
    rows: usize,
    (layer, filters): (usize, usize),
    report: &mut Report,
) -> Result<GoingOn> {
    let planned: Vec<Option<usize>> = pictures.iter().map(|picture| picture.planned(layer)).collect();
    let judged = judge(pictures, weights, importance, rows, &planned, filters, report)?;
    let device = weights[0].0.device();
    let Judged { going_on, is_key, chosen } = judged;
    let numbers = report.numbers.as_ref().ok_or_else(|| Error::device(STEP, "there is no report"))?;
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

/// What the adapter made of all pictures.
struct Judged {
    /// The rows that go on, in a tensor that may have room for more.
    going_on: Option<Tensor<1, Int>>,
    /// For each picture, the members of the key token set among those that stay.
    is_key: Vec<Tensor<1, Int>>,
    chosen: Vec<Chosen>,
}

/// Judges tokens on the adapter, and selects as many as are planned; `filters` are left, and tell in the same report.
fn judge(
    pictures: &[Alive],
    weights: &[(Tensor<3>, usize)],
    importance: Importance,
    rows: usize,
    planned: &[Option<usize>],
    filters: usize,
    report: &mut Report,
) -> Result<Judged> {
    let most =
        |(picture, planned): (&Alive, &Option<usize>)| picture.len() - planned.unwrap_or(picture.len());
    let room = rows - pictures.iter().zip(planned).map(most).sum::<usize>();
    let device = weights[0].0.device();
    // Later filters have no more tokens than this one.
    let of_filter: usize = pictures.iter().map(|picture| REPORT_HEADER + 2 * picture.len()).sum();
    let numbers = report.numbers.get_or_insert_with(|| Tensor::empty([of_filter * filters], &device));
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
    Ok(Judged { going_on, is_key, chosen })
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

/// The importance of each token of a picture on the CPU path, and which stay by thresholds, if there are any.
fn judged_on_host(
    picture: &Alive,
    (sum, max): &(Tensor<1>, Tensor<1>),
    importance: Importance,
) -> (Tensor<1>, Option<Tensor<1, Int>>) {
    match importance {
        Importance::Sum => (sum.clone(), None),
        Importance::Dual { global_threshold: global, individual_threshold: individual } => {
            let (importance, stays) =
                kernel::prefill::dual_attention(sum, max, &picture.is_key, global, individual);
            (importance, Some(stays))
        }
    }
}

fn choose_on_host(
    pictures: &mut [Alive],
    reduced: &[(Tensor<1>, Tensor<1>)],
    importance: Importance,
    rows: usize,
    layer: usize,
) -> GoingOn {
    let device = Device::flex();
    let (mut chosen, mut staying) = (Vec::new(), Vec::new());
    let (mut end, mut dropped) = (0, 0);
    for (picture, reduced) in pictures.iter_mut().zip(reduced) {
        let (importance, stays) = judged_on_host(picture, reduced, importance);
        let stays = match (picture.planned(layer), stays) {
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

/// What was found about the tokens of a picture.
struct Verdict {
    importance: Vec<f32>,
    /// Those that stay by thresholds, if there are any.
    stay: Option<Vec<usize>>,
}

/// Judges all tokens on the CPU path, picture by picture.
fn verdicts_on_host(
    pictures: &[Alive],
    reduced: &[(Tensor<1>, Tensor<1>)],
    importance: Importance,
) -> Result<Vec<Verdict>> {
    let verdict = |(picture, reduced): (&Alive, &(Tensor<1>, Tensor<1>))| {
        let (importance, stays) = judged_on_host(picture, reduced, importance);
        let stay = stays.map(|stays| kernel::read_integers(stays, STEP)).transpose()?;
        let chosen = |stays: Vec<u32>| (0..stays.len()).filter(|token| stays[*token] == 1).collect();
        Ok(Verdict { importance: kernel::read_numbers(importance, STEP)?, stay: stay.map(chosen) })
    };
    pictures.iter().zip(reduced).map(verdict).collect()
}

/// The same on the adapter, read back at once; `filters` are left.
fn verdicts_on_adapter(
    pictures: &[Alive],
    weights: &[(Tensor<3>, usize)],
    importance: Importance,
    rows: usize,
    filters: usize,
    report: &mut Report,
) -> Result<Vec<Verdict>> {
    let start = report.used;
    // Thresholds, where there are any, need no ranks; how many stay by a plan is decided here.
    let is_dual = matches!(importance, Importance::Dual { .. });
    let planned: Vec<Option<usize>> =
        pictures.iter().map(|picture| (!is_dual).then_some(picture.len())).collect();
    let Judged { chosen, .. } = judge(pictures, weights, importance, rows, &planned, filters, report)?;
    let numbers = report.numbers.clone().ok_or_else(|| Error::device(STEP, "there is no report"))?;
    let numbers = kernel::read_numbers(numbers.slice([start..report.used]), STEP)?;
    let verdict = |(chosen, picture): (&Chosen, &Alive)| match chosen {
        Chosen::Reported(header, tokens) => {
            let (rows, importance) = of_picture(&numbers, header - start, *tokens);
            let stay = rows.iter().map(|row| (*row as usize).saturating_sub(picture.start)).collect();
            Ok(Verdict { importance, stay: is_dual.then_some(stay) })
        }
        Chosen::Apart(..) | Chosen::Known(..) => Err(Error::device(STEP, "the adapter reported nothing")),
    };
    chosen.iter().zip(pictures).map(verdict).collect()
}

/// Chooses on the host, where tokens have newlines: by plan the most important, key tokens first, else those that stay by
/// thresholds; and with them the newlines of their rows.
fn choose_with_newlines(
    pictures: &mut [Alive],
    verdicts: Vec<Verdict>,
    rows: usize,
    layer: usize,
) -> GoingOn {
    let device = pictures.first().map_or_else(Device::flex, |picture| picture.is_key.device());
    let (mut going_on, mut chosen) = (Vec::new(), Vec::new());
    let (mut end, mut dropped) = (0, 0);
    for (picture, Verdict { importance, stay }) in pictures.iter_mut().zip(verdicts) {
        let (start, tokens) = (picture.start, picture.len());
        let standing = picture.standing.clone().unwrap_or_else(|| vec![Standing::default(); tokens]);
        let is_content = |token: &usize| !standing[*token].is_newline;
        let kept = match (picture.planned(layer), stay) {
            (None, Some(stay)) => with_newlines(&standing, stay.into_iter().filter(is_content)),
            (planned, _) => {
                let mut ranking: Vec<usize> = (0..tokens).filter(is_content).collect();
                ranking.sort_by(|a, b| {
                    let keys_first = standing[*b].is_key.cmp(&standing[*a].is_key);
                    keys_first.then(importance[*b].total_cmp(&importance[*a]))
                });
                best_within(&standing, &ranking, planned.unwrap_or(tokens))
            }
        };
        going_on.extend(end as u32..start as u32);
        going_on.extend(kept.iter().map(|token| (start + token) as u32));
        picture.standing = Some(kept.iter().map(|token| standing[*token]).collect());
        let is_key = kept.iter().map(|token| u32::from(standing[*token].is_key)).collect();
        picture.is_key = kernel::integers(is_key, [kept.len()], &device);
        picture.start -= dropped;
        (end, dropped) = (start + tokens, dropped + tokens - kept.len());
        chosen.push(Chosen::Known(kept.iter().map(|token| (start + token) as f32).collect(), importance));
    }
    going_on.extend(end as u32..rows as u32);
    let count = going_on.len();
    GoingOn { rows: kernel::integers(going_on, [count], &device), count, chosen }
}
