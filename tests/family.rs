//! Models of LLaVA's family against transformers, on both paths: every id, pixel, feature, first logit and token of every case;
//! from the folder as transformers 5 saves it, and as the hub has it.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use mustdrop::{
    DeviceSelect, GenerationOptions, Llava, Part, StopReason, WeightFormat,
    checkpoint::{Checkpoint, ModelFiles},
    config::{self, ModelConfig},
    device::Compute,
    image::{Picture, Preprocessor},
    model::LlavaModel,
    prompt::PromptLayout,
    tiling::Size,
};
use serde_json::Value;

use crate::common::{DEVICES, golden, golden_json, golden_tensor, values};

/// A fixture in its two layouts.
fn layouts(name: &str) -> [PathBuf; 2] {
    [golden(name), golden(name).join("hub")]
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

/// Each case of a fixture, and its pictures' files.
fn cases(name: &str) -> Vec<(Value, Vec<PathBuf>)> {
    let cases = golden_json(name, "expected.json")["cases"].as_array().expect("cases").clone();
    assert!(cases.len() >= 5);
    let files = |case: &Value| -> Vec<PathBuf> {
        case["pictures"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|file| golden(name).join(text(file)))
            .collect()
    };
    cases.into_iter().map(|case| (files(&case), case)).map(|(files, case)| (case, files)).collect()
}

/// Everything that the fixture says.
fn assert_family(name: &str) {
    let name = &format!("family/{name}");
    for folder in layouts(name) {
        assert_prompts(name, &folder);
        for device in &DEVICES {
            assert_numbers(name, &folder, device);
            assert_answers(name, &folder, device);
        }
    }
}

/// The ids that a question becomes, each picture's places included.
fn assert_prompts(name: &str, folder: &Path) {
    for (case, files) in cases(name) {
        let mut command = Command::cargo_bin("mustdrop").expect("the program");
        command
            .arg("prompt")
            .args(files)
            .arg(text(&case["question"]))
            .arg("--model")
            .arg(folder)
            .arg("--json");
        let output = command.output().expect("it runs");
        let prompt: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(prompt["ids"], case["input_ids"], "{}, {}", folder.display(), case["name"]);
    }
}

/// Pixels from the files; from the fixture's own pixels, features and first logits.
fn assert_numbers(name: &str, folder: &Path, device: &DeviceSelect) {
    let files = ModelFiles::folder(folder).expect("a folder");
    let config = ModelConfig::from_files(&files).expect("a configuration");
    let preprocessor = config::preprocessor(&files, &config).expect("a preprocessor");
    let checkpoint = Checkpoint::open(&files).expect("weights");
    let compute = Compute::open(device).expect("a device");
    let model = LlavaModel::load(&checkpoint, &config, &compute, false).expect("a model");
    for (case, files) in cases(name) {
        let what = format!("{} on {device}, {}", folder.display(), case["name"]);
        let tensor =
            |kind: &str, picture: usize| golden_tensor(name, text(&case["tensors"][kind][picture])).1;
        let mut features = Vec::new();
        for (number, file) in files.iter().enumerate() {
            let expected = tensor("pixel_values", number);
            let picture = Picture::open(file).expect("a picture");
            let size = Size { height: picture.height(), width: picture.width() };
            let shape = config.picture_shape(size, files.len() == 1);
            let tiles = preprocessor.tiles(&picture, &shape).expect("pixels");
            assert_eq!(tiles.len() as u64, case["tiles"][number], "{what}");
            let found: Vec<f32> = tiles.iter().flat_map(|tile| tile.values.iter().copied()).collect();
            let is_jpeg = file.extension().is_some_and(|extension| extension == "jpg");
            let plane = tiles[0].side * tiles[0].side;
            assert_levels((&found, &expected), plane, is_jpeg, &preprocessor, &what);
            let tiles: Vec<&[f32]> = expected.chunks_exact(expected.len() / tiles.len()).collect();
            let tower: Vec<f32> = tiles.iter().flat_map(|tile| values(model.vision.features(tile))).collect();
            assert_within(&tower, &tensor("tower", number), 1e-4, &what);
            features.push(model.encode_picture(&tiles, &shape).expect("features"));
            let found = values(features[number].clone());
            assert_within(&found, &tensor("features", number), 1e-4, &what);
        }
        let ids: Vec<u32> = serde_json::from_value(case["input_ids_one_per_picture"].clone()).expect("ids");
        let prompt = PromptLayout::from_ids(&ids, config.image_token);
        let embeddings = model.splice(&prompt, &features).expect("a prompt");
        let rows = embeddings.dims()[0];
        let positions: Vec<u32> = (0..rows as u32).collect();
        let hidden = model.decoder.forward(embeddings, &positions, &mut model.decoder.new_cache());
        let logits = model.decoder.logits(hidden.slice([rows - 1..rows])).expect("logits");
        let (_, expected) = golden_tensor(name, text(&case["tensors"]["logits"]));
        assert_within(&logits, &expected, 1e-3, &what);
    }
}

/// Asserts that values differ by at most `tolerance` of the largest magnitude.
fn assert_within(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    let scale = expected.iter().fold(0.0f32, |scale, value| scale.max(value.abs()));
    let worst = found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0f32, f32::max);
    assert!(scale > 0.0 && worst <= tolerance * scale, "{what}: differs by {worst:e} of {scale:e}");
}

