//! The body of a request for an answer, as OpenAI's clients write it.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use serde_json::Value;
use utoipa::ToSchema;

/// What is asked, and how to answer. Fields that are not named here are ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ChatRequest {
    /// The model's name; may be left out, as there is one only.
    pub model: Option<String>,
    /// The conversation so far; the last message is the user's.
    pub messages: Vec<Message>,
    /// The most tokens the answer may have.
    pub max_completion_tokens: Option<usize>,
    /// The older name of `max_completion_tokens`.
    pub max_tokens: Option<usize>,
    /// 0 always takes the likeliest token; the checkpoint's own where it is left out.
    pub temperature: Option<f32>,
    /// Choose among the likeliest tokens that together have this probability.
    pub top_p: Option<f32>,
    /// The same seed gives the same answer; without one, every request draws its own.
    pub seed: Option<i64>,
    /// Up to 4 texts that end the answer.
    pub stop: Option<Stop>,
    /// Whether to answer in server-sent events.
    pub stream: Option<bool>,
    pub stream_options: Option<StreamOptions>,
    /// How vision tokens are dropped; the server's own way where it is left out.
    pub mustdrop: Option<Dropping>,
    /// Answers to make; only 1 is supported.
    pub n: Option<u32>,
    /// Not supported: must be empty.
    #[schema(value_type = Option<Vec<Object>>)]
    pub tools: Option<Value>,
    #[serde(default)]
    #[schema(ignore)]
    pub functions: Option<Value>,
    /// Only `{"type": "text"}` is supported.
    #[schema(value_type = Option<Object>)]
    pub response_format: Option<Value>,
    /// Not supported: must be false.
    pub logprobs: Option<bool>,
    #[schema(ignore)]
    pub top_logprobs: Option<u32>,
    #[schema(ignore)]
    pub logit_bias: Option<Value>,
    #[schema(ignore)]
    pub presence_penalty: Option<f32>,
    #[schema(ignore)]
    pub frequency_penalty: Option<f32>,
    #[schema(ignore)]
    pub modalities: Option<Vec<String>>,
}

/// What somebody said.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Message {
    pub role: Speaker,
    /// A text, or a list of texts and pictures. Pictures are the user's alone.
    #[schema(value_type = Option<Object>)]
    pub content: Option<Content>,
}

/// Who said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Speaker {
    System,
    /// The newer name of `system`.
    Developer,
    User,
    Assistant,
}

#[derive(Debug)]
pub(super) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A text or a picture.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Part {
    #[serde(rename = "type")]
    pub kind: PartKind,
    pub text: Option<String>,
    pub image_url: Option<ImageUrl>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum PartKind {
    Text,
    ImageUrl,
}

/// A picture as `data:image/png;base64,…` (or jpeg, webp); other addresses are refused.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ImageUrl {
    pub url: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
pub(super) enum Stop {
    One(String),
    Several(Vec<String>),
}

#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct StreamOptions {
    /// Whether a last event has the usage.
    pub include_usage: Option<bool>,
}

/// How vision tokens are dropped: as the options of `mustdrop describe` with these names. `{}` is the paper's method, by its
/// thresholds.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Dropping {
    /// mustdrop, coverage, coverage-means, none, random, pool, fastv or visionzip.
    pub policy: Option<String>,
    /// A number of tokens, or a share such as "12%": the mean of a picture's tokens over all decoder layers.
    pub keep: Option<Budget>,
    /// How a budget admits tokens: coverage or class.
    pub admit: Option<String>,
    /// Whether alike windows are merged; by default only where class admits.
    pub merge: Option<bool>,
    /// A level of the paper: thresholds (retain-192, retain-128, retain-64), or a budget of a picture in tiles (next-640, next-320, next-160).
    pub preset: Option<String>,
    pub global_threshold: Option<f32>,
    pub individual_threshold: Option<f32>,
    /// Decoder layers, counted from 0, behind which tokens are dropped.
    pub pruning_layers: Option<Vec<usize>>,
}

#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a whole number from 1 up, or a share such as \"12%\"")]
pub(super) enum Budget {
    Tokens(usize),
    Text(String),
}

impl<'de> Deserialize<'de> for Content {
    /// By hand, so that a wrong part is named instead of the whole being said to match nothing.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrParts;
        impl<'de> Visitor<'de> for TextOrParts {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a list of parts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Content, E> {
                Ok(Content::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, parts: A) -> Result<Content, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(parts)).map(Content::Parts)
            }
        }
        deserializer.deserialize_any(TextOrParts)
    }
}
