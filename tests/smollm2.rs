//! SmolLM2-135M, a real Llama of 2024 out of a GGUF file, against transformers' results (tests/golden/smollm2).

use crate::common::{golden_json, golden_tensor};
use mustdrop::{DeviceSelect, TextModel, WeightFormat};
use serde_json::Value;

const GOLDEN: &str = "smollm2";

fn load(device: DeviceSelect, weights: WeightFormat) -> TextModel {
    let path = std::env::var_os("MUSTDROP_SMOLLM2")
        .expect("MUSTDROP_SMOLLM2 names SmolLM2-135M-Instruct.Q4_1.gguf; tests/run.sh fetches it");
    TextModel::builder(path).device(device).weights(weights).build().expect("a model")
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("token ids")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn assert_logits(model: &TextModel, index: usize, prompt: &[u32]) {
    let (_, expected) = golden_tensor(GOLDEN, &format!("logits_{index}"));
    let found = model.logits(prompt).expect("logits");
    assert_eq!(found.len(), expected.len());
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let cosine = dot(&found, &expected) / (dot(&found, &found) * dot(&expected, &expected)).sqrt();
    println!("prompt {index} on {}: cosine {cosine:.9}", model.device());
    assert!(cosine >= 0.999, "prompt {index}: cosine {cosine}");
}

#[test]
#[ignore = "needs the SmolLM2 file: tests/run.sh fetches it"]
fn it_says_what_it_says_in_transformers() {
    let golden = golden_json(GOLDEN, "expected.json");
    let model = load(DeviceSelect::Cpu, WeightFormat::F32);
    assert_eq!(model.parameters(), 134_515_008);
    for (index, prompt) in golden["prompts"].as_array().expect("prompts").iter().enumerate() {
        let (prompt_ids, greedy) = (ids(&prompt["ids"]), ids(&prompt["greedy"]));
        assert_eq!(model.encode(text(&prompt["text"])).expect("ids"), prompt_ids);
        assert_logits(&model, index, &prompt_ids);
        assert_eq!(model.generate(&prompt_ids, greedy.len()).expect("tokens"), greedy, "prompt {index}");
    }
    let text_ids = ids(&golden["text_ids"]);
    assert_eq!(model.encode(text(&golden["text"])).expect("ids"), text_ids);
    assert_eq!(model.decode(&text_ids).expect("text"), text(&golden["text"]));
}

#[test]
#[ignore = "needs the SmolLM2 file: tests/run.sh fetches it"]
fn quantised_again_it_loses_little() {
    let golden = golden_json(GOLDEN, "expected.json");
    let expected = golden["mean_nll"].as_f64().expect("a number");
    let text_ids = ids(&golden["text_ids"]);
    for (weights, most) in [(WeightFormat::F32, 1e-3), (WeightFormat::Q8, 0.01), (WeightFormat::Q4, 0.05)] {
        let losses = load(DeviceSelect::Cpu, weights).losses(&text_ids).expect("losses");
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        println!("{weights}: mean loss {mean:.5}, {expected:.5} in transformers");
        assert!((mean / expected - 1.0).abs() <= most, "{weights}: {mean} for {expected}");
    }
}

#[test]
#[ignore = "needs the SmolLM2 file: tests/run.sh fetches it"]
fn the_shaders_agree() {
    let golden = golden_json(GOLDEN, "expected.json");
    assert_logits(&load(DeviceSelect::Gpu, WeightFormat::F32), 0, &ids(&golden["prompts"][0]["ids"]));
}
