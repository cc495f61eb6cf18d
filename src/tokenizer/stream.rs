//! Decoding an answer while it is being made.

use std::sync::Arc;

use tokenizers::{Tokenizer, step_decode_stream};

use crate::error::{Error, Result};

/// Text that grows token by token; a character whose bytes are not complete is held back.
pub struct TextStream {
    tokenizer: Arc<Tokenizer>,
    /// `None` once the tokenizer changed what it had said; the rest then waits for the end.
    window: Option<Window>,
    ids: Vec<u32>,
    said: String,
}

/// The last tokens, which the next one is decoded together with: the library's own state.
#[derive(Default)]
struct Window {
    ids: Vec<u32>,
    prefix: String,
    prefix_index: usize,
}

impl TextStream {
    pub(super) fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self { tokenizer, window: Some(Window::default()), ids: Vec::new(), said: String::new() }
    }

    /// Takes the next token and returns the text that became certain with it.
    ///
    /// # Errors
    ///
    /// None for now: a token the tokenizer cannot continue with waits for [`finish`](Self::finish).
    pub fn push(&mut self, id: u32) -> Result<Option<String>> {
        self.ids.push(id);
        let stepped = self.window.as_mut().map(|Window { ids, prefix, prefix_index }| {
            step_decode_stream(&self.tokenizer, vec![id], true, ids, prefix, prefix_index)
        });
        let piece = match stepped {
            Some(Ok(piece)) => piece,
            Some(Err(_)) | None => {
                self.window = None;
                None
            }
        };
        if let Some(piece) = &piece {
            self.said += piece;
        }
        Ok(piece)
    }

    /// Returns what was held back, so that all pieces together are the whole decoding.
    ///
    /// # Errors
    ///
    /// [`Error::Prompt`] if the tokenizer cannot decode the answer.
    pub fn finish(&mut self) -> Result<Option<String>> {
        let whole = decode(&self.tokenizer, &self.ids)?;
        let rest = whole.strip_prefix(&self.said).unwrap_or_default().to_owned();
        self.said += &rest;
        Ok((!rest.is_empty()).then_some(rest))
    }
}

/// The text of `ids`, special tokens left out.
pub(super) fn decode(tokenizer: &Tokenizer, ids: &[u32]) -> Result<String> {
    tokenizer.decode(ids, true).map_err(|error| Error::Prompt(format!("decode the answer: {error}")))
}
