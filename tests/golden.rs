//! The dense model against transformers' results on seeded random checkpoints, on both paths.

mod common;

use common::{DEVICES, GOLDENS, assert_close, golden, golden_json, golden_tensor};
use mustdrop::{
    WeightFormat,
    checkpoint::{Checkpoint, ModelFiles},
    device::Compute,
    model::LlavaModel,
    trace::{Fixture, trace},
};

#[test]
fn the_trace_equals_the_goldens_on_both_paths() {
    for name in GOLDENS {
        let expected = golden_json(name, "expected.json");
        let (_, logits) = golden_tensor(name, "dense_next_token_logits");
        for device in &DEVICES {
            let found = trace(&golden(name), device, WeightFormat::F32).expect("a trace");
            let what = format!("{name} on {}", found.device);
            assert_eq!(expected["dense_next_token"], found.dense_next_token, "{what}");
            let tokens = serde_json::json!(found.dense_greedy_tokens);
            assert_eq!(expected["dense_greedy_tokens"], tokens, "{what}");
            assert_close(&found.dense_next_token_logits, &logits, &format!("{what}: logits"));

            let fields = serde_json::to_value(&found).expect("JSON");
            for field in [
                "merged_windows_by_similarity",
                "vision_tokens",
                "key_token_set",
                "kept_at_each_pruning_layer",
                "kv_length_per_layer",
                "next_token",
            ] {
                assert_eq!(fields[field], expected[field], "{what}: {field}");
            }
            let (_, logits) = golden_tensor(name, "next_token_logits");
            let pruned = found.next_token_logits.expect("the stages ran");
            assert_close(&pruned, &logits, &format!("{what}: logits after dropping"));
        }
    }
}

#[test]
fn vision_features_equal_the_goldens_on_both_paths() {
    for name in GOLDENS {
        let (shape, expected) = golden_tensor(name, "dense_vision_features");
        let fixture = Fixture::open(&golden(name)).expect("a fixture");
        let checkpoint =
            Checkpoint::open(&ModelFiles::folder(golden(name)).expect("a folder")).expect("weights");
        for device in &DEVICES {
            let compute = Compute::open(device).expect("a device");
            let model = LlavaModel::load(&checkpoint, &fixture.config, &compute, false).expect("a model");
            let features = model.vision.features(&fixture.pixels);
            assert_eq!(features.dims().to_vec(), shape, "{name}: one row a patch, the class token left out");
            let found: Vec<f32> = features.into_data().try_to_vec().expect("float32");
            assert_close(&found, &expected, &format!("{name} on {}", compute.info()));
        }
    }
}

#[test]
fn half_precision_weights_stay_close_and_agree_between_the_paths() {
    for name in GOLDENS {
        let (_, expected) = golden_tensor(name, "dense_next_token_logits");
        let scale = expected.iter().fold(0.0f32, |scale, value| scale.max(value.abs()));
        for device in &DEVICES {
            let found = trace(&golden(name), device, WeightFormat::F16).expect("a trace");
            // Weights lose all but 11 bits; over 56 layers of random weights that stays below a twentieth.
            let worst = found.dense_next_token_logits.iter().zip(&expected).map(|(f, e)| (f - e).abs());
            let worst = worst.fold(0.0f32, f32::max);
            assert!(worst < 0.05 * scale, "{name} on {}: {worst} of {scale}", found.device);
            assert!(worst > 0.0, "{name}: half precision must have been used");
        }
    }
}
