//! Configurations: what real files mean, which defaults they rely on, and which values are refused.

use std::path::Path;

use mustdrop::{
    checkpoint::{Checkpoint, ModelFiles},
    config::{
        Activation, FeatureSelect, GenerationDefaults, ModelConfig, RopeScaling, TieWordEmbeddings,
        preprocessor,
    },
    image::{Fit, Resize},
};
use serde_json::{Value, json};

fn repository_file(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the file is in the repository")
}

fn parse(config: &Value) -> mustdrop::Result<ModelConfig> {
    ModelConfig::parse(config.to_string().as_bytes(), Path::new("config.json"))
}

/// The real llava-1.5-7b configuration with the value at `pointer` replaced (or added).
fn changed(pointer: &str, value: Value) -> Value {
    let mut config: Value =
        serde_json::from_slice(&repository_file("tests/configs/llava-1.5-7b-hf.json")).expect("JSON");
    let (parent, name) = pointer.rsplit_once('/').expect("a JSON pointer");
    config.pointer_mut(parent).expect("the parent is there")[name] = value;
    config
}

/// The message for the real configuration with one value changed.
fn refusal(pointer: &str, value: Value) -> String {
    let outcome = parse(&changed(pointer, value.clone()));
    outcome.map(|_| panic!("{pointer} = {value} was accepted")).unwrap_err().to_string()
}

/// A folder with the given files.
fn folder(files: &[(&str, Value)]) -> (tempfile::TempDir, ModelFiles) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, value) in files {
        std::fs::write(folder.path().join(name), value.to_string()).expect("written");
    }
    let files = ModelFiles::Folder(folder.path().to_owned());
    (folder, files)
}

#[test]
fn real_configurations_mean_what_transformers_takes_them_for() {
    for (name, path) in [
        ("llava-1.5-7b-hf", "tests/configs/llava-1.5-7b-hf.json"),
        ("llava-1.5-13b-hf", "tests/configs/llava-1.5-13b-hf.json"),
        ("half_smooth", "tests/golden/half_smooth/config.json"),
        ("grouped_query", "tests/golden/grouped_query/config.json"),
        ("picture-book", "models/picture-book/config.json"),
    ] {
        let config = ModelConfig::parse(&repository_file(path), Path::new(path)).expect(name);
        insta::assert_debug_snapshot!(name, config);
    }
}

#[test]
fn a_configuration_without_parts_has_transformers_defaults() {
    let config = parse(&json!({ "model_type": "llava" })).expect("all defaults");
    let vision = &config.vision;
    assert_eq!((vision.hidden_size, vision.grid(), vision.patches(), vision.head_dim()), (1024, 24, 576, 64));
    let text = &config.text;
    assert_eq!((text.hidden_size, text.intermediate_size, text.vocab_size), (4096, 11_008, 32_000));
    assert_eq!((text.query_size(), text.key_value_size()), (4096, 4096));
    assert_eq!((text.rms_norm_eps, text.rope_theta, text.max_position_embeddings), (1e-6, 10_000.0, 2048));
    assert_eq!((config.image_token, config.projector_bias), (32_000, true));
    assert_eq!(config.projector_activation, Activation::Gelu);

    let config = parse(&json!({ "model_type": "llava", "vision_config": {} })).expect("CLIP's defaults");
    assert_eq!((config.vision.hidden_size, config.vision.patches()), (768, 49));
}

#[test]
fn old_and_new_spellings_of_the_rotary_embedding_agree() {
    let linear = |text| parse(&changed("/text_config", text)).expect("supported").text;
    let old = linear(json!({ "rope_theta": 5e5, "rope_scaling": { "type": "linear", "factor": 2 } }));
    let new =
        linear(json!({ "rope_parameters": { "rope_type": "linear", "factor": 2.0, "rope_theta": 5e5 } }));
    assert_eq!(old, new);
    assert_eq!((old.rope_theta, old.rope_scaling), (5e5, RopeScaling::Linear { factor: 2.0 }));

    let empty =
        json!({ "rope_scaling": {}, "rope_parameters": { "rope_type": "default", "rope_theta": 1e5 } });
    assert_eq!(linear(empty).rope_theta, 1e5, "an empty one is none");
    let llama3 = linear(json!({ "rope_scaling": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    } }));
    let expected = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };
    assert_eq!(llama3.rope_scaling, expected);
}