/// Asserts that pixels have the same 8-bit level before normalisation: nearly all, and none is more than one level apart; of a
/// JPEG, which decoders read differently, three.
fn assert_levels(
    (found, expected): (&[f32], &[f32]),
    plane: usize,
    is_jpeg: bool,
    Preprocessor { rescale, std, .. }: &Preprocessor,
    what: &str,
) {
    assert_eq!(found.len(), expected.len(), "{what}: number of pixels");
    // The mean cancels out.
    let apart = (0..found.len()).map(|i| {
        let level = (found[i] - expected[i]) * std[i / plane % 3] / rescale;
        level.abs().round()
    });
    let worst = apart.clone().fold(0.0f32, f32::max);
    let equal = apart.filter(|apart| *apart == 0.0).count() as f32 / found.len() as f32;
    let (most, least) = if is_jpeg { (3.0, 0.95) } else { (1.0, 0.999) };
    assert!(worst <= most && equal >= least, "{what}: pixels {worst} levels apart, {equal} equal");
}

/// Tokens and text of every answer.
fn assert_answers(name: &str, folder: &Path, device: &DeviceSelect) {
    let new_tokens = golden_json(name, "expected.json")["new_tokens"].as_u64().expect("a number") as usize;
    let builder = Llava::builder(folder).device(device.clone()).weights(WeightFormat::F32);
    let model = builder.build().expect("a model");
    for (case, files) in cases(name) {
        let pictures = files.iter().map(|file| Part::image_path(file).expect("a picture"));
        let mut options = GenerationOptions::default();
        options.max_new_tokens = new_tokens;
        let mut chat = model.chat().options(options);
        let question = Part::text(text(&case["question"]));
        let mut answer = chat.ask(pictures.chain([question])).expect("an answer");
        let said = answer.complete().expect("a complete answer");
        let what = format!("{} on {device}, {}", folder.display(), case["name"]);
        assert_eq!(said, text(&case["text"]), "{what}");
        let report = answer.report();
        assert_eq!(report.prompt_tokens as u64, case["prompt_tokens"], "{what}");
        assert_eq!(report.vision_tokens as u64, case["vision_tokens"], "{what}");
        assert_eq!((report.new_tokens, report.stop), (new_tokens, Some(StopReason::MaxNewTokens)), "{what}");
    }
}

#[test]
fn siglip_and_qwen2() {
    assert_family("llava_qwen2_siglip");
}

#[test]
fn mistral() {
    assert_family("llava_mistral_clip");
}

/// A window of 24 tokens, which every prompt outgrows.
#[test]
fn mistral_with_a_window() {
    assert_family("llava_mistral_window");
}

#[test]
fn next_with_mistral() {
    assert_family("llava_next_mistral");
}

#[test]
fn next_with_vicuna() {
    assert_family("llava_next_vicuna");
}

#[test]
fn one_vision() {
    assert_family("llava_onevision_qwen2");
}

#[test]
fn llama_3() {
    assert_family("llava_llama3_clip");
}

#[test]
fn llama_3_1() {
    assert_family("llava_llama31_clip");
}
