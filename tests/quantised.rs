//! Quantised weights: the format, the kernels on both paths against their oracles, and what a model loses.

use crate::common::{DEVICES, assert_close, noise, repository, samples, synthetic, values};
use burn::tensor::{Device, Tensor, TensorData};
use mustdrop::{
    DeviceSelect, Llava, Part, Picture, Pruning, WeightFormat,
    checkpoint::{Checkpoint, ModelFiles},
    config::{ModelConfig, preprocessor},
    device::Compute,
    drop::Keep,
    kernel::{
        quantised::QuantisedMatrix,
        variants::{Unpack, Variants},
    },
    model::LlavaModel,
    oracle::{
        nn::{self, ProductInputs, ProductParams},
        quantised::{self as oracle, QuantisedParams},
    },
    prompt::{Piece, Role, Turn, TurnPart},
    quantise::Blocks,
    tokenizer::Tokenizer,
    weights::Precision,
};
use proptest::prelude::*;

fn matrix(blocks: &Blocks, device: &DeviceSelect) -> (QuantisedMatrix, Device) {
    let compute = Compute::open(device).expect("a device");
    (QuantisedMatrix::new(blocks.clone(), &compute.burn(), !compute.is_cpu()), compute.burn())
}

#[test]
fn products_on_the_cpu_path() {
    for bits in [4, 8] {
        for (inputs, outputs) in [(32, 1), (96, 63), (576, 64), (64, 65), (192, 130)] {
            let blocks = Blocks::new(&noise(1, inputs * outputs), inputs, bits);
            let weights: Vec<f32> = (0..outputs)
                .flat_map(|output| {
                    let blocks = &blocks;
                    (0..inputs / oracle::BLOCK).flat_map(move |number| {
                        oracle::block(&blocks.params, &blocks.words, &blocks.ranges, number, output)
                    })
                })
                .map(|weight| weight as f32)
                .collect();
            for rows in [1, 4, 5, 33] {
                let x = noise(2, rows * inputs);
                let params = ProductParams {
                    rows: rows as u32,
                    inputs: inputs as u32,
                    outputs: outputs as u32,
                    columns: outputs as u32,
                    ..ProductParams::default()
                };
                let mut expected = vec![0.0; rows * outputs];
                let read = ProductInputs { x: &x, weight: &weights, norm: None, bias: &[], residual: &[] };
                nn::product(&params, &read, &mut expected);
                let (matrix, device) = matrix(&blocks, &DeviceSelect::Cpu);
                let x = Tensor::<2>::from_data(TensorData::new(x.clone(), [rows, inputs]), &device);
                let found = values(matrix.product(&x));
                // Sums of `inputs` products below 1, in some order.
                let tolerance = inputs as f32 * f32::EPSILON;
                for (found, expected) in found.iter().zip(&expected) {
                    assert!((found - expected).abs() <= tolerance, "{params:?}: {found} for {expected}");
                }
            }
        }
    }
}