#[test]
fn the_image_token_has_two_spellings_that_must_agree() {
    let new = json!({ "model_type": "llava", "image_token_id": 7 });
    assert_eq!(parse(&new).expect("the new spelling").image_token, 7);
    let both = json!({ "model_type": "llava", "image_token_id": 7, "image_token_index": 8 });
    assert!(parse(&both).unwrap_err().to_string().contains("image_token_index: expected 7"));
}

#[test]
fn feature_layers_count_hidden_states_from_either_end() {
    let states =
        |value| parse(&changed("/vision_feature_layer", value)).map(|config| config.feature_states());
    assert_eq!(states(json!(-2)).expect("one"), [23]);
    assert_eq!(states(json!([-1, 0, 5])).expect("several"), [24, 0, 5]);
    assert_eq!(states(json!(-25)).expect("the embeddings"), [0]);
    for wrong in [json!(-26), json!(25), json!([]), json!("-2"), json!(-2.0), json!(i64::MIN)] {
        let message = states(wrong.clone()).unwrap_err().to_string();
        assert!(message.contains("vision_feature_layer: expected"), "{wrong}: {message}");
    }
    let config = parse(&changed("/vision_feature_select_strategy", json!("full"))).expect("supported");
    assert_eq!(config.feature_select, FeatureSelect::Full);
}

#[test]
fn only_layers_behind_the_last_feature_are_beyond_it() {
    let config = parse(&changed("/vision_feature_layer", json!([-3, 4]))).expect("supported");
    let beyond =
        |layer| config.is_beyond_features(&format!("vision_tower.encoder.layers.{layer}.mlp.fc1.bias"));
    let found: Vec<usize> = (0..26).filter(|layer| beyond(*layer)).collect();
    assert_eq!(found, [22, 23], "layers 24 and up do not exist");
    assert!(!config.is_beyond_features("language_model.layers.23.mlp.up_proj.weight"));
}

#[test]
fn the_window_of_a_mistral_decoder_counts_where_it_is_shorter_than_the_context() {
    let mistral = |window: Value| {
        let text =
            json!({ "model_type": "mistral", "max_position_embeddings": 8192, "sliding_window": window });
        parse(&changed("/text_config", text)).map(|config| config.text)
    };
    let text = mistral(Value::Null).expect("no window");
    assert_eq!((text.num_key_value_heads, text.intermediate_size, text.sliding_window), (8, 14_336, None));
    assert_eq!(text.window(), None);
    let text = mistral(json!(8192)).expect("a window of every position");
    assert_eq!((text.sliding_window, text.window()), (Some(8192), None));
    let text = mistral(json!(4096)).expect("a window that is shorter");
    assert_eq!((text.sliding_window, text.window()), (Some(4096), Some(4096)));
    let message = mistral(json!(0)).unwrap_err().to_string();
    assert!(message.contains("text_config.sliding_window"), "{message}");
}

