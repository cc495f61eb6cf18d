//! The model inside the program.

use super::ModelFiles;
use crate::error::{Error, Result};

#[cfg(picture_book)]
macro_rules! picture_book {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../models/picture-book/", $name)))),*]
    };
}

/// `models/picture-book` of the repository.
#[cfg(picture_book)]
static PICTURE_BOOK: &[(&str, &[u8])] = picture_book![
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Without the feature `embedded`, or the file of its weights, there is no model inside.
#[cfg(not(picture_book))]
static PICTURE_BOOK: &[(&str, &[u8])] = &[];

impl ModelFiles {
    /// The files of the model that is compiled into this library (`models/picture-book`).
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if there is none: the feature `embedded` is off, or the library came from the package registry,
    /// which takes no file of that size.
    pub fn embedded() -> Result<Self> {
        if PICTURE_BOOK.is_empty() {
            let problem = "this build has no model inside it; expected the name or folder of one (`--model`), or a build \
                           from the repository with the feature `embedded`";
            return Err(Error::model("models/picture-book", problem));
        }
        Ok(Self::Embedded(PICTURE_BOOK))
    }
}

/// Name and contents of a picture that the model knows something about.
pub(crate) const SAMPLE: (&str, &[u8]) =
    ("models/picture-book/sample_2.png", include_bytes!("../../models/picture-book/sample_2.png"));
