//! A bound on several pictures together.

use std::path::Path;

use super::{MAX_PIXELS_TOGETHER, Picture};
use crate::error::Result;

/// How many pixels further pictures of a question may have.
///
/// A picture takes three bytes a pixel until it is encoded, which is after all of them were read.
#[derive(Debug, Clone)]
pub struct Allowance(u64);

impl Default for Allowance {
    /// [`MAX_PIXELS_TOGETHER`]
    fn default() -> Self {
        Self(MAX_PIXELS_TOGETHER)
    }
}

impl Allowance {
    /// So many pixels.
    pub fn new(pixels: u64) -> Self {
        Self(pixels)
    }

    /// As [`Picture::open`], within what is left.
    ///
    /// # Errors
    ///
    /// As [`Picture::open`].
    pub fn open(&mut self, path: impl AsRef<Path>) -> Result<Picture> {
        Picture::open_within(path, self.0).inspect(|picture| self.spend(picture))
    }

    /// As [`Picture::decode`], within what is left.
    ///
    /// # Errors
    ///
    /// As [`Picture::decode`].
    pub fn decode(&mut self, bytes: &[u8], origin: impl Into<String>) -> Result<Picture> {
        Picture::decode_within(bytes, origin, self.0).inspect(|picture| self.spend(picture))
    }

    /// Counts a picture that is there already.
    pub fn spend(&mut self, picture: &Picture) {
        self.0 = self.0.saturating_sub((picture.width() * picture.height()) as u64);
    }
}
