//! The vision tower: CLIP's ViT (arXiv 2103.00020, section 2.4) or SigLIP's.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use super::{
    class_attention::ClassAttention,
    linear::Linear,
    loader::{Loader, Order},
    norm::LayerNorm,
};
use crate::{
    cancel,
    config::{Activation, FeatureSelect, ModelConfig, VisionConfig, VisionKind},
    error::Result,
    kernel::{attention::packed_attention, from_host, product::Around, variants::Variants},
};

/// A ViT with learned positions; CLIP's has a class token and a normalisation before its first layer, SigLIP's
/// (arXiv 2303.15343) neither.
#[derive(Debug, Clone)]
pub struct VisionTower {
    patch_embedding: Linear,
    class_embedding: Option<Tensor<1>>,
    position_embedding: Tensor<2>,
    pre_norm: Option<LayerNorm>,
    pub(super) layers: Vec<EncoderLayer>,
    pub(super) config: VisionConfig,
    /// Indices into `(embeddings, layer outputs…)` whose states are the features.
    pub(super) feature_states: Vec<usize>,
    pub(super) select: FeatureSelect,
    /// Of the layer behind the features, or of the last one.
    pub(super) class_attention: ClassAttention,
    /// The layer whose attention that is.
    class_attention_layer: usize,
}

impl VisionTower {
    /// Loads the tower up to the last layer whose output is used.
    pub fn load(loader: &Loader, config: &ModelConfig) -> Result<Self> {
        const NAME: &str = "vision_tower";
        let vision = &config.vision;
        let width = vision.hidden_size;
        let feature_states = config.feature_states();
        let needed = feature_states.iter().copied().max().unwrap_or(0);
        let embeddings = format!("{NAME}.embeddings");
        let patch = [width, vision.num_channels, vision.patch_size, vision.patch_size];
        let is_clip = vision.kind == VisionKind::Clip;
        let layer_name = |layer: usize| format!("{NAME}.encoder.layers.{layer}");
        let is_stored = |layer: &usize| loader.has(&format!("{}.layer_norm1.weight", layer_name(*layer)));
        let class_attention_layer = Some(config.class_attention_layer()).filter(is_stored);
        let class_attention_layer = class_attention_layer.unwrap_or(needed.saturating_sub(1));
        Ok(Self {
            patch_embedding: loader.flattened(&format!("{embeddings}.patch_embedding"), &patch, !is_clip)?,
            class_embedding: match is_clip {
                true => Some(loader.vector(&format!("{embeddings}.class_embedding"), width)?),
                false => None,
            },
            position_embedding: loader.table(
                &format!("{embeddings}.position_embedding.weight"),
                vision.patches() + vision.kind.classes(),
                width,
            )?,
            pre_norm: match is_clip {
                true => {
                    Some(loader.layer_norm(&format!("{NAME}.pre_layrnorm"), width, vision.layer_norm_eps)?)
                }
                false => None,
            },
            layers: (0..needed)
                .map(|layer| EncoderLayer::load(loader, &layer_name(layer), vision))
                .collect::<Result<_>>()?,
            config: vision.clone(),
            feature_states,
            select: config.feature_select,
            class_attention: ClassAttention::load(loader, &layer_name(class_attention_layer), vision)?,
            class_attention_layer,
        })
    }

    /// Class tokens in front of the patches.
    pub(super) fn classes(&self) -> usize {
        self.config.kind.classes()
    }

    /// The features of one square: the hidden states of the configured layers, side by side.
    ///
    /// # Shapes
    ///
    /// `pixels`: `[channels, side, side]`, row-major; result: `[patches, width]`, one row more at the front
    /// (the class token) where the checkpoint selects `full`, and several widths where it names several layers.
    pub fn features(&self, pixels: &[f32]) -> Tensor<2> {
        self.features_of(&[pixels]).remove(0)
    }

    /// The features of several squares, as many in one pass as their activations may take.
    pub fn features_of(&self, tiles: &[&[f32]]) -> Vec<Tensor<2>> {
        let batches = tiles.chunks(self.config.squares_at_once()).flat_map(|batch| {
            let states = batch.iter().map(|pixels| self.embed(pixels)).collect();
            self.run(states, 0)
        });
        batches.map(|seen| seen.features).collect()
    }

