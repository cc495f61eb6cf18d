//! The bodies of answers, as OpenAI's clients read them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use utoipa::ToSchema;

use super::{conversation::random, worker::Finished};
use crate::report::{Report, StopReason};

/// A whole answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Completion {
    #[serde(flatten)]
    pub head: Head,
    pub choices: [Choice; 1],
    pub usage: Usage,
    #[schema(value_type = Object)]
    pub mustdrop: Account,
}

/// A piece of a streamed answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Chunk {
    #[serde(flatten)]
    pub head: Head,
    /// Empty in the last event, which has the usage.
    pub choices: Vec<ChunkChoice>,
    /// There if asked for, and null in all events but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Usage>)]
    pub usage: Option<Option<Usage>>,
    /// In the event that has the reason of the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub mustdrop: Option<Account>,
}

/// What all pieces of an answer have in common.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Head {
    pub id: String,
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    pub model: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Choice {
    pub index: u32,
    pub message: Answer,
    /// Always null.
    #[schema(value_type = Option<Object>)]
    pub logprobs: Option<()>,
    /// `stop`, or `length` where the token limit or the context ended it.
    pub finish_reason: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Answer {
    pub role: &'static str,
    pub content: String,
    /// Always null.
    #[schema(value_type = Option<String>)]
    pub refusal: Option<()>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChunkChoice {
    pub index: u32,
    pub delta: Delta,
    /// Always null.
    #[schema(value_type = Option<Object>)]
    pub logprobs: Option<()>,
    /// Null until the answer ends.
    pub finish_reason: Option<&'static str>,
}

#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// Tokens.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(super) struct Usage {
    /// Rows that entered the decoder: text, and what was let in of the pictures.
    pub prompt_tokens: usize,
    pub completion_tokens: usize,
    pub total_tokens: usize,
    /// Tokens of all pictures where none is dropped.
    pub image_tokens: usize,
    /// What the decoder computed of them: the mean over its layers, rounded.
    pub image_tokens_kept: usize,
}

/// What `mustdrop describe --json` tells of an answer, and the wait for it.
#[derive(Debug, Serialize)]
pub(super) struct Account {
    /// Seconds in line.
    pub queued: f64,
    #[serde(flatten)]
    pub report: Report,
}

impl Head {
    /// The head of a new answer.
    pub fn new(object: &'static str, model: &str) -> Self {
        let id = format!("chatcmpl-{:016x}{:016x}", random(), random());
        Self { id, object, created: now(), model: model.to_owned() }
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

impl Usage {
    pub fn new(finished: &Finished) -> Self {
        let report = &finished.report;
        let kept = report.pruning.as_ref().map(|pruning| pruning.mean_vision_tokens.round() as usize);
        Self {
            prompt_tokens: report.prompt_tokens,
            completion_tokens: report.new_tokens,
            total_tokens: report.prompt_tokens + report.new_tokens,
            image_tokens: report.dense_vision_tokens,
            image_tokens_kept: kept.unwrap_or(report.vision_tokens),
        }
    }
}

impl Account {
    pub fn new(finished: Finished) -> Self {
        Self { queued: finished.queued.as_secs_f64(), report: finished.report }
    }
}

/// Why an answer ended, in OpenAI's words.
pub(super) fn finish_reason(report: &Report) -> &'static str {
    match report.stop {
        Some(StopReason::MaxNewTokens | StopReason::ContextFull) => "length",
        Some(StopReason::StopToken | StopReason::StopString) | None => "stop",
    }
}
