//! Variants of the architecture that no golden covers, each pinned to a fact that must hold.

use crate::common::tiny::{IMAGE_TOKEN, SIDE, TEXT_WIDTH, Tiny, VISION_WIDTH};
use crate::common::{DEVICES, values};
use burn::tensor::Tensor;
use mustdrop::{
    DeviceSelect, Error,
    device::Compute,
    model::LlavaModel,
    prompt::{Piece, PromptLayout},
};
use serde_json::json;

fn cpu() -> Compute {
    Compute::open(&DeviceSelect::Cpu).expect("a CPU")
}

fn load(tiny: &Tiny) -> LlavaModel {
    tiny.load_on(&cpu()).expect("a model")
}

fn pixels(shift: f32) -> Vec<f32> {
    (0..3 * SIDE * SIDE).map(|i| ((i as f32) * 0.37 + shift).sin()).collect()
}

/// Logits after a whole prompt in one pass.
fn logits(model: &LlavaModel, prompt: &PromptLayout, images: &[Tensor<2>]) -> Vec<f32> {
    let rows = model.splice(prompt, images).expect("a prompt");
    let count = rows.dims()[0];
    let positions: Vec<u32> = (0..count as u32).collect();
    let hidden = model.decoder.forward(rows, &positions, &mut model.decoder.new_cache());
    model.decoder.logits(hidden.slice([count - 1..count])).expect("logits")
}

fn prompt(ids: &[u32]) -> PromptLayout {
    PromptLayout::from_ids(ids, IMAGE_TOKEN)
}

fn assert_near(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let worst = found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-4, "{what}: {worst:e}");
}

#[test]
fn logits_that_overflow_are_the_models_fault() {
    let mut tiny = Tiny::new();
    tiny.get_mut("language_model.lm_head.weight").2.fill(f32::MAX);
    for device in DEVICES {
        let model = tiny.load(&device);
        let hidden =
            model.decoder.forward(model.decoder.embed(&[1, 2]), &[0, 1], &mut model.decoder.new_cache());
        let logits = model.decoder.head(hidden.slice([1..2]));
        for error in [logits.read().err(), logits.most_likely().err()] {
            let error = error.expect("no numbers");
            assert!(error.exit_code() == 3 && error.to_string().contains("finite"), "{error}");
        }
    }
}

#[test]
fn select_full_puts_the_class_token_before_the_patches() {
    let mut tiny = Tiny::new();
    let patches = values(load(&tiny).vision.features(&pixels(0.0)));
    tiny.config["vision_feature_select_strategy"] = json!("full");
    let full = load(&tiny).vision.features(&pixels(0.0));
    assert_eq!(full.dims(), [5, VISION_WIDTH]);
    assert_eq!(values(full.slice([1..5])), patches);
}

#[test]
fn feature_layers_count_over_embeddings_and_layer_outputs() {
    let features = |layer: serde_json::Value| {
        let mut tiny = Tiny::new();
        tiny.config["vision_feature_layer"] = layer;
        values(load(&tiny).vision.features(&pixels(0.0)))
    };
    // Three states for two layers: the embeddings, layer 0's output, layer 1's output.
    assert_eq!(features(json!(-3)), features(json!(0)));
    assert_eq!(features(json!(-2)), features(json!(1)));
    assert_eq!(features(json!(-1)), features(json!(2)));
    assert_ne!(features(json!(0)), features(json!(1)));
    assert_ne!(features(json!(1)), features(json!(2)));
}

#[test]
fn several_feature_layers_stand_side_by_side() {
    let mut tiny = Tiny::new();
    let single = values(load(&tiny).vision.features(&pixels(0.0)));
    tiny.config["vision_feature_layer"] = json!([-2, -1]);
    *tiny.get_mut("multi_modal_projector.linear_1.weight") = (
        "multi_modal_projector.linear_1.weight".into(),
        vec![TEXT_WIDTH, 2 * VISION_WIDTH],
        vec![0.1; TEXT_WIDTH * 2 * VISION_WIDTH],
    );
    let both = load(&tiny).vision.features(&pixels(0.0));
    assert_eq!(both.dims(), [4, 2 * VISION_WIDTH]);
    assert_eq!(values(both.slice([0..4, 0..VISION_WIDTH])), single);
}

#[test]
fn a_tied_head_is_the_embedding() {
    let mut separate = Tiny::new();
    let table = separate.get_mut("language_model.model.embed_tokens.weight").2.clone();
    separate.get_mut("language_model.lm_head.weight").2 = table;
    let mut tied = Tiny::new();
    tied.remove("language_model.lm_head.weight");
    tied.config["tie_word_embeddings"] = json!(true);
    tied.config["text_config"]["tie_word_embeddings"] = json!(true);
    let prompt = prompt(&[1, 5, 9]);
    let expected = logits(&load(&separate), &prompt, &[]);
    assert_eq!(logits(&load(&tied), &prompt, &[]), expected);

    // A stored head that is the table is no other; one that is another is the head, whatever the configuration says.
    let mut stored = separate.clone();
    stored.config = tied.config.clone();
    assert_eq!(logits(&load(&stored), &prompt, &[]), expected);
    let mut other = Tiny::new();
    let untied = logits(&load(&other), &prompt, &[]);
    other.config = tied.config;
    assert_eq!(logits(&load(&other), &prompt, &[]), untied);
    assert_ne!(untied, expected);
}

