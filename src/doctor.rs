//! Whether a device computes what the CPU does.
//!
//! The default model looks at a picture and answers on both, and every stage is compared by itself: the decoder of the
//! device under test gets the CPU's features, the head the CPU's hidden states, so that a wrong stage does not make all
//! that follow look wrong. Quantised weights are those of an adapter on both: the CPU path's own are others.

use burn::tensor::{Tensor, TensorData};
use serde::Serialize;

use crate::{
    DeviceSelect, Llava, Part, Picture, Pruning, WeightFormat,
    checkpoint::SAMPLE,
    drop::{Admit, Keep},
    error::Result,
    kernel,
    report::PruningReport,
};

/// The most that numbers may differ, as a share of the largest: what tests demand of every adapter.
const TOLERANCE: f64 = 1e-3;
/// The largest share of choices among tokens that may differ: rounding decides between equals.
const TOLERATED_CHOICES: f64 = 0.05;
const KEEP: usize = 64;
const QUESTION: &str = "what is in the picture?";
/// Tokens in front of and behind the picture where the decoder is compared; any will do.
const TEXT: [u32; 4] = [5, 17, 40, 9];

/// What a device computes, beside what the CPU does.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SelfTest {
    /// The device.
    pub device: String,
    /// The stages in the order of the computation.
    pub stages: Vec<Stage>,
}

/// A stage of the computation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// The largest difference as a share of the largest number, or the share of choices that differ; infinite (`null` in
    /// JSON) for what is no number.
    pub error: f64,
    /// The largest that is fine.
    pub tolerance: f64,
    /// Whether it is fine.
    pub passed: bool,
}

impl SelfTest {
    /// Computes everything on the CPU and on the chosen device.
    ///
    /// # Errors
    ///
    /// [`Error::Device`](crate::Error::Device) if no such device answers or it stops working.
    pub fn run(select: &DeviceSelect) -> Result<Self> {
        let picture = Picture::decode(SAMPLE.1, SAMPLE.0)?;
        let mut stages = Vec::new();
        let mut device = String::new();
        for format in [WeightFormat::F32, WeightFormat::Q4] {
            let load = |select| Llava::embedded().device(select).weights(format).planes().build();
            let (expected, found) = (load(DeviceSelect::Cpu)?, load(select.clone())?);
            device = found.device().to_string();
            stages.extend(numbers(&expected, &found, &picture, format)?);
            if format == WeightFormat::F32 {
                for admit in Admit::ALL.iter().copied() {
                    let [expected, found] = [&expected, &found].map(|llava| answer(llava, &picture, admit));
                    stages.extend(choices(&expected?, &found?, admit));
                }
            }
        }
        Ok(Self { device, stages })
    }

    /// Whether every stage is fine.
    pub fn passed(&self) -> bool {
        self.stages.iter().all(|stage| stage.passed)
    }
}

impl Stage {
    /// Compares numbers.
    pub fn of_numbers(name: impl Into<String>, found: &[f32], expected: &[f32]) -> Self {
        let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(f64::from(value.abs())));
        let differences =
            found.iter().zip(expected).map(|(found, expected)| f64::from((found - expected).abs()));
        // `max` would pass over what is no number: once found, it stays.
        let worse = |worst: f64, difference: f64| match difference <= worst || worst.is_nan() {
            true => worst,
            false => difference,
        };
        let worst = differences.fold(0.0, worse);
        let is_comparable = found.len() == expected.len() && worst.is_finite() && largest > 0.0;
        Self::new(name, if is_comparable { worst / largest } else { f64::INFINITY }, TOLERANCE)
    }

    /// Compares sets of chosen things.
    pub fn of_choices(name: impl Into<String>, found: &[usize], expected: &[usize]) -> Self {
        let missing = expected.iter().filter(|choice| !found.contains(choice)).count();
        let added = found.iter().filter(|choice| !expected.contains(choice)).count();
        let share = missing.max(added) as f64 / expected.len().max(1) as f64;
        Self::new(name, share, TOLERATED_CHOICES)
    }

    fn new(name: impl Into<String>, error: f64, tolerance: f64) -> Self {
        Self { name: name.into(), error, tolerance, passed: error <= tolerance }
    }
}

/// Tower, decoder and head.
fn numbers(expected: &Llava, found: &Llava, picture: &Picture, format: WeightFormat) -> Result<Vec<Stage>> {
    let read = |rows: Tensor<2>| kernel::read_numbers(rows.flatten(0, 1), "compare a device with the CPU");
    let pixels = expected.preprocessor.run(picture)?;
    let features = |llava: &Llava| read(llava.model.encode_image(&pixels.values));
    let (seen, cpu_features) = (features(found)?, features(expected)?);
    let width = expected.config.text.hidden_size;
    let hidden = |llava: &Llava| {
        let device = llava.compute().burn();
        let shape = [cpu_features.len() / width, width];
        let picture = Tensor::<2>::from_data(TensorData::new(cpu_features.clone(), shape), &device);
        let text = llava.model.decoder.embed(&TEXT);
        let rows = Tensor::cat(vec![text.clone(), picture, text], 0);
        let positions: Vec<u32> = (0..rows.dims()[0] as u32).collect();
        read(llava.model.decoder.forward(rows, &positions, &mut llava.model.decoder.new_cache()))
    };
    let (states, cpu_states) = (hidden(found)?, hidden(expected)?);
    let last = cpu_states[cpu_states.len().saturating_sub(width)..].to_vec();
    let logits = |llava: &Llava| {
        let row = Tensor::<2>::from_data(TensorData::new(last.clone(), [1, width]), &llava.compute().burn());
        llava.model.decoder.logits(row)
    };
    Ok(vec![
        Stage::of_numbers(format!("vision tower and projector, {format}"), &seen, &cpu_features),
        Stage::of_numbers(format!("decoder, {format}"), &states, &cpu_states),
        Stage::of_numbers(format!("head, {format}"), &logits(found)?, &logits(expected)?),
    ])
}