#[test]
fn the_embedding_is_tied_by_the_text_part_else_by_what_is_stored() {
    let tie = |top: Value, text: Value| {
        let config = json!({
            "model_type": "llava", "tie_word_embeddings": top, "text_config": { "tie_word_embeddings": text },
        });
        parse(&config).expect("supported").text.tie_word_embeddings
    };
    assert_eq!(tie(json!(false), json!(true)), TieWordEmbeddings::Yes);
    assert_eq!(tie(json!(true), json!(false)), TieWordEmbeddings::UnlessStored);
    assert_eq!(tie(json!(true), Value::Null), TieWordEmbeddings::UnlessStored);
    assert_eq!(tie(Value::Null, Value::Null), TieWordEmbeddings::No);
    assert!(!TieWordEmbeddings::UnlessStored.resolve(true) && TieWordEmbeddings::UnlessStored.resolve(false));

    let golden = "tests/golden/half_smooth/config.json";
    let golden = ModelConfig::parse(&repository_file(golden), Path::new(golden)).expect("supported");
    let with_head =
        Checkpoint::open(&ModelFiles::embedded().expect("inside")).expect("the model in the program");
    assert!(!golden.tied_head(&with_head), "transformers 4 wrote true, but the head is stored");
}

#[test]
fn what_is_not_supported_is_named_with_what_is() {
    for (pointer, value, expected) in [
        (
            "/model_type",
            json!("llava_next_video"),
            "model_type: expected \"llava\" or \"llava_next\" or \"llava_onevision\", found \"llava_next_video\"",
        ),
        ("/model_type", Value::Null, "or \"llava_onevision\", found null"),
        (
            "/text_config/model_type",
            json!("phi3"),
            "expected \"llama\" or \"mistral\" or \"qwen2\", found \"phi3\"",
        ),
        (
            "/vision_config/model_type",
            json!("dinov2"),
            "expected \"clip_vision_model\" or \"siglip_vision_model\", found",
        ),
        (
            "/vision_config/model_type",
            json!("siglip_vision_model"),
            "expected \"full\", as the vision tower has",
        ),
        ("/vision_config/hidden_act", json!("selu"), "expected \"quick_gelu\" or \"gelu\" or"),
        ("/projector_hidden_act", json!(3), "projector_hidden_act: expected \"quick_gelu\""),
        (
            "/vision_config/num_channels",
            json!(4),
            "num_channels: expected a whole number from 3 to 3, found 4",
        ),
        ("/text_config/rope_scaling", json!({ "rope_type": "yarn" }), "expected \"default\" or \"linear\""),
        ("/text_config/rope_scaling", json!({ "factor": 2.0 }), "rope_scaling.rope_type: expected"),
        ("/text_config/rope_scaling", json!({ "type": "linear" }), "rope_scaling.factor: expected a number"),
        ("/text_config/partial_rotary_factor", json!(0.5), "partial_rotary_factor: expected"),
        ("/quantization_config", json!({ "bits": 4 }), "stored quantised"),
        ("/mm_vision_tower", json!("openai/clip"), "expected its Hugging Face conversion"),
    ] {
        let message = refusal(pointer, value);
        assert!(message.contains(expected), "{pointer}: {message}");
    }
}

