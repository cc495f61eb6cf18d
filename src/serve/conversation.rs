//! From a request to what the decoder's thread works on, everything checked that can be without the model.

use std::hash::{BuildHasher, RandomState};

use axum::http::StatusCode;
use serde_json::Value;

use super::{
    errors::ApiError,
    images,
    options::{MAX_BYTES_PER_TOKEN, MAX_MESSAGES, MAX_STOPS, Options},
    request::{Budget, ChatRequest, Content, Dropping, Message, PartKind, Speaker, Stop},
};
use crate::{
    GenerationOptions, Llava, Pruning,
    drop::{Admit, Keep, PolicyName, Preset},
    error::{Error, Result},
    prompt::Role,
};

/// A conversation that waits for its answer.
#[derive(Debug)]
pub(super) struct Conversation {
    /// The last turn is the question.
    pub turns: Vec<(Role, Vec<Said>)>,
    pub rules: Rules,
    pub pruning: Option<Pruning>,
}

/// A piece of a turn.
#[derive(Debug)]
pub(super) enum Said {
    Text(String),
    /// A picture's file, and where in the request it stands.
    Image(Vec<u8>, String),
}

/// What a request changes about the model's own rules for answers.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    temperature: Option<f32>,
    top_p: Option<f32>,
    seed: u64,
    max_new_tokens: Option<usize>,
    stop: Vec<String>,
}

impl Rules {
    pub fn adjust(&self, options: &mut GenerationOptions) {
        let sampling = &mut options.sampling;
        sampling.temperature = self.temperature.unwrap_or(sampling.temperature);
        sampling.top_p = self.top_p.or(sampling.top_p);
        sampling.seed = self.seed;
        options.max_new_tokens = self.max_new_tokens.unwrap_or(options.max_new_tokens);
        options.stop.clone_from(&self.stop);
    }
}

impl Conversation {
    /// Checks a request and takes it apart.
    ///
    /// # Errors
    ///
    /// A refusal that names the field.
    pub fn new(request: ChatRequest, model: &Llava, options: &Options) -> Result<Self, ApiError> {
        check_model(request.model.as_deref(), options)?;
        check_unsupported(&request)?;
        let rules = rules(&request)?;
        let mut defaults = GenerationOptions::default();
        rules.adjust(&mut defaults);
        defaults.validate()?;
        let pruning = match &request.mustdrop {
            None => options.pruning.clone(),
            Some(dropping) => Some(pruning(dropping, request.seed)?),
        };
        if let Some(pruning) = &pruning {
            model.check(pruning)?;
        }
        let turns = turns(request.messages, model.context_limit(), options)?;
        Ok(Self { turns, rules, pruning })
    }
}

/// Refuses a model that is not this server's.
///
/// # Errors
///
/// 404 as OpenAI has it.
pub(super) fn check_model(name: Option<&str>, options: &Options) -> Result<(), ApiError> {
    match name {
        Some(name) if name != options.model_name => {
            let message =
                format!("the model `{name}` is not here, expected `{}` (see /v1/models)", options.model_name);
            let mut error = ApiError::new(StatusCode::NOT_FOUND, message).code("model_not_found");
            error.details.param = Some("model".into());
            Err(error)
        }
        _ => Ok(()),
    }
}

/// Refuses what would change the answer and is not done here; what would not is ignored.
fn check_unsupported(request: &ChatRequest) -> Result<(), ApiError> {
    let is_some = |value: &Option<Value>| match value {
        None | Some(Value::Null) => false,
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        Some(_) => true,
    };
    let is_other_format = is_some(&request.response_format)
        && request.response_format.as_ref().and_then(|format| format.get("type")?.as_str()) != Some("text");
    let is_penalty = |penalty: Option<f32>| penalty.is_some_and(|penalty| penalty != 0.0);
    let modalities = request.modalities.iter().flatten();
    let unsupported = [
        ("n", request.n.is_some_and(|n| n != 1), "1: one answer a request"),
        ("tools", is_some(&request.tools), "none: this model calls no tools"),
        ("functions", is_some(&request.functions), "none: this model calls no functions"),
        ("response_format", is_other_format, "{\"type\": \"text\"}"),
        ("logprobs", request.logprobs == Some(true), "false"),
        ("top_logprobs", request.top_logprobs.is_some_and(|count| count > 0), "0"),
        ("logit_bias", is_some(&request.logit_bias), "none"),
        ("presence_penalty", is_penalty(request.presence_penalty), "0"),
        ("frequency_penalty", is_penalty(request.frequency_penalty), "0"),
        ("modalities", modalities.into_iter().any(|kind| kind != "text"), "text alone"),
    ];
    match unsupported.into_iter().find(|(_, is_given, _)| *is_given) {
        None => Ok(()),
        Some((param, _, expected)) => {
            let message = format!("{param}: expected {expected}, found a value that is not supported");
            Err(ApiError::field(param, message).code("unsupported_parameter"))
        }
    }
}

fn rules(request: &ChatRequest) -> Result<Rules, ApiError> {
    let stop = match &request.stop {
        None => Vec::new(),
        Some(Stop::One(text)) => vec![text.clone()],
        Some(Stop::Several(texts)) => texts.clone(),
    };
    let (most, longest) = MAX_STOPS;
    if stop.len() > most || stop.iter().any(|text| text.len() > longest) {
        return Err(ApiError::field(
            "stop",
            format!("stop: expected at most {most} texts of at most {longest} bytes"),
        ));
    }
    Ok(Rules {
        temperature: request.temperature,
        top_p: request.top_p,
        seed: request.seed.map_or_else(random, i64::cast_unsigned),
        max_new_tokens: request.max_completion_tokens.or(request.max_tokens),
        stop,
    })
}

