//! What a user says in a turn.

use std::path::Path;

use crate::{error::Result, image::Picture};

/// A piece of what the user says: a picture or words.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Part {
    /// A picture.
    Image(Picture),
    /// Words. They are never read as special tokens.
    Text(String),
}

impl Part {
    /// A picture from a PNG, JPEG or WebP file.
    ///
    /// # Errors
    ///
    /// [`Error::Picture`](crate::Error::Picture) if the file is missing, no picture, damaged, or too large.
    pub fn image_path(path: impl AsRef<Path>) -> Result<Self> {
        Picture::open(path).map(Self::Image)
    }

    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}
