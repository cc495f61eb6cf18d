//! Checkpoints of any shape, with random weights.

use std::{collections::HashMap, fs, path::Path};

use mustdrop::{config::ModelConfig, model::LlavaModel};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

/// The configuration of a LLaVA: two tower layers of `width / 2`, `layers` decoder layers of `width`.
pub fn config(width: usize, layers: usize, vocabulary: usize) -> Value {
    json!({
        "model_type": "llava",
        "image_token_index": vocabulary - 1,
        "vision_config": {
            "model_type": "clip_vision_model", "hidden_size": width / 2, "intermediate_size": 2 * width,
            "num_hidden_layers": 3, "num_attention_heads": width / 128, "image_size": 336, "patch_size": 14,
        },
        "text_config": {
            "model_type": "llama", "hidden_size": width, "intermediate_size": 11 * width / 4,
            "num_hidden_layers": layers, "num_attention_heads": width / 64, "vocab_size": vocabulary,
        },
    })
}

/// Writes `config.json` and `model.safetensors` into `folder`.
pub fn write(folder: &Path, config: &Value) {
    fs::write(folder.join("config.json"), config.to_string()).expect("a writable folder");
    let config = ModelConfig::parse(config.to_string().as_bytes(), folder).expect("a configuration");
    let asked = LlavaModel::asked(&|_| true, &config, false).expect("a model");
    let mut state = 1u64;
    let tensors: Vec<_> = asked
        .into_iter()
        .map(|asked| {
            let width = asked.shape[1..].iter().product::<usize>().max(1) as f32;
            let values = (0..asked.shape.iter().product::<usize>()).flat_map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let unit = (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
                let value =
                    if asked.shape.len() == 1 { 1.0 + 0.1 * unit } else { unit * (3.0 / width).sqrt() };
                value.to_le_bytes()
            });
            (asked.name, asked.shape.clone(), values.collect::<Vec<u8>>())
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("bytes of the shape"))
    });
    let path = folder.join("model.safetensors");
    safetensors::serialize_to_file(views, None::<HashMap<String, String>>, &path).expect("a writable folder");
}
