//! Text to token ids and back, with the user's words kept apart from the model's special tokens.

mod gguf;
mod guard;
mod stop;
mod stream;

use std::{path::Path, sync::Arc};

use serde_json::{Value, json};

use crate::{
    checkpoint::ModelFiles,
    error::{Error, Result},
    prompt::{ChatTemplate, PromptLayout, SpecialTokens, Turn, TurnPart},
};
use guard::Guard;

pub(crate) use gguf::from_gguf;
pub use stop::StopStrings;
pub use stream::TextStream;

const FILE: &str = "tokenizer.json";
const CONFIG_FILE: &str = "tokenizer_config.json";
/// Lengths above this mean "no limit": transformers writes 1e30 there.
const LARGEST_LENGTH: f64 = 1e9;

/// A model's tokenizer and chat template.
#[derive(Debug)]
pub struct Tokenizer {
    /// Decodes: the tokenizer as its file has it.
    plain: Arc<tokenizers::Tokenizer>,
    /// Encodes: the same, with special tokens that no text can spell.
    guard: Guard,
    template: ChatTemplate,
    bos: String,
    image_token: u32,
    model_max_length: Option<usize>,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, `tokenizer_config.json` and the chat template.
    ///
    /// `image_token` is the id that stands for a picture in the prompt.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if a file is missing or invalid, or `image_token` is not one of the special tokens.
    pub fn from_files(files: &ModelFiles, image_token: u32) -> Result<Self> {
        let path = files.path(FILE);
        let Some(bytes) = files.read(FILE)? else {
            return Err(Error::model(
                &path,
                "no such file; expected the fast tokenizer of the model (for an old folder with only tokenizer.model, \
                 `AutoTokenizer.from_pretrained(folder).save_pretrained(folder)` in transformers writes it)",
            ));
        };
        let invalid =
            |error: tokenizers::Error| Error::model(&path, format!("not a valid tokenizer: {error}"));
        // The guard goes first: it refuses what the library would panic at.
        let guard = Guard::new(&bytes, &path)?;
        let plain = tokenizers::Tokenizer::from_bytes(&bytes).map_err(invalid)?;
        let Some(image) = guard.content(image_token) else {
            return Err(Error::model(
                path,
                format!(
                    "expected an added token with the id {image_token}, which config.json names as image_token_index, found none"
                ),
            ));
        };
        let config = read_json(files, CONFIG_FILE)?;
        let special_tokens_map = read_json(files, "special_tokens_map.json")?;
        let named = |name: &str| {
            let token = config.get(name).and_then(content).or(special_tokens_map.get(name).and_then(content));
            token.unwrap_or_default().to_owned()
        };
        let tokens = SpecialTokens {
            bos: named("bos_token"),
            eos: named("eos_token"),
            pad: named("pad_token"),
            unk: named("unk_token"),
            image: image.to_owned(),
        };
        Ok(Self {
            bos: tokens.bos.clone(),
            template: ChatTemplate::from_files(files, tokens)?,
            plain: Arc::new(plain),
            guard,
            image_token,
            model_max_length: config
                .get("model_max_length")
                .and_then(Value::as_f64)
                .filter(|length| (1.0..LARGEST_LENGTH).contains(length))
                .map(|length| length as usize),
        })
    }

    /// The prompt for the answer that follows `turns`.
    ///
    /// Nothing that was said, by the user or by the model, is read as a special token or as a picture.
    ///
    /// # Errors
    ///
    /// [`Error::Prompt`] if the chat template refuses the turns, or writes not one place for each picture.
    pub fn prompt(&self, turns: &[Turn]) -> Result<PromptLayout> {
        let guarded: Vec<Turn> = turns.iter().map(guard_turn).collect();
        let text = self.template.render(&guarded)?;
        let ids = self.guard.encode(&text, &self.bos)?;
        let layout = PromptLayout::from_ids(&ids, self.image_token);
        let pictures =
            turns.iter().flat_map(|turn| &turn.parts).filter(|part| **part == TurnPart::Image).count();
        if layout.images() != pictures {
            return Err(Error::Prompt(format!(
                "expected the chat template to write {pictures} places for pictures, found {}; it may take pictures only \
                 in the first turn, or one a turn",
                layout.images()
            )));
        }
        Ok(layout)
    }

    /// The text of an answer's tokens, special tokens left out.
    ///
    /// # Errors
    ///
    /// [`Error::Prompt`] if the tokenizer cannot decode them.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        stream::decode(&self.plain, ids)
    }

    /// Starts to decode an answer token by token.
    pub fn stream(&self) -> TextStream {
        TextStream::new(Arc::clone(&self.plain))
    }

    /// The longest sequence that `tokenizer_config.json` speaks of, in tokens: a hint, which the model need not know of.
    pub fn model_max_length(&self) -> Option<usize> {
        self.model_max_length
    }
}

fn guard_turn(turn: &Turn) -> Turn {
    let part = |part: &TurnPart| match part {
        TurnPart::Image => TurnPart::Image,
        TurnPart::Text(text) => TurnPart::Text(guard::mark(text)),
    };
    Turn { role: turn.role, parts: turn.parts.iter().map(part).collect() }
}

/// A token that is written as its content or as an object with its content.
fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}

/// The JSON of an optional file; an empty object if there is none.
fn read_json(files: &ModelFiles, name: &str) -> Result<Value> {
    files.read(name)?.map_or(Ok(json!({})), |bytes| parse_json(&bytes, &files.path(name)))
}

fn parse_json(bytes: &[u8], path: &Path) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|error| Error::model(path, format!("not valid JSON: {error}")))
}