/// A number that nobody foresees; the keys of `RandomState` are the operating system's.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(())
}

fn pruning(dropping: &Dropping, seed: Option<i64>) -> Result<Pruning> {
    let policy = dropping.policy.as_deref().map_or(Ok(PolicyName::default()), str::parse)?;
    let preset = dropping.preset.as_deref().map(str::parse::<Preset>).transpose()?;
    let thresholds = match (dropping.global_threshold, dropping.individual_threshold) {
        (None, None) => None,
        (Some(global), Some(individual)) if preset.is_none() => Some((global, individual)),
        _ => {
            let expected = "global_threshold and individual_threshold, or preset, or none of them";
            return Err(Error::argument("mustdrop", expected, "some of them"));
        }
    };
    let keep = match &dropping.keep {
        None => None,
        Some(Budget::Tokens(tokens)) => Some(Keep::Tokens(*tokens)),
        Some(Budget::Text(text)) => Some(text.parse()?),
    };
    let admit = dropping.admit.as_deref().map(str::parse::<Admit>).transpose()?;
    let is_budgets = admit.is_some() || dropping.merge.is_some();
    if is_budgets && keep.is_none() {
        return Err(Error::argument("mustdrop", "admit and merge with a keep", "none"));
    }
    let is_level = thresholds.is_some() || preset.is_some();
    let is_mustdrops = is_level || dropping.pruning_layers.is_some() || is_budgets;
    if is_mustdrops && policy != PolicyName::MustDrop {
        let expected = "thresholds, pruning_layers, admit and merge with the policy mustdrop alone";
        return Err(Error::argument("mustdrop", expected, format!("them with {policy}")));
    }
    if is_level && keep.is_some() {
        return Err(Error::argument("mustdrop", "keep, a preset or thresholds", "several of them"));
    }
    let mut pruning = Pruning::policy(policy);
    if let Some((global, individual)) = thresholds {
        pruning = pruning.thresholds(global, individual);
    }
    if let Some(preset) = preset {
        pruning = pruning.preset(preset);
    }
    pruning.keep = keep.or(pruning.keep);
    pruning.admit = admit.unwrap_or_default();
    pruning.merge = dropping.merge;
    pruning.pruning_layers.clone_from(&dropping.pruning_layers);
    if policy == PolicyName::Random {
        pruning.seed = seed.unwrap_or_default().cast_unsigned();
    }
    Ok(pruning)
}

fn turns(
    messages: Vec<Message>,
    context: usize,
    options: &Options,
) -> Result<Vec<(Role, Vec<Said>)>, ApiError> {
    if messages.len() > MAX_MESSAGES {
        let message = format!("messages: expected at most {MAX_MESSAGES}, found {}", messages.len());
        return Err(ApiError::field("messages", message));
    }
    if messages.last().is_none_or(|message| message.role != Speaker::User) {
        let message = "messages: expected the last one to be the user's, found another or none";
        return Err(ApiError::field("messages", message));
    }
    let mut room = Room { text: context.saturating_mul(MAX_BYTES_PER_TOKEN), images: options.max_images };
    let mut turns = Vec::with_capacity(messages.len());
    for (number, message) in messages.into_iter().enumerate() {
        let role = match message.role {
            Speaker::System | Speaker::Developer => Role::System,
            Speaker::User => Role::User,
            Speaker::Assistant => Role::Assistant,
        };
        let param = format!("messages[{number}].content");
        let said = match message.content {
            Some(Content::Text(text)) => vec![room.text(text, &param)?],
            Some(Content::Parts(parts)) => {
                let mut said = Vec::with_capacity(parts.len());
                for (place, part) in parts.into_iter().enumerate() {
                    let param = format!("{param}[{place}]");
                    said.push(match (part.kind, part.text, part.image_url) {
                        (PartKind::Text, Some(text), _) => room.text(text, &param)?,
                        (PartKind::ImageUrl, _, Some(image)) if role == Role::User => {
                            room.image(&image.url, format!("{param}.image_url.url"), options)?
                        }
                        (PartKind::ImageUrl, _, Some(_)) => {
                            let message = format!(
                                "{param}: expected a text, found a picture: only the user shows those"
                            );
                            return Err(ApiError::field(param, message));
                        }
                        (PartKind::Text, None, _) => return Err(missing(param, "text")),
                        (PartKind::ImageUrl, _, None) => return Err(missing(param, "image_url")),
                    });
                }
                said
            }
            // As a turn of the model is that called a tool and said nothing.
            None if role == Role::Assistant => Vec::new(),
            None => return Err(missing(format!("messages[{number}]"), "content")),
        };
        turns.push((role, said));
    }
    Ok(turns)
}

fn missing(param: String, field: &str) -> ApiError {
    let message = format!("{param}: expected the field {field}, found none");
    ApiError::field(param, message)
}

/// What a request may still bring.
struct Room {
    /// Bytes.
    text: usize,
    images: usize,
}

impl Room {
    fn text(&mut self, text: String, param: &str) -> Result<Said, ApiError> {
        self.text = self.text.checked_sub(text.len()).ok_or_else(|| {
            let message = format!("{param}: the conversation is too long for the model's context");
            ApiError::field("messages", message).code("context_length_exceeded")
        })?;
        Ok(Said::Text(text))
    }

    fn image(&mut self, url: &str, param: String, options: &Options) -> Result<Said, ApiError> {
        self.images = self.images.checked_sub(1).ok_or_else(|| {
            let message = format!("messages: expected at most {} pictures, found more", options.max_images);
            ApiError::field("messages", message)
        })?;
        Ok(Said::Image(images::decode(url, &param)?, param))
    }
}
