//! Decoding an answer while it is being made.

use std::sync::Arc;

use super::{Vocabulary, library::Window};
use crate::error::Result;

/// Text that grows token by token; a character whose bytes are not complete is held back.
pub struct TextStream {
    vocabulary: Arc<Vocabulary>,
    /// `None` once the tokenizer changed what it had said; the rest then waits for the end.
    window: Option<Window>,
    /// Tokens whose text depends on those that follow.
    held: Vec<u32>,
    ids: Vec<u32>,
    said: String,
}

impl TextStream {
    pub(super) fn new(vocabulary: Arc<Vocabulary>) -> Self {
        let (held, ids) = (Vec::new(), Vec::new());
        Self { vocabulary, window: Some(Window::default()), held, ids, said: String::new() }
    }

    /// Takes the next token and returns the text that became certain with it.
    ///
    /// # Errors
    ///
    /// None for now: a token the tokenizer cannot continue with waits for [`finish`](Self::finish).
    pub fn push(&mut self, id: u32) -> Result<Option<String>> {
        self.ids.push(id);
        self.held.push(id);
        let library = &self.vocabulary.library;
        if library.is_part(id) {
            // A run of bytes is decoded as a whole: a wrong one at its end changes the characters before it.
            return Ok(None);
        }
        let held = std::mem::take(&mut self.held);
        let piece = match self.window.as_mut().map(|window| library.step(held, window)) {
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
    /// Should a tokenizer decode the beginning otherwise once it knows the end, what was said stays, and the end is not lost.
    ///
    /// # Errors
    ///
    /// [`Error::Model`](crate::Error::Model) if the tokenizer cannot decode the answer.
    pub fn finish(&mut self) -> Result<Option<String>> {
        let whole = self.vocabulary.decode(&self.ids)?;
        let common = whole.chars().zip(self.said.chars()).take_while(|(new, said)| new == said);
        let common: usize = common.map(|(character, _)| character.len_utf8()).sum();
        let rest = whole.get(common..).unwrap_or_default().to_owned();
        self.said += &rest;
        Ok((!rest.is_empty()).then_some(rest))
    }
}
