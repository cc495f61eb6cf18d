//! What an answer cost: tokens, bytes, times.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::{
    config::{ModelConfig, VisionConfig},
    device::{DeviceInfo, Work},
    drop::prefill::{Admitted, FilterStep},
    image::Placement,
    model::PrunedFeatures,
};

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
    /// The model produced one of its stop tokens.
    StopToken,
    /// The text reached one of the stop strings.
    StopString,
    /// `max_new_tokens` were produced.
    MaxNewTokens,
    /// Prompt and answer fill the model's context.
    ContextFull,
}

/// Where the time went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Times {
    /// Pixels to decoder embeddings, over all new pictures.
    #[serde(serialize_with = "seconds")]
    pub encode: Duration,
    /// The prompt through the decoder, to the first logits.
    #[serde(serialize_with = "seconds")]
    pub prefill: Duration,
    /// All decode steps after that.
    #[serde(serialize_with = "seconds")]
    pub decode: Duration,
}

/// One answer's account.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The device that computed.
    pub device: DeviceInfo,
    /// Rows of the prompt, pictures included.
    pub prompt_tokens: usize,
    /// Rows of the prompt that stand for pictures.
    pub vision_tokens: usize,
    /// Rows of the prompt that an earlier turn had left in the cache.
    pub reused_tokens: usize,
    /// New pictures that did not have to be encoded: a [`PictureCache`](crate::PictureCache) had them.
    pub cached_pictures: usize,
    /// Tokens produced, a stop token not counted.
    pub new_tokens: usize,
    /// Rows in each decoder layer's cache.
    pub kv_rows_per_layer: Vec<usize>,
    /// Bytes of all caches.
    pub kv_bytes: u64,
    /// What was dropped; `None` where nothing was to be.
    pub pruning: Option<PruningReport>,
    /// Why the answer ended; `None` while it goes on.
    pub stop: Option<StopReason>,
    /// Where the time went.
    pub times: Times,
    /// What the adapter was asked to do; `None` on the CPU path.
    pub work: Option<AnswerWork>,
}

/// What an adapter was asked to do for an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AnswerWork {
    /// From pixels, where those were not encoded before, to the first logits.
    pub prompt: Work,
    /// To choose each token, the first included, and in the steps between; submissions are counted when the answer is
    /// complete.
    pub decode: Work,
}

impl Report {
    /// Steps of the decoder behind the prompt: one for each token but the first, and one for a stop token.
    pub fn decode_steps(&self) -> usize {
        let is_stopped = self.stop == Some(StopReason::StopToken);
        (self.new_tokens + usize::from(is_stopped)).saturating_sub(1)
    }

    /// From the question to the first logits: encoding and prefill.
    pub fn first_token(&self) -> Duration {
        self.times.encode + self.times.prefill
    }
}

/// What the three stages did with the pictures of one question.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PruningReport {
    /// The pictures that were computed for this question.
    pub pictures: Vec<PictureReport>,
    /// Vision tokens that each decoder layer computed.
    pub vision_tokens_per_layer: Vec<usize>,
    /// Their mean: what a budget is about.
    pub mean_vision_tokens: f64,
    /// Floating-point operations of tower and prefill without dropping.
    pub dense_flops: f64,
    /// The same with dropping.
    pub flops: f64,
}

/// What became of one picture's tokens.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PictureReport {
    /// Patches along a side of the model's square.
    pub grid: usize,
    /// Side of the square that the patches cover, in pixels of the model's square.
    pub side: usize,
    /// Where the square lies in the picture.
    pub placement: Placement,
    /// Merged windows (row-major), most similar first.
    pub merged_windows: Vec<usize>,
    /// The mean cosine within each window; empty where none were compared.
    pub window_similarity: Vec<f32>,
    /// Tokens in the tower behind the merge.
    pub tower_tokens: usize,
    /// The patches (raster indices) of each token that entered the decoder.
    pub tokens: Vec<Vec<u32>>,
    /// The attention of `[CLS]` to each of them; empty where it was not asked for.
    pub class_attention: Vec<f32>,
    /// Those that were picked because they cover the picture, the first pick first: all that entered, but where every token
    /// enters, the protected ones alone. Empty where tokens were admitted in another way, or became means.
    pub picks: Vec<usize>,
    /// Indices of the protected tokens.
    pub key_tokens: Vec<usize>,
    /// The tokens that went on behind each pruning layer.
    pub kept: Vec<Kept>,
}

