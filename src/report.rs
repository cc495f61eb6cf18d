//! What an answer cost: tokens, bytes, times.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::device::DeviceInfo;

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
    /// Tokens produced, a stop token not counted.
    pub new_tokens: usize,
    /// Rows in each decoder layer's cache.
    pub kv_rows_per_layer: Vec<usize>,
    /// Bytes of all caches.
    pub kv_bytes: u64,
    /// Why the answer ended; `None` while it goes on.
    pub stop: Option<StopReason>,
    /// Where the time went.
    pub times: Times,
}

impl Report {
    /// From the question to the first logits: encoding and prefill.
    pub fn first_token(&self) -> Duration {
        self.times.encode + self.times.prefill
    }
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
