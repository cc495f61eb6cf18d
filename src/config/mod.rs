//! A model's JSON files as types: every value checked, every unsupported one an error that names it.
//!
//! Fields that a file leaves out take the defaults of transformers' `LlavaConfig`, `CLIPVisionConfig`,
//! `LlamaConfig` and `MistralConfig`; transformers does not write a field that has its default value, so the
//! `text_config` of a real LLaVA is nearly empty.

mod activation;
mod family;
mod fields;
mod generation;
mod gguf;
mod preprocessor;
mod rope;
pub mod shapes;
mod text;
mod vision;

use std::path::Path;

use serde_json::Value;

use crate::{
    checkpoint::{Checkpoint, ModelFiles},
    error::{Error, Result},
    image::Fit,
    tiling::{PictureShape, Size, Tiling},
};
use family::{FAMILIES, Family};
use fields::Fields;

pub use activation::Activation;
pub(crate) use fields::parse as parse_json;
pub use generation::GenerationDefaults;
pub use preprocessor::preprocessor;
pub use rope::RopeScaling;
pub use shapes::Shape;
pub use text::{TextConfig, TieWordEmbeddings};
pub use vision::{VisionConfig, VisionKind};

/// What a model may ask for: far above any real model, far below what could overflow a product of sizes.
mod limits {
    use std::ops::RangeInclusive;

    pub const WIDTH: usize = 1 << 16;
    pub const INNER_WIDTH: usize = 1 << 18;
    pub const HEADS: usize = 1 << 12;
    pub const HEAD_WIDTH: usize = 1 << 12;
    pub const LAYERS: usize = 1 << 10;
    pub const VOCABULARY: usize = 1 << 22;
    pub const POSITIONS: usize = 1 << 24;
    pub const IMAGE_SIDE: usize = 1 << 12;
    pub const FEATURE_LAYERS: usize = 64;
    pub const PINPOINTS: usize = 256;
    pub const TILES: usize = 64;
    pub const DETAIL_PIXELS: usize = 1 << 24;
    pub const EPSILON: RangeInclusive<f64> = 1e-20..=1e-1;
    pub const THETA: RangeInclusive<f64> = 1.0..=1e12;
    pub const FACTOR: RangeInclusive<f64> = 1.0..=1e4;
}

/// The shape of a LLaVA (`config.json`): vision tower, projector and language model.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ModelConfig {
    /// The vision tower.
    pub vision: VisionConfig,
    /// The language model.
    pub text: TextConfig,
    /// The activation function between the projector's two linear layers.
    pub projector_activation: Activation,
    /// Whether the projector's linear layers have a bias.
    pub projector_bias: bool,
    /// The token that stands for a picture in the prompt; it is never embedded, so the vocabulary may end
    /// before it.
    pub image_token: u32,
    /// Which hidden states of the vision tower the projector sees.
    pub feature_layers: FeatureLayers,
    /// Which tokens of those hidden states the projector sees.
    pub feature_select: FeatureSelect,
    /// How pictures become squares for the tower.
    pub tiling: Tiling,
    /// The token that stands for a video, if the model knows one; no prompt may have it.
    pub video_token: Option<u32>,
}

/// Which hidden states of the vision tower the projector sees, side by side (`vision_feature_layer`).
///
/// Hidden state 0 is the output of the embeddings, `k` that of the `k`-th layer counted from 1; negative
/// numbers count from the end, so -2 is the output of the last layer but one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureLayers(Vec<i64>);

impl FeatureLayers {
    /// The numbers as the configuration has them: at least one.
    pub fn as_slice(&self) -> &[i64] {
        &self.0
    }

    fn read(config: &Fields, vision: &VisionConfig, default: i64) -> Result<Self> {
        let name = "vision_feature_layer";
        let layers = match config.get(name) {
            None => Some(vec![default]),
            Some(Value::Array(layers)) => layers.iter().map(Value::as_i64).collect(),
            Some(layer) => layer.as_i64().map(|layer| vec![layer]),
        };
        let count = vision.num_hidden_layers;
        let fits = |layers: &Vec<i64>| {
            (1..=limits::FEATURE_LAYERS).contains(&layers.len())
                && layers.iter().all(|layer| hidden_state(*layer, count).is_some())
        };
        layers.filter(fits).map(Self).ok_or_else(|| {
            let range = format!("whole numbers from -{} to {count}", count + 1);
            config.unexpected(name, format!("one or a list of 1 to {} {range}", limits::FEATURE_LAYERS))
        })
    }
}

/// The hidden state that `layer` means, counted from the embeddings on.
fn hidden_state(layer: i64, layers: usize) -> Option<usize> {
    let states = layers.checked_add(1)?;
    let magnitude = usize::try_from(layer.unsigned_abs()).ok()?;
    if layer < 0 { states.checked_sub(magnitude) } else { Some(magnitude).filter(|state| *state < states) }
}

/// Which tokens of the vision tower the projector sees (`vision_feature_select_strategy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FeatureSelect {
    /// The patches: all but \[CLS\].
    Default,
    /// All, \[CLS\] included.
    Full,
}

impl FeatureSelect {
    /// Class tokens among the features of a tower of this kind.
    pub fn classes(self, tower: VisionKind) -> usize {
        match self {
            Self::Default => 0,
            Self::Full => tower.classes(),
        }
    }
}

impl ModelConfig {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// [`Error::Model`] if the file is missing, or as [`Self::parse`].
    pub fn from_files(files: &ModelFiles) -> Result<Self> {
        let name = "config.json";
        let path = files.path(name);
        match files.read(name)? {
            Some(json) => Self::parse(&json, &path),
            None => Err(Error::model(path, "not found; every model folder of the hub has one")),
        }
    }

