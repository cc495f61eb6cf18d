//! What an answer cost: tokens, bytes, times.

mod picture;

use std::time::Duration;

use serde::{Serialize, Serializer};

pub use picture::{Kept, PictureReport, TileReport, TokenPlace};

use crate::{
    config::ModelConfig,
    device::{DeviceInfo, Work},
    drop::missed::Share,
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
    /// The same if no token had been kept out of the decoder.
    pub dense_vision_tokens: usize,
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
    /// Of a later question about pictures that filters dropped tokens of: how much it attends to those, in the last layer that
    /// holds them. Behind it the question does without. `None` where nothing was dropped, or the question chose anew.
    pub missed: Option<Share>,
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

impl PruningReport {
    /// The account of a pass of `rows` rows, pictures as they entered the decoder included.
    pub(crate) fn new(pictures: Vec<PictureReport>, config: &ModelConfig, rows: usize) -> Self {
        let entered: usize = pictures.iter().map(|picture| picture.tokens.len()).sum();
        let text = rows.saturating_sub(entered);
        let vision_tokens_per_layer: Vec<usize> = (0..config.text.num_hidden_layers)
            .map(|layer| pictures.iter().map(|picture| picture.computed_in(layer)).sum())
            .collect();
        let layers = vision_tokens_per_layer.len();
        let dense_tokens: usize = pictures.iter().map(|picture| picture.dense_tokens).sum();
        let dense_layers = vec![dense_tokens; layers];
        let tiles = || pictures.iter().flat_map(|picture| &picture.tiles);
        let patches = config.vision.patches();
        Self {
            mean_vision_tokens: vision_tokens_per_layer.iter().sum::<usize>() as f64 / layers.max(1) as f64,
            dense_flops: decoder_flops(config, &dense_layers, text)
                + tiles().map(|_| tower_flops(config, patches)).sum::<f64>(),
            flops: decoder_flops(config, &vision_tokens_per_layer, text)
                + tiles().map(|tile| tower_flops(config, tile.tokens)).sum::<f64>(),
            vision_tokens_per_layer,
            pictures,
        }
    }
}

/// Operations of the vision tower for one tile that has `tokens` tokens behind layer 0, which sees every patch.
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
