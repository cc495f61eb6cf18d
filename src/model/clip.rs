//! The vision tower: CLIP's ViT (arXiv 2103.00020, section 2.4).

use burn::tensor::{Tensor, TensorData};

use super::{attention::attention, linear::Linear, loader::Loader, norm::LayerNorm};
use crate::{
    config::{Activation, FeatureSelect, ModelConfig, VisionConfig},
    error::Result,
};

/// A ViT with a class token, learned positions and a normalisation before its first layer.
#[derive(Debug, Clone)]
pub struct VisionTower {
    patch_embedding: Linear,
    class_embedding: Tensor<1>,
    position_embedding: Tensor<2>,
    pre_norm: LayerNorm,
    layers: Vec<EncoderLayer>,
    config: VisionConfig,
    /// Indices into `(embeddings, layer outputs…)` whose states are the features.
    feature_states: Vec<usize>,
    select: FeatureSelect,
}

impl VisionTower {
    /// Loads the tower up to the last layer whose output is used.
    pub fn load(loader: &Loader, config: &ModelConfig) -> Result<Self> {
        const NAME: &str = "vision_tower";
        let vision = &config.vision;
        let width = vision.hidden_size;
        let feature_states = config.feature_states();
        let needed = feature_states.iter().copied().max().unwrap_or(0);
        let patch = [width, vision.num_channels, vision.patch_size, vision.patch_size];
        Ok(Self {
            patch_embedding: loader
                .flattened(&format!("{NAME}.embeddings.patch_embedding.weight"), &patch)?,
            class_embedding: loader.vector(&format!("{NAME}.embeddings.class_embedding"), width)?,
            position_embedding: loader.table(
                &format!("{NAME}.embeddings.position_embedding.weight"),
                vision.patches() + 1,
                width,
            )?,
            pre_norm: loader.layer_norm(&format!("{NAME}.pre_layrnorm"), width, vision.layer_norm_eps)?,
            layers: (0..needed)
                .map(|i| EncoderLayer::load(loader, &format!("{NAME}.encoder.layers.{i}"), vision))
                .collect::<Result<_>>()?,
            config: vision.clone(),
            feature_states,
            select: config.feature_select,
        })
    }

    /// The features of one picture: the hidden states of the configured layers, side by side.
    ///
    /// # Shapes
    ///
    /// `pixels`: `[channels, side, side]`, row-major; result: `[patches, width]`, one row more at the front
    /// (the class token) where the checkpoint selects `full`, and several widths where it names several layers.
    pub fn features(&self, pixels: &[f32]) -> Tensor<2> {
        let mut state = self.embed(pixels);
        let mut states: Vec<Option<Tensor<2>>> = vec![None; self.feature_states.len()];
        for index in 0..=self.layers.len() {
            if let Some(layer) = index.checked_sub(1).and_then(|i| self.layers.get(i)) {
                state = layer.forward(state);
            }
            for (wanted, kept) in self.feature_states.iter().zip(&mut states) {
                if *wanted == index {
                    *kept = Some(state.clone());
                }
            }
        }
        let mut states: Vec<_> = states.into_iter().flatten().collect();
        let features = if states.len() == 1 { states.remove(0) } else { Tensor::cat(states, 1) };
        match self.select {
            FeatureSelect::Default => {
                let rows = features.dims()[0];
                features.slice([1..rows])
            }
            FeatureSelect::Full => features,
        }
    }

    /// Patch embeddings behind the class token, with positions, normalised: the input of layer 0.
    fn embed(&self, pixels: &[f32]) -> Tensor<2> {
        let (patches, width) = (self.config.patches(), self.config.patch_values());
        let patches = TensorData::new(unfold(pixels, &self.config), [patches, width]);
        let patches = Tensor::from_data(patches, &self.class_embedding.device());
        let embedded = self.patch_embedding.forward(patches);
        let rows = Tensor::cat(vec![self.class_embedding.clone().unsqueeze(), embedded], 0);
        self.pre_norm.forward(rows + self.position_embedding.clone())
    }
}

/// The pixels of every patch as one row, in the order of the patch convolution's kernel.
///
/// # Shapes
///
/// `[channels, side, side]` to `[patches, channels * patch_size * patch_size]`.
fn unfold(pixels: &[f32], config: &VisionConfig) -> Vec<f32> {
    let (side, patch, grid) = (config.image_size, config.patch_size, config.grid());
    let mut rows = Vec::with_capacity(pixels.len());
    for top in (0..grid).map(|row| row * patch) {
        for left in (0..grid).map(|column| column * patch) {
            for channel in pixels.chunks_exact(side * side) {
                for line in channel.chunks_exact(side).skip(top).take(patch) {
                    rows.extend_from_slice(&line[left..left + patch]);
                }
            }
        }
    }
    rows
}

/// One pre-norm transformer layer of the tower.
#[derive(Debug, Clone)]
struct EncoderLayer {
    norm1: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
    activation: Activation,
}

impl EncoderLayer {
    fn load(loader: &Loader, name: &str, config: &VisionConfig) -> Result<Self> {
        let (width, inner, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let projection = |part: &str| loader.linear(&format!("{name}.self_attn.{part}"), width, width, true);
        let layer = Self {
            norm1: loader.layer_norm(&format!("{name}.layer_norm1"), width, eps)?,
            query: projection("q_proj")?,
            key: projection("k_proj")?,
            value: projection("v_proj")?,
            out: projection("out_proj")?,
            norm2: loader.layer_norm(&format!("{name}.layer_norm2"), width, eps)?,
            fc1: loader.linear(&format!("{name}.mlp.fc1"), width, inner, true)?,
            fc2: loader.linear(&format!("{name}.mlp.fc2"), inner, width, true)?,
            heads: config.num_attention_heads,
            activation: config.hidden_act,
        };
        loader.settle()?;
        Ok(layer)
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let normed = self.norm1.forward(x.clone());
        let [rows, width] = normed.dims();
        let heads = |projection: &Linear| {
            projection.forward(normed.clone()).reshape([rows, self.heads, width / self.heads])
        };
        let attended = attention(heads(&self.query), heads(&self.key), heads(&self.value), None);
        let x = x + self.out.forward(attended);
        let inner = self.activation.forward(self.fc1.forward(self.norm2.forward(x.clone())));
        x + self.fc2.forward(inner)
    }
}