    /// Reads the text of a `config.json`; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Model`] naming the first field whose value is malformed, out of range or not supported.
    pub fn parse(json: &[u8], path: &Path) -> Result<Self> {
        let value = fields::parse(json, path)?;
        let config = Fields::of_file(&value, path)?;
        let family = read_family(&config)?;
        let vision = VisionConfig::read(&config, family.vision)?;
        let text = TextConfig::read(&config, family.text)?;
        let tiling = family.tiling(&config, vision.image_size)?;
        Ok(Self {
            projector_activation: Activation::read(&config, "projector_hidden_act", Activation::Gelu)?,
            projector_bias: config.flag("multimodal_projector_bias", true)?,
            image_token: read_token(&config, ["image_token_index", "image_token_id"], family.image_token)?,
            video_token: match family.video_token {
                None => None,
                Some(token) => Some(read_token(&config, ["video_token_index", "video_token_id"], token)?),
            },
            feature_layers: FeatureLayers::read(&config, &vision, family.feature_layer)?,
            feature_select: read_feature_select(&config, &family, &vision, &tiling)?,
            tiling,
            vision,
            text,
        })
    }

    /// What the tower sees of a picture of this size, and the tokens it is in the prompt; `alone` says whether the prompt has no
    /// other.
    pub fn picture_shape(&self, picture: Size, alone: bool) -> PictureShape {
        self.tiling.shape(picture, self.geometry(), alone)
    }

    /// The shape of the most tokens that a picture may have.
    pub fn largest_picture(&self) -> PictureShape {
        self.tiling.largest(self.geometry())
    }

    /// The way in which pictures that are not square become square, if the model leaves the choice.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a model that sees pictures in tiles.
    pub fn fit(&self, fit: Fit) -> Result<Fit> {
        match self.tiling {
            Tiling::Square => Ok(fit),
            Tiling::AnyResolution(_) => {
                let expected = "none with a model that sees a whole picture and its tiles";
                Err(Error::argument("--fit", expected, fit.to_string()))
            }
        }
    }

    /// Side of the tower's square in pixels and in patches, and class tokens among the features.
    fn geometry(&self) -> (usize, usize, usize) {
        (self.vision.image_size, self.vision.grid(), self.feature_select.classes(self.vision.kind))
    }

    /// The hidden states that are the features, counted from the embeddings (0) on: at least one.
    pub fn feature_states(&self) -> Vec<usize> {
        let layers = self.vision.num_hidden_layers;
        self.feature_layers.0.iter().filter_map(|layer| hidden_state(*layer, layers)).collect()
    }

    /// The vision layer whose attention names the key tokens: the one behind the last feature, or the tower's last.
    pub fn class_attention_layer(&self) -> usize {
        let needed = self.feature_states().into_iter().max().unwrap_or(0);
        needed.min(self.vision.num_hidden_layers - 1)
    }

    /// Whether a tensor (by its canonical name) belongs to a vision layer behind the last feature.
    pub fn is_beyond_features(&self, name: &str) -> bool {
        let needed = self.feature_states().into_iter().max().unwrap_or(0);
        name.strip_prefix("vision_tower.encoder.layers.")
            .and_then(|rest| rest.split_once('.')?.0.parse().ok())
            .is_some_and(|layer: usize| (needed..self.vision.num_hidden_layers).contains(&layer))
    }

    /// Whether the language model head is the embedding table, given what the checkpoint stores.
    ///
    /// A stored head that differs from the table is the head, whatever the configuration says, as in transformers 5.
    pub fn tied_head(&self, checkpoint: &Checkpoint) -> bool {
        self.text.tie_word_embeddings.resolve(checkpoint.has("lm_head.weight"))
            && !checkpoint.differ("lm_head.weight", "language_model.embed_tokens.weight")
    }
}

fn read_family(config: &Fields) -> Result<Family> {
    let family = config.one_of("model_type", &FAMILIES)?;
    if config.has("mm_vision_tower") {
        return Err(config.problem(
            "mm_vision_tower",
            "this is a checkpoint of the original LLaVA code; expected its Hugging Face conversion, such as \
             llava-hf/llava-1.5-7b-hf",
        ));
    }
    if config.has("quantization_config") {
        return Err(config.problem(
            "quantization_config",
            "the checkpoint is stored quantised; expected one in float32, float16 or bfloat16",
        ));
    }
    Ok(family)
}

fn read_feature_select(
    config: &Fields,
    family: &Family,
    vision: &VisionConfig,
    tiling: &Tiling,
) -> Result<FeatureSelect> {
    let name = "vision_feature_select_strategy";
    let strategies = [("default", FeatureSelect::Default), ("full", FeatureSelect::Full)];
    let select = config.choice(name, family.feature_select, &strategies)?;
    match (vision.kind.classes(), select) {
        // transformers would cut off the first patch in place of the class token.
        (0, FeatureSelect::Default) => {
            Err(config.unexpected(name, "\"full\", as the vision tower has no class token"))
        }
        (1.., FeatureSelect::Full) if *tiling != Tiling::Square => {
            Err(config.unexpected(name, "\"default\", as a class token has no place among tiles"))
        }
        _ => Ok(select),
    }
}

/// A token's id, by its old name and its new one.
fn read_token(config: &Fields, [old, new]: [&str; 2], default: usize) -> Result<u32> {
    let range = || 0..=limits::VOCABULARY;
    let token = match config.optional_count(new, range())? {
        Some(token) if config.count(old, token, range())? != token => {
            return Err(config.unexpected(old, format!("{token}, as {new} has it")));
        }
        Some(token) => token,
        None => config.count(old, default, range())?,
    };
    u32::try_from(token).map_err(|_| config.unexpected(old, "a token id"))
}