#[test]
fn quantised_rows() {
    for bits in [4, 8] {
        for (inputs, outputs) in [(32, 1), (96, 63), (576, 65)] {
            let blocks = Blocks::new(&noise(3, inputs * outputs), inputs, bits);
            let index: Vec<u32> = (0..67).map(|i| (i * 31 % outputs) as u32).collect();
            let params = QuantisedParams { rows: 67, ..blocks.params };
            let mut expected = vec![0.0; 67 * inputs];
            oracle::quantised_rows(&params, &blocks.words, &blocks.ranges, &index, &mut expected);
            for device in &DEVICES {
                let found = values(matrix(&blocks, device).0.rows(index.clone()));
                for (found, expected) in found.iter().zip(&expected) {
                    assert!((found - expected).abs() <= f32::EPSILON, "{params:?}: {found} for {expected}");
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn a_weight_is_off_by_half_a_step_at_most(
        weights in prop::collection::vec(-3.0f32..3.0, 64),
        scale in prop::sample::select(vec![1e-3f32, 1.0, 100.0]),
    ) {
        let weights: Vec<f32> = weights.into_iter().map(|weight| weight * scale).collect();
        for bits in [4u32, 8] {
            let blocks = Blocks::new(&weights, 64, bits);
            let steps = ((1 << bits) - 1) as f32;
            for (number, weights) in weights.chunks_exact(32).enumerate() {
                let found = oracle::block(&blocks.params, &blocks.words, &blocks.ranges, number, 0);
                let (low, high) = weights.iter().fold((f32::MAX, f32::MIN), |(l, h), w| (l.min(*w), h.max(*w)));
                // A fourth of the range may be cut off by 4 bits in all; 16-bit floats are good to 1/2048.
                let cut = if bits == 4 { 0.13 } else { 0.0 };
                let bound = (high - low) * (0.51 / steps + cut) + 2.0 * high.abs().max(low.abs()) / 2048.0;
                for (weight, found) in weights.iter().zip(found) {
                    prop_assert!((f64::from(*weight) - found).abs() as f32 <= bound, "{weight} as {found}");
                }
            }
        }
    }
}

#[test]
fn constant_blocks_stay_constant() {
    for bits in [4, 8] {
        let blocks = Blocks::new(&[0.5; 64], 32, bits);
        assert_eq!(oracle::block(&blocks.params, &blocks.words, &blocks.ranges, 0, 1), [0.5; 32]);
    }
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().expect("text")
}

fn in_model(name: &serde_json::Value) -> std::path::PathBuf {
    repository("models/picture-book").join(text(name))
}

/// `eos_token_id` of the model inside the program.
const STOP: u32 = 2;

/// The mean negative log-likelihood of transformers' answers about the sample pictures, under the default model.
fn loss(weights: Precision) -> f64 {
    let files = ModelFiles::embedded().expect("the model in the program");
    let config = ModelConfig::from_files(&files).expect("a configuration");
    let tokenizer = Tokenizer::from_files(&files, config.image_token).expect("a tokenizer");
    let preprocessor = preprocessor(&files, &config).expect("a preprocessor");
    let compute = Compute::open(&DeviceSelect::Cpu).expect("a CPU");
    let checkpoint = Checkpoint::open(&files).expect("weights");
    let model = LlavaModel::load(&checkpoint, &config, &compute, weights).expect("a model");
    let (mut sum, mut count) = (0.0, 0.0);
    for sample in samples() {
        let picture = Picture::open(in_model(&sample["image"])).expect("a picture");
        let image = model.encode_image(&preprocessor.run(&picture).expect("pixels").values);
        for asked in sample["questions"].as_array().expect("a list").iter().take(2) {
            let part = |name: &str| vec![TurnPart::Text(text(&asked[name]).to_owned())];
            let question = [vec![TurnPart::Image], part("question")].concat();
            let mut turns = vec![Turn { role: Role::User, parts: question }];
            let ids = |turns: &[Turn]| match tokenizer.prompt(turns).expect("a prompt").pieces.pop() {
                Some(Piece::Text(ids)) => ids,
                _ => panic!("text follows the picture"),
            };
            let asked_ids = ids(&turns).len();
            turns.push(Turn { role: Role::Assistant, parts: part("model_answer") });
            let all = ids(&turns);
            let prompt = tokenizer.prompt(&turns).expect("a prompt");
            let rows = model.splice(&prompt, std::slice::from_ref(&image)).expect("rows");
            let end = rows.dims()[0];
            let positions: Vec<u32> = (0..end as u32).collect();
            let hidden = model.decoder.forward(rows, &positions, &mut model.decoder.new_cache());
            // Row `i` predicts the token behind it; the answer begins behind what was asked and ends with its stop token,
            // behind which the template asks for another.
            let stop = all.iter().rposition(|id| *id == STOP).expect("an end") + 1;
            for (at, id) in all.iter().enumerate().take(stop).skip(asked_ids) {
                let row = end - all.len() + at - 1;
                let logits = model.decoder.logits(hidden.clone().slice([row..row + 1])).expect("logits");
                let total: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
                sum += total.ln() - f64::from(logits[*id as usize]);
                count += 1.0;
            }
        }
    }
    assert!(count > 30.0, "only {count} tokens");
    sum / count
}

#[test]
fn the_perplexity_of_answers_hardly_grows() {
    let held = |bits| loss(Precision { half: false, bits }).exp();
    let (floats, eight, four) = (held(None), held(Some(8)), held(Some(4)));
    println!("perplexity: {floats:.4} as floats, {eight:.4} with 8 bits, {four:.4} with 4 bits");
    assert!(floats < 1.2, "{floats}: transformers' answers are the model's own");
    assert!((eight / floats - 1.0).abs() <= 0.005, "{eight} for {floats}");
    assert!(four / floats - 1.0 <= 0.02, "{four} for {floats}");
}

#[test]
fn eight_bits_in_tower_and_decoder_keep_the_sample_answers() {
    let builder = Llava::embedded().device(DeviceSelect::Cpu).weights(WeightFormat::Q8);
    let model = builder.build().expect("the default model");
    let (mut asked, mut changed) = (0, Vec::new());
    for sample in samples() {
        let picture = Part::image_path(in_model(&sample["image"])).expect("a picture");
        for question in sample["questions"].as_array().expect("a list") {
            let parts = [picture.clone(), Part::text(text(&question["question"]))];
            let answer = model.chat().ask(parts).and_then(|mut answer| answer.complete()).expect("answered");
            if answer != text(&question["model_answer"]) {
                changed.push(format!("{}: {}: {answer}", sample["image"], question["question"]));
            }
            asked += 1;
        }
    }
    // How many small things there are is close to a tie for this model.
    assert!(asked == 47 && changed.len() <= 1, "{changed:?}");
}

#[test]
fn both_paths_answer_alike() {
    let answers = DEVICES.map(|device| {
        let model =
            Llava::embedded().device(device).weights(WeightFormat::Q4).build().expect("the default model");
        assert_eq!(model.weight_format(), WeightFormat::Q4);
        let picture = Part::image_path(repository("models/picture-book/sample_2.png")).expect("a picture");
        let mut chat = model.chat().pruning(Pruning::mustdrop().keep(Keep::Tokens(32)));
        let mut answer = chat.ask([picture, Part::text("what is in the picture?")]).expect("asked");
        answer.complete().expect("answered")
    });
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn every_way_to_unpack_gives_the_same_logits() {
    let folder = tempfile::tempdir().expect("a folder");
    synthetic::write(folder.path(), &synthetic::config(128, 2, 96));
    let files = ModelFiles::folder(folder.path()).expect("a folder");
    let (checkpoint, config) = (
        Checkpoint::open(&files).expect("weights"),
        ModelConfig::from_files(&files).expect("a configuration"),
    );
    let logits = |compute: &Compute| {
        let quantised = Precision { half: false, bits: Some(4) };
        let model = LlavaModel::load(&checkpoint, &config, compute, quantised).expect("a model");
        let picture = model.encode_image(&noise(3, 3 * 336 * 336));
        let rows = Tensor::cat(vec![picture, model.decoder.embed(&[1, 2, 3])], 0);
        let positions: Vec<u32> = (0..rows.dims()[0] as u32).collect();
        let hidden = model.decoder.forward(rows, &positions, &mut model.decoder.new_cache());
        let last = hidden.dims()[0] - 1;
        model.decoder.logits(hidden.slice([last..last + 1])).expect("logits")
    };
    let cpu = Compute::open(&DeviceSelect::Cpu).expect("the CPU path");
    let expected = logits(&cpu.with_variants(Variants { planes: true, ..Variants::default() }));
    let adapter = Compute::open(&DeviceSelect::Gpu).expect("an adapter");
    for unpack in Unpack::ALL {
        let found = logits(&adapter.clone().with_variants(Variants { unpack, ..adapter.variants() }));
        assert_close(&found, &expected, &format!("{unpack:?}"));
    }
}
