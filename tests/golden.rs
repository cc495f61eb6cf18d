//! The model against transformers' and the authors' results on seeded random checkpoints, on both paths.

use crate::common::{DEVICES, GOLDENS, assert_close, golden, golden_json, golden_tensor};
use mustdrop::{
    DeviceSelect, Pruning, WeightFormat,
    checkpoint::{Checkpoint, ModelFiles},
    device::Compute,
    drop::prefill::PrefillFilter,
    model::LlavaModel,
    trace::{Fixture, trace},
};

/// Everything that the fixture `name` says, found on `device`.
fn assert_trace(name: &str, device: &DeviceSelect) {
    let expected = golden_json(name, "expected.json");
    let (_, logits) = golden_tensor(name, "dense_next_token_logits");
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

#[test]
fn half_smooth_is_traced_on_the_cpu() {
    assert_trace("half_smooth", &DeviceSelect::Cpu);
}

#[test]
fn half_smooth_is_traced_on_an_adapter() {
    assert_trace("half_smooth", &DeviceSelect::Gpu);
}

#[test]
fn grouped_query_is_traced_on_the_cpu() {
    assert_trace("grouped_query", &DeviceSelect::Cpu);
}

#[test]
fn grouped_query_is_traced_on_an_adapter() {
    assert_trace("grouped_query", &DeviceSelect::Gpu);
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
fn a_tower_without_class_token_names_key_tokens_by_the_mean_attention() {
    // SigLIP at 70 pixels: a grid of 5 x 5 patches, whose edge windows are smaller; features of the last layer.
    let expected = golden_json("siglip", "expected.json");
    let (_, attention) = golden_tensor("siglip", "class_attention");
    let (shape, features) = golden_tensor("siglip", "dense_vision_features");
    let (_, logits) = golden_tensor("siglip", "dense_next_token_logits");
    let fixture = Fixture::open(&golden("siglip")).expect("a fixture");
    let files = ModelFiles::folder(golden("siglip")).expect("a folder");
    let checkpoint = Checkpoint::open(&files).expect("weights");
    for device in &DEVICES {
        let found = trace(&golden("siglip"), device, WeightFormat::F32).expect("a trace");
        assert_eq!(expected["dense_greedy_tokens"], serde_json::json!(found.dense_greedy_tokens), "{device}");
        assert_close(&found.dense_next_token_logits, &logits, "logits");

        let compute = Compute::open(device).expect("a device");
        let model = LlavaModel::load(&checkpoint, &fixture.config, &compute, false).expect("a model");
        let dense = model.vision.features(&fixture.pixels);
        assert_eq!(dense.dims().to_vec(), shape);
        assert_close(&dense.into_data().try_to_vec::<f32>().expect("float32"), &features, "features");

        let mut pruning = Pruning::mustdrop();
        pruning.merge = Some(false);
        let picture = model.vision.pruned_features(&fixture.pixels, &pruning, 4).expect("features");
        let mut filter = PrefillFilter::new(&pruning);
        filter.add_picture(3, &picture.candidates);
        filter.finish().expect("a device");
        let admitted = &filter.admitted[0];
        assert_close(admitted.score.as_ref().expect("scores"), &attention, "attention received");
        assert_eq!(expected["key_token_set"], serde_json::json!(admitted.key_tokens));

        pruning.merge = Some(true);
        pruning.similarity_threshold = -1.0;
        let picture = model.vision.pruned_features(&fixture.pixels, &pruning, 4).expect("features");
        let sizes: Vec<usize> = picture.tower_tokens.patches.iter().map(Vec::len).collect();
        assert_eq!(sizes, [9, 6, 6, 4], "every window is merged, whole or at an edge");
    }
}

#[test]
fn half_precision_weights_stay_close_and_agree_between_the_paths() {
    for name in GOLDENS {
        let (_, expected) = golden_tensor(name, "dense_next_token_logits");
        let scale = expected.iter().fold(0.0f32, |scale, value| scale.max(value.abs()));
        // The adapter computes one of them: the CPU shows that the other is no different.
        for device in DEVICES.iter().take(if name == "half_smooth" { 1 } else { 2 }) {
            let found = trace(&golden(name), device, WeightFormat::F16).expect("a trace");
            // Weights lose all but 11 bits; over 56 layers of random weights that stays below a twentieth.
            let worst = found.dense_next_token_logits.iter().zip(&expected).map(|(f, e)| (f - e).abs());
            let worst = worst.fold(0.0f32, f32::max);
            assert!(worst < 0.05 * scale, "{name} on {}: {worst} of {scale}", found.device);
            assert!(worst > 0.0, "{name}: half precision must have been used");
        }
    }
}