#[test]
fn numbers_that_make_no_sense_are_refused_by_name() {
    let (text, vision) = ("/text_config/", "/vision_config/");
    for value in [json!(-1), json!(0), json!(1.5), json!("4096"), json!(u64::MAX), json!([1]), json!(true)] {
        for field in ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"] {
            for part in [text, vision] {
                let message = refusal(&format!("{part}{field}"), value.clone());
                assert!(message.contains(&format!("{field}: expected")), "{message}");
            }
        }
    }
    for value in [json!(-1e-5), json!(0), json!(2), json!(1e300), json!("1e-5")] {
        for field in ["/text_config/rms_norm_eps", "/vision_config/layer_norm_eps"] {
            assert!(refusal(field, value.clone()).contains("_norm_eps: expected a number"));
        }
    }
    for (pointer, value, expected) in [
        ("/text_config/num_key_value_heads", 5, "5 heads do not divide num_attention_heads 32"),
        ("/text_config/num_attention_heads", 24, "24 heads do not divide hidden_size 4096"),
        ("/text_config/head_dim", 3, "expected an even number"),
        ("/vision_config/num_attention_heads", 3, "3 heads do not divide hidden_size 1024"),
        ("/vision_config/patch_size", 337, "no patch of 337 pixels fits image_size 336"),
    ] {
        let message = refusal(pointer, json!(value));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn json_that_is_no_json_is_quoted_where_it_goes_wrong() {
    for (json, expected) in [
        (r#"{"a": 1, "rms_norm_eps": NaN, "b": 2}"#, r#"near `"rms_norm_eps": NaN`"#),
        ("{\n \"rope_theta\": 1e999\n}", r#"near `"rope_theta": 1e999`"#),
        (r#"{"layer_norm_eps": Infinity}"#, r#"near `"layer_norm_eps": Infinity`"#),
        ("[1]", "expected a JSON object, found [1]"),
        (&format!("{{\"a\":{}", "[".repeat(1_000_000)), "recursion limit exceeded"),
        ("", "the file is empty"),
        ("\u{feff}{}", "byte order mark"),
    ] {
        let message =
            ModelConfig::parse(json.as_bytes(), Path::new("some/config.json")).unwrap_err().to_string();
        assert!(message.starts_with("some/config.json: ") && message.contains(expected), "{message}");
    }
}

#[test]
fn generation_defaults_fall_back_to_the_configuration() {
    let text = json!({ "text_config": { "eos_token_id": [5, 6] }, "eos_token_id": 9, "bos_token_id": 4 });
    let (_folder, files) = folder(&[
        ("config.json", text.clone()),
        (
            "generation_config.json",
            json!({ "eos_token_id": null, "do_sample": true, "temperature": 0.5, "top_k": 3 }),
        ),
    ]);
    let defaults = GenerationDefaults::from_files(&files).expect("valid");
    assert_eq!((defaults.eos_token_ids, defaults.bos_token_id), (vec![5, 6], Some(4)));
    assert_eq!((defaults.do_sample, defaults.temperature, defaults.top_k), (true, Some(0.5), Some(3)));
    assert_eq!((defaults.top_p, defaults.repetition_penalty, defaults.max_new_tokens), (None, None, None));

    let (_folder, files) = folder(&[("config.json", json!({}))]);
    assert_eq!(GenerationDefaults::from_files(&files).expect("Llama's").eos_token_ids, [2]);

    let embedded = GenerationDefaults::from_files(&ModelFiles::embedded().expect("inside")).expect("valid");
    assert_eq!((embedded.eos_token_ids, embedded.max_new_tokens), (vec![2], Some(40)));

    for (name, value) in [
        ("temperature", json!(-1)),
        ("top_p", json!(1.5)),
        ("top_p", json!(-0.1)),
        ("top_k", json!(-1)),
        ("repetition_penalty", json!(0)),
        ("max_new_tokens", json!(0)),
    ] {
        let (_folder, files) =
            folder(&[("config.json", json!({})), ("generation_config.json", json!({ name: value }))]);
        let message = GenerationDefaults::from_files(&files).unwrap_err().to_string();
        assert!(message.contains(&format!("generation_config.json: {name}: expected")), "{message}");
    }
}

#[test]
fn old_and_new_spellings_of_the_preprocessor_agree() {
    let model = parse(&json!({ "model_type": "llava" })).expect("defaults");
    let processor = json!({ "size": { "shortest_edge": 336 }, "crop_size": { "height": 336, "width": 336 } });
    let spellings = [
        folder(&[("preprocessor_config.json", processor.clone())]),
        folder(&[("preprocessor_config.json", json!({ "size": 336, "crop_size": 336, "image_std": null }))]),
        folder(&[("processor_config.json", json!({ "image_processor": processor }))]),
        folder(&[("processor_config.json", json!({ "processor_class": "LlavaProcessor" }))]),
        folder(&[]),
    ];
    for (_folder, files) in &spellings {
        let found = preprocessor(files, &model).expect("supported");
        assert!(matches!(found.resize, Resize::ShortestEdge(336)) && matches!(found.fit, Fit::Crop));
        assert_eq!((found.crop, found.rescale), (Some((336, 336)), 1.0 / 255.0));
        assert_eq!(found.mean, [0.48145466, 0.4578275, 0.40821073]);
    }
}

#[test]
fn what_the_processor_s_file_has_outranks_an_older_file_beside_it() {
    let model = parse(&json!({ "model_type": "llava" })).expect("defaults");
    let with_mean = |mean: f64| json!({ "size": 336, "crop_size": 336, "image_mean": mean });
    for (processor, expected) in [
        (json!({ "image_processor": with_mean(0.25) }), 0.25),
        (json!({ "image_processor": null }), 0.75),
        (json!({ "processor_class": "LlavaProcessor" }), 0.75),
    ] {
        let files = [("processor_config.json", processor), ("preprocessor_config.json", with_mean(0.75))];
        let (_folder, files) = folder(&files);
        assert_eq!(preprocessor(&files, &model).expect("supported").mean, [expected; 3]);
    }
    let wrong = json!({ "image_processor": { "size": 224, "crop_size": 336 } });
    let (_folder, files) = folder(&[("processor_config.json", wrong)]);
    let message = preprocessor(&files, &model).expect_err("refused").to_string();
    assert!(
        message.contains("processor_config.json: image_processor.size: expected at least 336"),
        "{message}"
    );
}

#[test]
fn a_preprocessor_must_yield_the_square_that_the_tower_takes() {
    let model = parse(&json!({ "model_type": "llava" })).expect("defaults");
    let read = |config: Value| preprocessor(&folder(&[("preprocessor_config.json", config)]).1, &model);
    let message = |config: Value| match read(config.clone()) {
        Ok(_) => panic!("{config} was accepted"),
        Err(error) => error.to_string(),
    };
    let exact = json!({ "size": { "height": 336, "width": 336 }, "do_center_crop": false });
    assert!(matches!(read(exact).expect("square").resize, Resize::Exact { height: 336, width: 336 }));
    let siglip =
        json!({ "image_processor_type": "SiglipImageProcessor", "size": { "height": 336, "width": 336 } });
    let siglip = read(siglip).expect("square");
    assert!(siglip.crop.is_none() && (siglip.mean, siglip.std) == ([0.5; 3], [0.5; 3]), "as SigLIP has it");
    let padded =
        json!({ "size": 336, "do_center_crop": false, "image_aspect_ratio": "pad", "image_mean": 0.5 });
    let padded = read(padded).expect("square");
    assert!(matches!(padded.fit, Fit::Pad) && padded.mean == [0.5; 3]);

    for (config, expected) in [
        (json!({}), "crop_size: expected a picture of 336x336 pixels"),
        (
            json!({ "crop_size": 336 }),
            "size: expected at least 336 pixels, of which crop_size cuts 336 out, found none",
        ),
        (json!({ "crop_size": 336, "size": { "shortest_edge": 335 } }), "cuts 336 out, found 335"),
        (json!({ "crop_size": 336, "size": { "height": 400, "width": 300 } }), "cuts 336 out, found 300"),
        (json!({ "size": 336, "do_center_crop": false }), "do_center_crop: expected a picture of 336x336"),
        (json!({ "size": { "height": 336, "width": 224 }, "do_center_crop": false }), "found 224x336"),
        (json!({ "size": { "longest_edge": 336 } }), "size: expected a number, a shortest_edge, or"),
        (json!({ "resample": 2 }), "resample: expected a whole number from 3 to 3, found 2"),
        (json!({ "do_resize": false }), "do_resize: expected true, found false"),
        (json!({ "image_std": [1, 0, 1] }), "image_std: expected three numbers"),
        (json!({ "image_mean": [0.5, 0.5] }), "image_mean: expected three numbers"),
        (json!({ "image_aspect_ratio": "anyres" }), "found \"anyres\""),
        (json!({ "image_processor_type": "ViTImageProcessor" }), "found \"ViTImageProcessor\""),
    ] {
        let message = message(config);
        assert!(message.contains(expected), "{message}");
    }
}
