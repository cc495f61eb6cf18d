//! Conversations, and the prompts that a model's chat template makes of them.

mod charge;
mod dialect;
mod filters;
#[doc(hidden)]
pub mod jinja;
mod json;
mod python;
mod template;

pub(crate) use template::{ChatTemplate, SpecialTokens};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Role {
    /// Whoever set the conversation up.
    System,
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
}

/// What somebody said, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who.
    pub role: Role,
    /// What: words and pictures.
    pub parts: Vec<TurnPart>,
}

/// A piece of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnPart {
    /// The next picture of the conversation.
    Image,
    /// Words.
    Text(String),
}

/// A prompt: token ids, with places for pictures among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptLayout {
    /// The pieces in order; text pieces are never empty.
    pub pieces: Vec<Piece>,
}

/// A piece of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text tokens.
    Text(Vec<u32>),
    /// All tokens of the picture with this number, counted from 0 over the conversation.
    Image(usize),
}

impl PromptLayout {
    /// Splits token ids at `image_token`, each of which stands for one whole picture.
    pub fn from_ids(ids: &[u32], image_token: u32) -> Self {
        let mut pieces = Vec::new();
        for (picture, text) in ids.split(|id| *id == image_token).enumerate() {
            if picture > 0 {
                pieces.push(Piece::Image(picture - 1));
            }
            if !text.is_empty() {
                pieces.push(Piece::Text(text.to_vec()));
            }
        }
        Self { pieces }
    }

    /// Number of pictures.
    pub fn images(&self) -> usize {
        self.pieces.iter().filter(|piece| matches!(piece, Piece::Image(_))).count()
    }
}