#[test]
fn pictures_stand_where_their_placeholders_stand() {
    let model = load(&Tiny::new());
    let images = [model.encode_image(&pixels(0.0)), model.encode_image(&pixels(1.0))];
    let layout = prompt(&[3, IMAGE_TOKEN, 4, 5, IMAGE_TOKEN]);
    let pieces = [Piece::Text(vec![3]), Piece::Image(0), Piece::Text(vec![4, 5]), Piece::Image(1)];
    assert_eq!(layout.pieces, pieces);
    let rows = model.splice(&layout, &images).expect("rows");
    assert_eq!(rows.dims(), [11, TEXT_WIDTH]);
    for (range, expected) in [
        (0..1, model.decoder.embed(&[3])),
        (1..5, images[0].clone()),
        (5..7, model.decoder.embed(&[4, 5])),
        (7..11, images[1].clone()),
    ] {
        assert_eq!(values(rows.clone().slice([range])), values(expected));
    }
    assert!(matches!(model.splice(&layout, &images[..1]), Err(Error::Prompt(_))));
}

#[test]
fn rows_computed_one_by_one_from_the_cache_equal_a_whole_pass() {
    for device in &DEVICES {
        let compute = Compute::open(device).expect("a device");
        let model = Tiny::new().load_on(&compute).expect("a model");
        let prompt = prompt(&[1, 2, IMAGE_TOKEN, 7, 8, 9]);
        let images = [model.encode_image(&pixels(0.0))];
        let whole = logits(&model, &prompt, &images);
        let rows = model.splice(&prompt, &images).expect("rows");
        let count = rows.dims()[0];
        for parts in [vec![1; count], vec![3, count - 3], vec![count - 1, 1]] {
            let mut cache = model.decoder.new_cache();
            let (mut start, mut found) = (0, Vec::new());
            for rows_now in parts {
                let end = start + rows_now;
                let positions: Vec<u32> = (start as u32..end as u32).collect();
                let hidden = model.decoder.forward(rows.clone().slice([start..end]), &positions, &mut cache);
                found = model.decoder.logits(hidden.slice([rows_now - 1..rows_now])).expect("logits");
                start = end;
            }
            assert_near(&found, &whole, &format!("on {}", compute.info()));
            assert_eq!(cache.rows_per_layer(), [count; 2]);
        }
    }
}

#[test]
fn the_cache_grows_beyond_its_first_chunk() {
    let mut tiny = Tiny::new();
    tiny.config["text_config"]["max_position_embeddings"] = json!(1024);
    let model = load(&tiny);
    let ids: Vec<u32> = (0..600).map(|i| i * 7 % 39).collect();
    let whole = logits(&model, &prompt(&ids), &[]);
    let mut cache = model.decoder.new_cache();
    let mut found = Vec::new();
    for (start, part) in [(0, &ids[..250]), (250, &ids[250..255]), (255, &ids[255..600])] {
        let positions: Vec<u32> = (start..start + part.len() as u32).collect();
        let hidden = model.decoder.forward(model.decoder.embed(part), &positions, &mut cache);
        let last = part.len();
        found = model.decoder.logits(hidden.slice([last - 1..last])).expect("logits");
    }
    assert_near(&found, &whole, "across chunks");
}

#[test]
fn relative_positions_are_all_that_rotary_sees() {
    let model = load(&Tiny::new());
    let at = |offset: u32| {
        let positions: Vec<u32> = (offset..offset + 4).collect();
        let rows = model.decoder.embed(&[1, 2, 3, 4]);
        values(model.decoder.forward(rows, &positions, &mut model.decoder.new_cache()))
    };
    assert_near(&at(17), &at(0), "shifted by 17");
    let gap = model.decoder.forward(
        model.decoder.embed(&[1, 2, 3, 4]),
        &[0, 1, 9, 10],
        &mut model.decoder.new_cache(),
    );
    let worst = values(gap).iter().zip(at(0)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst > 1e-2, "a gap in the positions must show: {worst}");
}

#[test]
fn matrices_split_by_rows_compute_the_same() {
    for device in &DEVICES {
        let compute = Compute::open(device).expect("a device");
        let whole = Tiny::new().load_on(&compute).expect("a model");
        // 300 bytes: three rows of the decoder's width, so that every matrix is in many parts.
        let split = Tiny::new().load_on(&compute.clone().limit_bindings(300)).expect("a model");
        let prompt = prompt(&[38, 1, 1, IMAGE_TOKEN, 20, 2]);
        let of = |model: &LlavaModel| logits(model, &prompt, &[model.encode_image(&pixels(0.5))]);
        assert_near(&of(&split), &of(&whole), &format!("on {}", compute.info()));
    }
}
