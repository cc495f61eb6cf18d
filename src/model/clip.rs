//! The vision tower: CLIP's ViT (arXiv 2103.00020, section 2.4).

use burn::tensor::{Tensor, TensorData};

use super::{attention::attention, linear::Linear, loader::Loader, norm::LayerNorm};
use crate::{
    config::{Activation, FeatureSelect, ModelConfig, VisionConfig},
    drop::{
        Pruning,
        token_map::TokenMap,
        vision::{MergePlan, key_tokens},
    },
    error::{Error, Result},
    kernel,
    oracle::vision::WindowSimilarityParams,
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
    /// The layer behind the features, of which only the class token's attention is computed.
    class_attention: Option<ClassAttention>,
}

/// The features of a picture after stage V.
#[derive(Debug, Clone)]
pub struct PrunedFeatures {
    /// `[tokens, width]`
    pub features: Tensor<2>,
    /// Tokens in the tower behind the merge.
    pub tower_tokens: usize,
    /// The patches of every token that enters the decoder.
    pub tokens: TokenMap,
    /// 1 for the tokens of the key token set.
    pub is_key: Vec<u32>,
    /// With a budget: how many tokens go on behind each pruning layer.
    pub sizes: Option<Vec<usize>>,
    /// Merged windows, most similar first; `None` where nothing was to be merged.
    pub merged_windows: Option<Vec<usize>>,
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
            class_attention: match config.class_attention_layer() {
                Some(layer) if loader.has(&format!("{NAME}.encoder.layers.{layer}.layer_norm1.weight")) => {
                    Some(ClassAttention::load(loader, &format!("{NAME}.encoder.layers.{layer}"), vision)?)
                }
                _ => None,
            },
        })
    }

    /// The features of one picture: the hidden states of the configured layers, side by side.
    ///
    /// # Shapes
    ///
    /// `pixels`: `[channels, side, side]`, row-major; result: `[patches, width]`, one row more at the front
    /// (the class token) where the checkpoint selects `full`, and several widths where it names several layers.
    pub fn features(&self, pixels: &[f32]) -> Tensor<2> {
        let states = self.states(self.embed(pixels), 0);
        self.select(states)
    }

    /// The features of one picture with alike windows merged, and what stage V found out about it.
    ///
    /// # Shapes
    ///
    /// As [`features`](Self::features), with a row for each token instead of each patch.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if the checkpoint takes features from before the merge, or lacks the layer behind
    /// them; [`Error::Device`] if the device fails.
    pub fn pruned_features(
        &self,
        pixels: &[f32],
        pruning: &Pruning,
        decoder_layers: usize,
    ) -> Result<PrunedFeatures> {
        let mut state = self.embed(pixels);
        let mut merge = None;
        let mut states = Vec::new();
        let mut done = 0;
        if pruning.merge {
            let Some(first) = self.layers.first().filter(|_| !self.feature_states.contains(&0)) else {
                let found = "a checkpoint that takes features from before layer 0";
                return Err(Error::argument("merge", "features behind layer 0", found));
            };
            let plan;
            (state, plan) = self.merge_windows(first.forward(state), pruning)?;
            merge = Some(plan);
            done = 1;
        }
        states.extend(self.states(state, done));
        let tokens =
            merge.as_ref().map_or_else(|| TokenMap::dense(self.config.patches()), |plan| plan.tokens.clone());
        let places = match (&self.class_attention, states.last()) {
            _ if !pruning.filter => None,
            (Some(layer), Some(last)) => Some(layer.places(last)?),
            _ => {
                let found = "a checkpoint without the layer behind its features";
                return Err(Error::argument("filter", "a vision layer whose [CLS] names key tokens", found));
            }
        };
        let tower_tokens = tokens.len();
        let keys = key_tokens(pruning.keep_rate, tokens.len()) as u32;
        let mut sizes = pruning.schedule(self.config.patches(), tokens.len(), decoder_layers)?;
        let enter = sizes.as_mut().map_or(tokens.len(), |sizes| sizes.remove(0));

        let mut features = self.select(states);
        // With strategy `full`, the class token goes first, stands for no patch and is protected.
        let extra = features.dims()[0] - tokens.len();
        let mut rows: Vec<u32> = (0..extra as u32).collect();
        let mut patches = vec![Vec::new(); extra];
        let mut is_key = vec![1; extra];
        for (token, stands_for) in tokens.patches.into_iter().enumerate() {
            let place = places.as_ref().map_or(0, |places| places[token]);
            if (place as usize) < enter {
                rows.push((extra + token) as u32);
                patches.push(stands_for);
                is_key.push(u32::from(places.is_some() && place < keys));
            }
        }
        if rows.len() < features.dims()[0] {
            let count = rows.len();
            features =
                kernel::decode::gather_rows(&features, &kernel::integers(rows, [count], &features.device()));
        }
        Ok(PrunedFeatures {
            features,
            tower_tokens,
            tokens: TokenMap { patches },
            is_key,
            sizes: sizes.map(|sizes| sizes.into_iter().map(|size| size + extra).collect()),
            merged_windows: merge.map(|plan| plan.windows),
        })
    }

    /// Merges windows behind layer 0; one small read-back.
    fn merge_windows(&self, state: Tensor<2>, pruning: &Pruning) -> Result<(Tensor<2>, MergePlan)> {
        let params = WindowSimilarityParams {
            grid: self.config.grid() as u32,
            window: pruning.window as u32,
            first: 1,
            width: self.config.hidden_size as u32,
        };
        let similarity = kernel::vision::window_similarity(&state, params);
        let similarity = kernel::read_numbers(similarity, "compare the patches of each window")?;
        let plan = MergePlan::new(&similarity, &params, pruning);
        let members = pruning.window * pruning.window;
        let member = kernel::integers(
            plan.members(params.first, members),
            [plan.tokens.len() + params.first as usize, members],
            &state.device(),
        );
        Ok((kernel::vision::window_merge(&state, &member), plan))
    }

    /// The states after `done` layers and after each further one: `state` itself comes first.
    fn states(&self, state: Tensor<2>, done: usize) -> Vec<Tensor<2>> {
        let mut states = vec![state];
        for layer in self.layers.iter().skip(done) {
            let next = layer.forward(states[states.len() - 1].clone());
            states.push(next);
        }
        states
    }

    /// The features among the last states of a pass.
    fn select(&self, states: Vec<Tensor<2>>) -> Tensor<2> {
        // States are counted over (embeddings, layer outputs…); a pass that merged begins behind the first.
        let missing = self.layers.len() + 1 - states.len();
        let mut features: Vec<_> =
            self.feature_states.iter().filter_map(|index| states.get(index - missing).cloned()).collect();
        let features = if features.len() == 1 { features.remove(0) } else { Tensor::cat(features, 1) };
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

/// What the class token attends to in a layer that is not run otherwise.
#[derive(Debug, Clone)]
struct ClassAttention {
    norm: LayerNorm,
    query: Linear,
    key: Linear,
    heads: usize,
}

impl ClassAttention {
    fn load(loader: &Loader, name: &str, config: &VisionConfig) -> Result<Self> {
        let width = config.hidden_size;
        let projection = |part: &str| loader.linear(&format!("{name}.self_attn.{part}"), width, width, true);
        Ok(Self {
            norm: loader.layer_norm(&format!("{name}.layer_norm1"), width, config.layer_norm_eps)?,
            query: projection("q_proj")?,
            key: projection("k_proj")?,
            heads: config.num_attention_heads,
        })
    }

    /// Each token's place in the order of attention from `[CLS]`, 0 for the most, given the layer's input
    /// `[1 + tokens, width]`; one small read-back.
    ///
    /// The attention of `[CLS]` to token `j` is the mean over heads of its softmax weight, the denominator
    /// covering all rows.
    fn places(&self, state: &Tensor<2>) -> Result<Vec<u32>> {
        let [rows, width] = state.dims();
        let normed = self.norm.forward(state.clone());
        let class = normed.clone().slice([0..1]);
        let query = self.query.forward(class).reshape([1, self.heads, width / self.heads]);
        let key = self.key.forward(normed).reshape([rows, self.heads, width / self.heads]);
        let log_sum = kernel::prefill::log_sum_exp(&query, &key, rows);
        let (attention, _) = kernel::prefill::text_attention(&query, &key, &log_sum, 1, rows - 1);
        let preferred = kernel::integers(vec![0; rows - 1], [rows - 1], &state.device());
        let place = kernel::prefill::rank(&attention, &preferred);
        kernel::read_integers(place, "choose the key token set")
    }
}
