//! The rules by which an answer is generated.

use crate::{
    config::GenerationDefaults,
    error::{Error, Result},
    sample::Sampling,
    tokenizer::StopStrings,
};

/// Tokens an answer may have where neither the caller nor the checkpoint says.
const DEFAULT_NEW_TOKENS: usize = 512;

/// Tokens among which transformers draws where a checkpoint that samples does not say.
const TRANSFORMERS_TOP_K: usize = 50;

/// Rules for one answer.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GenerationOptions {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The most tokens an answer may have.
    pub max_new_tokens: usize,
    /// Texts at which the answer ends; they are not part of it.
    pub stop: Vec<String>,
}

impl Default for GenerationOptions {
    /// Greedy, up to 512 tokens.
    fn default() -> Self {
        Self { sampling: Sampling::default(), max_new_tokens: DEFAULT_NEW_TOKENS, stop: Vec::new() }
    }
}

impl GenerationOptions {
    /// What a checkpoint's `generation_config.json` asks for.
    pub(crate) fn from_defaults(defaults: &GenerationDefaults) -> Self {
        let mut sampling = Sampling::default();
        if let Some(penalty) = defaults.repetition_penalty {
            sampling.repetition_penalty = penalty;
        }
        if defaults.do_sample {
            sampling.temperature = defaults.temperature.unwrap_or(1.0);
            sampling.top_k = Some(defaults.top_k.unwrap_or(TRANSFORMERS_TOP_K)).filter(|k| *k > 0);
            sampling.top_p = defaults.top_p;
        }
        Self {
            sampling,
            max_new_tokens: defaults.max_new_tokens.unwrap_or(DEFAULT_NEW_TOKENS),
            stop: Vec::new(),
        }
    }

    /// Checks that every value lies in its range.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] naming the first value outside its range.
    pub fn validate(&self) -> Result<()> {
        self.sampling.validate()?;
        if self.max_new_tokens == 0 {
            return Err(Error::argument("max_new_tokens", "a whole number from 1 up", "0"));
        }
        StopStrings::new(&self.stop).map(drop)
    }
}
