//! The `tokenizers` crate, with its panics made errors.
//!
//! Tokenizer files come from strangers, and the crate takes much of them for granted. What is known to bring it down is refused
//! before ([`super::check`]); the net below it is the last resort, for what is not known yet.

use serde_json::Value;
use tokenizers::{AddedToken, NormalizedString, Normalizer, Tokenizer, step_decode_stream};

use crate::panics;

/// What is said of a panic.
const PANICKED: &str = "the tokenizer's file brings the tokenizers library down";

/// A tokenizer whose methods fail where the crate's would panic.
#[derive(Debug)]
pub(crate) struct Library {
    tokenizer: Tokenizer,
    /// Whether tokens like `<0x0A>` stand for single bytes.
    has_byte_fallback: bool,
}

/// The last tokens, which the next one is decoded together with: the crate's own state.
#[derive(Debug, Default)]
pub(crate) struct Window {
    ids: Vec<u32>,
    prefix: String,
    prefix_index: usize,
}

impl Library {
    /// A tokenizer from the contents of `tokenizer.json`. It neither cuts nor fills up what it encodes, as in transformers.
    ///
    /// # Errors
    ///
    /// What the crate says against it.
    pub fn from_json(mut json: Value) -> Result<Self, String> {
        for field in ["truncation", "padding"] {
            if json.get(field).is_some() {
                json[field] = Value::Null;
            }
        }
        let decoder = json.get("decoder").map(Value::to_string);
        let has_byte_fallback = decoder.is_some_and(|decoder| decoder.contains("\"ByteFallback\""));
        let tokenizer =
            panics::caught(PANICKED, || serde_json::from_value(json).map_err(|error| error.to_string()))
                .map_err(|error| format!("not a valid tokenizer: {error}"))?;
        Ok(Self { tokenizer, has_byte_fallback })
    }

    /// Its contents, as [`from_json`](Self::from_json) takes them.
    pub fn to_json(&self) -> Result<Value, String> {
        panics::caught(PANICKED, || serde_json::to_value(&self.tokenizer).map_err(|error| error.to_string()))
    }

    /// Adds the tokens that it does not have, as transformers does.
    pub fn add_tokens(&mut self, tokens: &[AddedToken]) -> Result<(), String> {
        panics::caught(PANICKED, || Ok(self.tokenizer.add_tokens(tokens))).map(|_added| ())
    }

    /// The added tokens, by id.
    pub fn added(&self) -> Vec<(u32, AddedToken)> {
        let mut added: Vec<_> = self.tokenizer.get_added_tokens_decoder().into_iter().collect();
        added.sort_by_key(|(id, _)| *id);
        added
    }

    /// A text as tokens are looked for in it; `None` if the normalizer fails.
    pub fn normalized(&self, text: &str) -> Option<String> {
        let Some(normalizer) = self.tokenizer.get_normalizer() else { return Some(text.to_owned()) };
        let normalize = || {
            let mut normalized = NormalizedString::from(text);
            normalizer.normalize(&mut normalized).map_err(|error| error.to_string())?;
            Ok(normalized.get().to_owned())
        };
        panics::caught(PANICKED, normalize).ok()
    }

    /// How a token is spelled.
    pub fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// Token ids of a text, with the tokenizer's own frame around them if asked for.
    pub fn encode(&self, text: &str, with_frame: bool) -> Result<Vec<u32>, String> {
        let encode = || self.tokenizer.encode_fast(text, with_frame).map_err(|error| error.to_string());
        let encoding =
            panics::caught(PANICKED, encode).map_err(|error| format!("cannot encode the text: {error}"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of tokens, special ones left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String, String> {
        panics::caught(PANICKED, || self.tokenizer.decode(ids, true).map_err(|error| error.to_string()))
            .map_err(|error| format!("cannot decode the answer: {error}"))
    }

    /// Whether what a token says depends on those that follow: a byte of a character, or nothing at all.
    pub fn is_part(&self, id: u32) -> bool {
        let is_byte = |token: &str| {
            let digits = token.strip_prefix("<0x").and_then(|token| token.strip_suffix('>'));
            digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
        };
        self.has_byte_fallback
            && self.token(id).is_none_or(|token| {
                is_byte(&token) || self.tokenizer.get_added_vocabulary().is_special_token(&token)
            })
    }

    /// The text that becomes certain with further tokens.
    pub fn step(&self, ids: Vec<u32>, window: &mut Window) -> Result<Option<String>, String> {
        let Window { ids: seen, prefix, prefix_index } = window;
        panics::caught(PANICKED, || {
            step_decode_stream(&self.tokenizer, ids, true, seen, prefix, prefix_index)
                .map_err(|error| error.to_string())
        })
    }
}