/// The tokens that went on behind a layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Kept {
    /// The layer, counted from 0.
    pub layer: usize,
    /// Indices among the tokens that entered the decoder, ascending.
    pub tokens: Vec<usize>,
    /// How important each token was that was still there, dropped ones included.
    pub importance: Vec<f32>,
}

impl PictureReport {
    /// The report on picture `number` of a pass with these filters.
    pub(crate) fn new(
        pruned: &PrunedFeatures,
        admitted: &Admitted,
        vision: &VisionConfig,
        placement: Placement,
        number: usize,
        steps: &[FilterStep],
    ) -> Self {
        let entered = pruned.entered(admitted);
        let mut alive: Vec<usize> = (0..entered.tokens.len()).collect();
        let mut kept = Vec::new();
        for step in steps {
            if let Some(stayed) = step.kept.get(number) {
                alive = stayed.iter().map(|token| alive[*token]).collect();
                let importance = step.importance.get(number).cloned().unwrap_or_default();
                kept.push(Kept { layer: step.layer, tokens: alive.clone(), importance });
            }
        }
        let (merged_windows, window_similarity) =
            pruned.merge.clone().map_or_else(Default::default, |merge| (merge.windows, merge.similarity));
        Self {
            grid: vision.grid(),
            side: vision.covered_side(),
            placement,
            tower_tokens: pruned.tower_tokens.len(),
            merged_windows,
            window_similarity,
            tokens: entered.tokens.patches,
            class_attention: entered.class_attention.unwrap_or_default(),
            picks: entered.picks.unwrap_or_default(),
            key_tokens: admitted.key_tokens.clone(),
            kept,
        }
    }

    /// Tokens that decoder layer `layer` computes.
    fn computed_in(&self, layer: usize) -> usize {
        let before = self.kept.iter().rev().find(|kept| kept.layer < layer);
        before.map_or(self.tokens.len(), |kept| kept.tokens.len())
    }
}

impl PruningReport {
    /// The account of a pass of `rows` rows, pictures as they entered the decoder included.
    pub(crate) fn new(pictures: Vec<PictureReport>, config: &ModelConfig, rows: usize) -> Self {
        let entered: usize = pictures.iter().map(|picture| picture.tokens.len()).sum();
        let text = rows.saturating_sub(entered);
        let vision_tokens_per_layer: Vec<usize> = (0..config.text.num_hidden_layers)
            .map(|layer| pictures.iter().map(|picture| picture.computed_in(layer)).sum())
            .collect();
        let layers = vision_tokens_per_layer.len();
        let patches = config.vision.patches();
        let dense_layers = vec![pictures.len() * patches; layers];
        let towers = |tokens: &mut dyn Iterator<Item = usize>| -> f64 {
            tokens.map(|tokens| tower_flops(config, tokens)).sum()
        };
        Self {
            mean_vision_tokens: vision_tokens_per_layer.iter().sum::<usize>() as f64 / layers.max(1) as f64,
            dense_flops: decoder_flops(config, &dense_layers, text)
                + towers(&mut pictures.iter().map(|_| patches)),
            flops: decoder_flops(config, &vision_tokens_per_layer, text)
                + towers(&mut pictures.iter().map(|picture| picture.tower_tokens)),
            vision_tokens_per_layer,
            pictures,
        }
    }
}

/// Operations of the vision tower for one picture that has `tokens` tokens behind layer 0, which sees every patch.
pub fn tower_flops(config: &ModelConfig, tokens: usize) -> f64 {
    let vision = &config.vision;
    let layer = |tokens: usize| layer_flops(1 + tokens, vision.hidden_size, 2 * vision.intermediate_size);
    match config.feature_states().into_iter().max().unwrap_or(0) {
        0 => 0.0,
        depth => layer(vision.patches()) + (depth - 1) as f64 * layer(tokens),
    }
}

/// Operations of a prefill with so many vision tokens in each layer, and `text` other rows.
pub fn decoder_flops(config: &ModelConfig, vision_tokens_per_layer: &[usize], text: usize) -> f64 {
    let (width, mlp) = (config.text.hidden_size, 3 * config.text.intermediate_size);
    vision_tokens_per_layer.iter().map(|tokens| layer_flops(tokens + text, width, mlp)).sum()
}

/// `4nd² + 2n²d + nd·m`, the paper's count for one layer with `n` rows of width `d` and MLP matrices of `m`
/// columns together: multiplications paired with additions.
pub fn layer_flops(rows: usize, width: usize, mlp: usize) -> f64 {
    let (n, d) = (rows as f64, width as f64);
    4.0 * n * d * d + 2.0 * n * n * d + n * d * mlp as f64
}

pub(crate) fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