/// An answer with dropping, and what was kept.
fn answer(llava: &Llava, picture: &Picture, admit: Admit) -> Result<(String, Option<PruningReport>)> {
    let mut pruning = Pruning::mustdrop().keep(Keep::Tokens(KEEP));
    pruning.admit = admit;
    let mut chat = llava.chat().pruning(pruning);
    let mut answer = chat.ask([Part::Image(picture.clone()), Part::text(QUESTION)])?;
    let text = answer.complete()?;
    Ok((text, answer.report().pruning.clone()))
}

/// What was merged or picked, protected, dropped and said.
fn choices(
    expected: &(String, Option<PruningReport>),
    found: &(String, Option<PruningReport>),
    admit: Admit,
) -> Vec<Stage> {
    let of = |(text, report): &(String, Option<PruningReport>)| {
        let picture = report.as_ref().and_then(|report| report.pictures.first());
        // By their patches: tokens are numbered among those that entered, so that one other would change all numbers.
        let patch =
            |token: &usize| -> Option<usize> { Some(*picture?.tokens.get(*token)?.first()? as usize) };
        let patches = |tokens: &[usize]| -> Vec<usize> { tokens.iter().filter_map(patch).collect() };
        let first = picture.map_or(Vec::new(), |picture| match admit {
            Admit::Class => picture.merged_windows.clone(),
            Admit::Coverage => patches(&picture.picks),
        });
        let protected = picture.map_or(Vec::new(), |picture| patches(&picture.key_tokens));
        // Behind the last layer, every layer before it counts too.
        let kept = picture.map_or(Vec::new(), |picture| {
            let layers = picture.kept.iter().enumerate();
            let behind = |(layer, tokens): (usize, Vec<usize>)| {
                tokens.into_iter().map(move |patch| layer * 1_000_000 + patch)
            };
            layers.map(|(layer, kept)| (layer, patches(&kept.tokens))).flat_map(behind).collect()
        });
        // The answer in pieces that can be compared as a set: each word where it stands.
        let words: Vec<String> =
            text.split_whitespace().enumerate().map(|(place, word)| format!("{place} {word}")).collect();
        (first, protected, kept, words)
    };
    let (expected, found) = (of(expected), of(found));
    let mut dictionary = [expected.3.clone(), found.3.clone()].concat();
    dictionary.sort();
    dictionary.dedup();
    let numbered = |words: &[String]| -> Vec<usize> {
        words.iter().filter_map(|word| dictionary.binary_search(word).ok()).collect()
    };
    let first = match admit {
        Admit::Class => "merged windows",
        Admit::Coverage => "tokens picked",
    };
    let stage = |what: &str, found: &[usize], expected: &[usize]| {
        Stage::of_choices(format!("{what}, by {admit}"), found, expected)
    };
    vec![
        stage(first, &found.0, &expected.0),
        stage("protected tokens", &found.1, &expected.1),
        stage("tokens kept behind each filter", &found.2, &expected.2),
        stage("answer", &numbered(&found.3), &numbered(&expected.3)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_number_is_found() {
        let expected: Vec<f32> = (0..1000).map(|index| index as f32 - 500.0).collect();
        assert!(Stage::of_numbers("the same", &expected, &expected).passed);
        for wrong in [f32::NAN, f32::INFINITY, 3.0] {
            let mut found = expected.clone();
            found[700] = wrong;
            let stage = Stage::of_numbers("one wrong", &found, &expected);
            assert!(!stage.passed, "{stage:?}");
        }
        assert!(!Stage::of_numbers("too few", &expected[1..], &expected).passed);
        assert!(!Stage::of_numbers("nothing at all", &[0.0; 4], &[0.0; 4]).passed);
    }

    #[test]
    fn other_choices_are_found() {
        let expected: Vec<usize> = (0..64).collect();
        let mut found = expected.clone();
        found[3] = 99;
        assert!(Stage::of_choices("a tie", &found, &expected).passed);
        found[4..8].copy_from_slice(&[100, 101, 102, 103]);
        assert!(!Stage::of_choices("five of 64", &found, &expected).passed);
        assert!(!Stage::of_choices("none", &[], &expected).passed);
        assert!(Stage::of_choices("nothing to choose", &[], &[]).passed);
    }
}
