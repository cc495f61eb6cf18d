//! Configurations of LLaVA's family: what each kind leaves out, and what is not believed.

use std::path::Path;

use mustdrop::{
    Error,
    checkpoint::ModelFiles,
    config::{GenerationDefaults, ModelConfig, preprocessor},
};
use serde_json::{Value, json};

/// A folder with this configuration.
fn folder(config: &Value) -> (tempfile::TempDir, ModelFiles) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
    let files = ModelFiles::folder(folder.path()).expect("a folder");
    (folder, files)
}

fn parse(config: &Value) -> Result<ModelConfig, Error> {
    ModelConfig::parse(config.to_string().as_bytes(), Path::new("config.json"))
}

#[test]
fn qwen2_has_biases_in_front_of_the_attention_and_a_window_where_it_is_asked_for() {
    let qwen = |fields: Value| {
        let mut text =
            json!({ "model_type": "qwen2", "num_hidden_layers": 4, "max_position_embeddings": 8192 });
        text.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        parse(&json!({ "model_type": "llava", "text_config": text })).map(|config| config.text)
    };
    let text = qwen(json!({ "sliding_window": 64, "attention_bias": false })).expect("supported");
    assert_eq!((text.vocab_size, text.intermediate_size, text.num_key_value_heads), (151_936, 22_016, 32));
    assert_eq!((text.attention_bias, text.attention_output_bias), (true, false));
    assert_eq!((text.sliding_window, text.window()), (None, None), "a window has to be switched on");

    let windowed = json!({ "use_sliding_window": true, "sliding_window": 64, "max_window_layers": 3 });
    let text = qwen(windowed.clone()).expect("supported");
    assert_eq!((text.window(), text.sliding_layers), (Some(64), vec![false, false, false, true]));
    let mut named = windowed;
    named["layer_types"] =
        json!(["sliding_attention", "full_attention", "sliding_attention", "full_attention"]);
    let text = qwen(named.clone()).expect("supported");
    assert_eq!(text.sliding_layers, [true, false, true, false]);
    named["layer_types"] = json!(["full_attention"]);
    let message = qwen(named).unwrap_err().to_string();
    assert!(
        message.contains("text_config.layer_types: expected") && message.contains("4 layers"),
        "{message}"
    );
    let far = json!({ "use_sliding_window": true, "sliding_window": 64, "max_window_layers": 28 });
    assert_eq!(qwen(far).expect("supported").window(), None, "no layer has it");
}

#[test]
fn resolutions_are_whole_tiles_and_bounded() {
    let next = |pinpoints: Value| {
        let vision = json!({ "model_type": "clip_vision_model", "image_size": 336, "patch_size": 14 });
        parse(
            &json!({ "model_type": "llava_next", "vision_config": vision, "image_grid_pinpoints": pinpoints }),
        )
    };
    let by_default = next(Value::Null).expect("LLaVA-NeXT's own").largest_picture();
    assert_eq!((by_default.tiles(), by_default.tokens()), (5, 576 + 48 * 49));
    assert_eq!(next(json!([[336, 336]])).expect("one tile").largest_picture().tokens(), 576 + 24 * 25);
    for wrong in [
        json!([]),
        json!([[336]]),
        json!([[336, 0]]),
        json!([[336, 340]]),
        json!([[336, -336]]),
        json!([["336", 336]]),
        json!([[3_360_000, 3_360_000]]),
        json!([[18_446_744_073_709_551_360u64, 336]]),
        json!(336),
        Value::Array(vec![json!([336, 336]); 300]),
    ] {
        let message = next(wrong.clone()).expect_err("refused").to_string();
        assert!(message.contains("image_grid_pinpoints: expected 1 to 256 pairs"), "{wrong}: {message}");
    }
    let one = |ratio: Value| parse(&json!({ "model_type": "llava_onevision", "vision_aspect_ratio": ratio }));
    assert_eq!(one(json!("anyres_max_4")).expect("supported").largest_picture().grid, 27);
    for wrong in [json!("anyres"), json!("anyres_max_0"), json!("anyres_max_1e9"), json!(9)] {
        let message = one(wrong).expect_err("refused").to_string();
        assert!(message.contains("vision_aspect_ratio: expected \"anyres_max_N\""), "{message}");
    }
    // The tower's picture may be 4096 pixels wide, but not 64 of them.
    let vision = json!({ "model_type": "clip_vision_model", "image_size": 4096, "patch_size": 512 });
    let wide = json!({ "model_type": "llava_next", "vision_config": vision, "image_grid_pinpoints": [[8192, 4096]] });
    assert!(parse(&wide).is_err());
}

#[test]
fn one_vision_is_a_qwen2_without_being_told() {
    let config = json!({ "model_type": "llava_onevision" });
    let parsed = parse(&config).expect("defaults");
    assert!(parsed.text.attention_bias && !parsed.text.attention_output_bias);
    assert_eq!((parsed.text.vocab_size, parsed.vision.hidden_size), (151_936, 1_152));
    assert_eq!((parsed.image_token, parsed.video_token), (151_646, Some(151_647)));
    let (_folder, files) = folder(&config);
    let defaults = GenerationDefaults::from_files(&files).expect("defaults");
    assert_eq!(
        (defaults.bos_token_id, defaults.eos_token_ids),
        (None, Vec::new()),
        "Llama's are not its own"
    );
}

#[test]
fn what_makes_pixels_of_tiles_agrees_with_the_model() {
    let config = json!({ "model_type": "llava_next", "image_grid_pinpoints": [[336, 672], [672, 336]] });
    let model = parse(&config).expect("supported");
    let read = |processor: Value| {
        let (folder, files) = folder(&config);
        std::fs::write(folder.path().join("preprocessor_config.json"), processor.to_string())
            .expect("written");
        preprocessor(&files, &model)
    };
    let next = "LlavaNextImageProcessor";
    let fine = json!({ "image_processor_type": next, "size": { "shortest_edge": 336 }, "crop_size": 336,
        "image_grid_pinpoints": [[336, 672], [672, 336]], "do_pad": true });
    assert!(read(fine).is_ok());
    for (wrong, expected) in [
        (
            json!({ "image_processor_type": "CLIPImageProcessor" }),
            "image_processor_type: expected \"LlavaNext",
        ),
        (
            json!({ "image_processor_type": next, "size": { "shortest_edge": 224 } }),
            "size: expected 336 x 336",
        ),
        (json!({ "image_processor_type": next, "crop_size": 224 }), "crop_size: expected 336 x 336"),
        (
            json!({ "image_processor_type": next, "image_grid_pinpoints": [[672, 672]] }),
            "those of config.json",
        ),
    ] {
        let message = read(wrong).expect_err("refused").to_string();
        assert!(message.contains(expected), "{message}");
    }
}
