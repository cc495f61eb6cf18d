//! Decoding an answer while it is being made.

use super::Tokenizer;
use crate::error::Result;

type DecodeStream<'t> = tokenizers::DecodeStream<
    't,
    tokenizers::ModelWrapper,
    tokenizers::NormalizerWrapper,
    tokenizers::PreTokenizerWrapper,
    tokenizers::PostProcessorWrapper,
    tokenizers::DecoderWrapper,
>;

/// Text that grows token by token; a character whose bytes are not complete is held back.
pub struct TextStream<'t> {
    tokenizer: &'t Tokenizer,
    /// `None` once the tokenizer changed what it had said; the rest then waits for the end.
    stream: Option<DecodeStream<'t>>,
    ids: Vec<u32>,
    said: String,
}

impl<'t> TextStream<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer) -> Self {
        let stream = Some(tokenizer.plain.decode_stream(true));
        Self { tokenizer, stream, ids: Vec::new(), said: String::new() }
    }

    /// Takes the next token and returns the text that became certain with it.
    ///
    /// # Errors
    ///
    /// None for now: a token the tokenizer cannot continue with waits for [`finish`](Self::finish).
    pub fn push(&mut self, id: u32) -> Result<Option<String>> {
        self.ids.push(id);
        let piece = match self.stream.as_mut().map(|stream| stream.step(id)) {
            Some(Ok(piece)) => piece,
            Some(Err(_)) | None => {
                self.stream = None;
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
    /// [`Error::Prompt`](crate::Error::Prompt) if the tokenizer cannot decode the answer.
    pub fn finish(&mut self) -> Result<Option<String>> {
        let whole = self.tokenizer.decode(&self.ids)?;
        let rest = whole.strip_prefix(&self.said).unwrap_or_default().to_owned();
        self.said += &rest;
        Ok((!rest.is_empty()).then_some(rest))
    }
}
