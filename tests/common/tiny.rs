//! Tiny LLaVA checkpoints with seeded random weights, in whatever variant a test needs.

use std::{collections::HashMap, fs, path::Path};

use mustdrop::{
    DeviceSelect, Error,
    checkpoint::{Checkpoint, ModelFiles},
    config::ModelConfig,
    device::Compute,
    model::LlavaModel,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

pub const VISION_WIDTH: usize = 16;
pub const TEXT_WIDTH: usize = 24;
pub const VOCABULARY: usize = 40;
pub const SIDE: usize = 28;
pub const PATCH: usize = 14;
pub const IMAGE_TOKEN: u32 = 39;

/// A checkpoint to be written: its configuration and its float32 tensors.
#[derive(Clone)]
pub struct Tiny {
    pub config: Value,
    pub tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl Tiny {
    /// Two vision layers, two decoder layers, four query heads on two key heads, a separate head.
    pub fn new() -> Self {
        Self::of(2, 6)
    }

    /// The same with so many decoder layers, and heads of `head_dim` components.
    pub fn of(layers: usize, head_dim: usize) -> Self {
        let config = json!({
            "model_type": "llava",
            "image_token_index": IMAGE_TOKEN,
            "projector_hidden_act": "gelu",
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default",
            "tie_word_embeddings": false,
            "vision_config": {
                "model_type": "clip_vision_model", "hidden_size": VISION_WIDTH, "intermediate_size": 32,
                "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE, "patch_size": PATCH,
            },
            "text_config": {
                "model_type": "llama", "hidden_size": TEXT_WIDTH, "intermediate_size": 32,
                "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": head_dim,
                "vocab_size": VOCABULARY, "max_position_embeddings": 64, "tie_word_embeddings": false,
            },
        });
        let mut tiny = Self { config, tensors: Vec::new() };
        tiny.vision("vision_tower.vision_model");
        for (name, inputs) in [("linear_1", VISION_WIDTH), ("linear_2", TEXT_WIDTH)] {
            tiny.linear(&format!("multi_modal_projector.{name}"), inputs, TEXT_WIDTH, true);
        }
        tiny.text("language_model.model", layers, head_dim);
        tiny.linear("language_model.lm_head", TEXT_WIDTH, VOCABULARY, false);
        tiny
    }

    /// Makes the decoder a Mistral's that looks back so far.
    pub fn set_window(&mut self, window: Option<usize>) {
        if let Some(window) = window {
            self.config["text_config"]["model_type"] = "mistral".into();
            self.config["text_config"]["sliding_window"] = window.into();
        }
    }

    /// Makes the decoder a Qwen2's, whose biases are zeros, and of whose layers every second looks back so far.
    pub fn set_window_of_every_second_layer(&mut self, window: usize) {
        let text = &mut self.config["text_config"];
        let [layers, width] =
            ["num_hidden_layers", "head_dim"].map(|name| text[name].as_u64().expect("a size"));
        let kinds = (0..layers).map(|i| ["sliding_attention", "full_attention"][i as usize % 2]);
        text["layer_types"] = kinds.collect::<Vec<_>>().into();
        text["model_type"] = "qwen2".into();
        text["use_sliding_window"] = true.into();
        text["sliding_window"] = window.into();
        for layer in 0..layers {
            for (part, heads) in [("q_proj", 4), ("k_proj", 2), ("v_proj", 2)] {
                let name = format!("language_model.model.layers.{layer}.self_attn.{part}.bias");
                let outputs = heads * width as usize;
                self.tensors.push((name, vec![outputs], vec![0.0; outputs]));
            }
        }
    }

    fn vision(&mut self, root: &str) {
        let width = VISION_WIDTH;
        self.add(&format!("{root}.embeddings.class_embedding"), &[width]);
        self.add(&format!("{root}.embeddings.patch_embedding.weight"), &[width, 3, PATCH, PATCH]);
        let positions = (SIDE / PATCH).pow(2) + 1;
        self.add(&format!("{root}.embeddings.position_embedding.weight"), &[positions, width]);
        self.norm(&format!("{root}.pre_layrnorm"), width, true);
        for i in 0..2 {
            let layer = format!("{root}.encoder.layers.{i}");
            for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                self.linear(&format!("{layer}.self_attn.{part}"), width, width, true);
            }
            self.norm(&format!("{layer}.layer_norm1"), width, true);
            self.norm(&format!("{layer}.layer_norm2"), width, true);
            self.linear(&format!("{layer}.mlp.fc1"), width, 32, true);
            self.linear(&format!("{layer}.mlp.fc2"), 32, width, true);
        }
        self.norm(&format!("{root}.post_layernorm"), width, true);
    }

    fn text(&mut self, root: &str, layers: usize, head_dim: usize) {
        let (width, queries, keys) = (TEXT_WIDTH, 4 * head_dim, 2 * head_dim);
        self.add(&format!("{root}.embed_tokens.weight"), &[VOCABULARY, width]);
        for i in 0..layers {
            let layer = format!("{root}.layers.{i}");
            for (part, outputs) in [("q_proj", queries), ("k_proj", keys), ("v_proj", keys)] {
                self.linear(&format!("{layer}.self_attn.{part}"), width, outputs, false);
            }
            self.linear(&format!("{layer}.self_attn.o_proj"), queries, width, false);
            self.linear(&format!("{layer}.mlp.gate_proj"), width, 32, false);
            self.linear(&format!("{layer}.mlp.up_proj"), width, 32, false);
            self.linear(&format!("{layer}.mlp.down_proj"), 32, width, false);
            self.norm(&format!("{layer}.input_layernorm"), width, false);
            self.norm(&format!("{layer}.post_attention_layernorm"), width, false);
        }
        self.norm(&format!("{root}.norm"), width, false);
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize, bias: bool) {
        self.add(&format!("{name}.weight"), &[outputs, inputs]);
        if bias {
            self.add(&format!("{name}.bias"), &[outputs]);
        }
    }

    fn norm(&mut self, name: &str, width: usize, bias: bool) {
        self.add(&format!("{name}.weight"), &[width]);
        if bias {
            self.add(&format!("{name}.bias"), &[width]);
        }
    }

    /// Adds a tensor of values that depend on its name alone.
    pub fn add(&mut self, name: &str, shape: &[usize]) {
        let seed = name.bytes().fold(17, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let is_norm_weight = name.contains("norm") && name.ends_with("weight");
        let values = (0..shape.iter().product())
            .map(|_| (generator.next_u32() >> 8) as f32 / (1u32 << 24) as f32 - 0.5)
            .map(|value| if is_norm_weight { 1.0 + value } else { value });
        self.tensors.push((name.to_owned(), shape.to_vec(), values.collect()));
    }

    /// The tensor called `name`.
    pub fn get_mut(&mut self, name: &str) -> &mut (String, Vec<usize>, Vec<f32>) {
        self.tensors.iter_mut().find(|tensor| tensor.0 == name).expect("a tensor of the tiny checkpoint")
    }

    pub fn remove(&mut self, name: &str) {
        self.tensors.retain(|tensor| tensor.0 != name);
    }

    /// The checkpoint, loaded on a device.
    pub fn load(&self, device: &DeviceSelect) -> LlavaModel {
        self.load_on(&Compute::open(device).expect("a device")).expect("a model")
    }

    /// The same on an opened device.
    pub fn load_on(&self, compute: &Compute) -> Result<LlavaModel, Error> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        self.write(folder.path());
        let files = ModelFiles::folder(folder.path())?;
        let config = ModelConfig::from_files(&files)?;
        LlavaModel::load(&Checkpoint::open(&files)?, &config, compute, false)
    }

    /// Writes `config.json` and `model.safetensors` into `folder`.
    pub fn write(&self, folder: &Path) {
        fs::write(folder.join("config.json"), self.config.to_string()).expect("a writable folder");
        let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(name, shape, values)| (name.clone(), shape.clone(), bytemuck::cast_slice(values).to_vec()))
            .collect();
        let views = bytes.iter().map(|(name, shape, bytes)| {
            (name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("bytes of the shape"))
        });
        let file = safetensors::serialize(views, None::<HashMap<String, String>>).expect("serialisable");
        fs::write(folder.join("model.safetensors"), file).expect("a writable folder");
    }
}
