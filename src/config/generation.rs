//! How a model's maker wants it to generate.

use std::ops::RangeInclusive;

use super::{family::FAMILIES, fields, fields::Fields, limits, text};
use crate::{checkpoint::ModelFiles, error::Result, sample::Sampling};

/// The defaults in `generation_config.json`, with the special tokens of `config.json` behind them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GenerationDefaults {
    /// Tokens that end an answer.
    pub eos_token_ids: Vec<u32>,
    /// The token that begins a sequence, if the model has one.
    pub bos_token_id: Option<u32>,
    /// Longest answer, in tokens.
    pub max_new_tokens: Option<usize>,
    /// Whether to draw the next token at random; otherwise the likeliest is taken.
    pub do_sample: bool,
    /// Divides the logits before the softmax; 0 takes the likeliest token.
    pub temperature: Option<f32>,
    /// How many of the likeliest tokens may be drawn; 0 is every one, and none said is 50 in transformers.
    pub top_k: Option<usize>,
    /// Probability mass of the likeliest tokens that may be drawn; 0 leaves the likeliest alone.
    pub top_p: Option<f32>,
    /// What the logits of tokens already there are divided by (if positive) or multiplied with.
    pub repetition_penalty: Option<f32>,
}

/// The special tokens of `LlamaConfig` and `MistralConfig`, for a model that names none; `Qwen2Config` has none.
const LLAMA_BOS: u32 = 1;
const LLAMA_EOS: u32 = 2;

impl GenerationDefaults {
    /// Reads `generation_config.json`, if there is one, and `config.json` for the special tokens it leaves out.
    ///
    /// # Errors
    /// [`Error::Model`](crate::error::Error::Model) naming a field whose value is malformed or out of range.
    pub fn from_files(files: &ModelFiles) -> Result<Self> {
        let (generation_path, config_path) =
            (files.path("generation_config.json"), files.path("config.json"));
        let generation = match files.read("generation_config.json")? {
            Some(json) => fields::parse(&json, &generation_path)?,
            None => serde_json::json!({}),
        };
        let config = match files.read("config.json")? {
            Some(json) => fields::parse(&json, &config_path)?,
            None => serde_json::json!({}),
        };
        let generation = Fields::of_file(&generation, &generation_path)?;
        let config = Fields::of_file(&config, &config_path)?;
        let text = config.object("text_config")?;
        let (bos, eos) = match decoder_of(&config, &text) {
            text::Family::Qwen2 => (None, Vec::new()),
            text::Family::Llama | text::Family::Mistral => (Some(LLAMA_BOS), vec![LLAMA_EOS]),
        };
        let sources = [&generation, &text, &config];
        Ok(Self {
            eos_token_ids: first_tokens(sources, "eos_token_id")?.unwrap_or(eos),
            bos_token_id: match first_tokens(sources, "bos_token_id")? {
                Some(tokens) => tokens.first().copied(),
                None => bos,
            },
            max_new_tokens: generation.optional_count("max_new_tokens", 1..=limits::POSITIONS)?,
            do_sample: generation.flag("do_sample", false)?,
            temperature: optional_f32(&generation, "temperature", Sampling::TEMPERATURES)?,
            top_k: generation.optional_count("top_k", 0..=limits::VOCABULARY)?,
            top_p: optional_f32(&generation, "top_p", Sampling::TOP_P)?,
            repetition_penalty: optional_f32(&generation, "repetition_penalty", Sampling::PENALTIES)?,
        })
    }
}

/// The decoder that a configuration names, or that its kind of LLaVA has by default.
fn decoder_of(config: &Fields, text: &Fields) -> text::Family {
    let name = "model_type";
    let by_default = || config.known(name, &FAMILIES).map(|kind| kind.text);
    text.known(name, &text::FAMILIES).or_else(by_default).unwrap_or(text::Family::Llama)
}

/// The tokens of the first source that has any.
fn first_tokens(sources: [&Fields; 3], name: &str) -> Result<Option<Vec<u32>>> {
    for source in sources {
        if let Some(tokens) = source.tokens(name)?.filter(|tokens| !tokens.is_empty()) {
            return Ok(Some(tokens));
        }
    }
    Ok(None)
}

fn optional_f32(fields: &Fields, name: &str, range: RangeInclusive<f32>) -> Result<Option<f32>> {
    let range = f64::from(*range.start())..=f64::from(*range.end());
    Ok(fields.optional_number(name, range)?.map(|number| number as f32))
}