    /// Runs the layers behind the first `done` over the states of some squares together: products see all their rows, attention
    /// each square's own.
    pub(super) fn run(&self, states: Vec<Tensor<2>>, done: usize) -> Vec<Seen> {
        let lengths: Vec<usize> = states.iter().map(|state| state.dims()[0]).collect();
        let mut state = one_behind_the_other(states);
        // A pass that merged has no state from before the merge; the merged one is the nearest.
        let seen_by_class_attention = self.class_attention_layer.max(done);
        let mut wanted = BTreeMap::new();
        for index in done..=self.layers.len() {
            if index > done && !cancel::is_due() {
                state = self.layers[index - 1].forward(state, &lengths);
            }
            if index == seen_by_class_attention || self.feature_states.contains(&index) {
                wanted.insert(index, state.clone());
            }
        }
        let mut features: Vec<_> =
            self.feature_states.iter().filter_map(|index| wanted.get(index).cloned()).collect();
        let features = if features.len() == 1 { features.remove(0) } else { Tensor::cat(features, 1) };
        let seen = wanted.remove(&seen_by_class_attention).unwrap_or(state);
        let cut = self.classes() - self.select.classes(self.config.kind);
        let of_square = |(start, length): (usize, usize)| {
            let rows = |x: &Tensor<2>, first: usize| match (first, length == x.dims()[0]) {
                (0, true) => x.clone(),
                _ => x.clone().slice([start + first..start + length]),
            };
            Seen { features: rows(&features, cut), seen: rows(&seen, 0) }
        };
        starts(&lengths).zip(lengths.iter().copied()).map(of_square).collect()
    }

    /// Patch embeddings behind the class token, with positions, normalised: the input of layer 0.
    pub(super) fn embed(&self, pixels: &[f32]) -> Tensor<2> {
        let shape = [self.config.patches(), self.config.patch_values()];
        let patches = unfold(pixels, &self.config);
        let patches = from_host(patches, shape, &self.position_embedding.device());
        let mut rows = self.patch_embedding.forward(&patches);
        if let Some(class) = &self.class_embedding {
            rows = Tensor::cat(vec![class.clone().unsqueeze(), rows], 0);
        }
        let rows = rows + self.position_embedding.clone();
        match &self.pre_norm {
            Some(norm) => norm.forward(&rows),
            None => rows,
        }
    }
}

/// What a pass leaves of a square.
pub(super) struct Seen {
    /// `[classes + tokens, width]`
    pub features: Tensor<2>,
    /// The input of the layer whose attention names key tokens.
    pub seen: Tensor<2>,
}

/// Where squares of so many rows begin.
fn starts(lengths: &[usize]) -> impl Iterator<Item = usize> {
    lengths.iter().scan(0, |start, length| Some(std::mem::replace(start, *start + length)))
}

/// All rows; those of one square are no copy.
fn one_behind_the_other(mut squares: Vec<Tensor<2>>) -> Tensor<2> {
    if squares.len() == 1 { squares.remove(0) } else { Tensor::cat(squares, 0) }
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
pub(super) struct EncoderLayer {
    norm1: LayerNorm,
    /// Queries, keys and values.
    projections: Linear,
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
    activation: Activation,
    variants: Variants,
}

impl EncoderLayer {
    fn load(loader: &Loader, name: &str, config: &VisionConfig) -> Result<Self> {
        let (width, inner, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let attention = |part: &str| format!("{name}.self_attn.{part}");
        let projections = ["q_proj", "k_proj", "v_proj"].map(|part| (attention(part), width));
        let layer = Self {
            norm1: loader.layer_norm(&format!("{name}.layer_norm1"), width, eps)?,
            projections: loader.joined(&projections, width, true, Order::Behind)?,
            out: loader.linear(&attention("out_proj"), width, width, true)?,
            norm2: loader.layer_norm(&format!("{name}.layer_norm2"), width, eps)?,
            fc1: loader.linear(&format!("{name}.mlp.fc1"), width, inner, true)?,
            fc2: loader.linear(&format!("{name}.mlp.fc2"), inner, width, true)?,
            heads: config.num_attention_heads,
            activation: config.hidden_act,
            variants: loader.variants(),
        };
        loader.settle()?;
        Ok(layer)
    }

    /// Squares of so many rows each stand behind each other.
    pub(super) fn forward(&self, x: Tensor<2>, lengths: &[usize]) -> Tensor<2> {
        let projected = self.projections.forward(&self.norm1.forward(&x));
        let of_square = |(start, length): (usize, usize)| {
            let own = if lengths.len() == 1 {
                projected.clone()
            } else {
                projected.clone().slice([start..start + length])
            };
            packed_attention(&own, self.heads, self.variants)
        };
        let attended = starts(lengths).zip(lengths.iter().copied()).map(of_square);
        let attended = one_behind_the_other(attended.collect());
        let x = self.out.forward_within(&attended, &Around { residual: Some(&x), ..Around::default() });
        let activated = Around { activation: Some(self.activation), ..Around::default() };
        let inner = self.fc1.forward_within(&self.norm2.forward(&x), &activated);
        self.fc2.forward_within(&inner, &Around { residual: Some(&x), ..Around::default() })
    }
}
