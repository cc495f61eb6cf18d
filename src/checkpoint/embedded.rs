//! The model inside the program.

use super::ModelFiles;

macro_rules! picture_book {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../models/picture-book/", $name)))),*]
    };
}

/// `models/picture-book` of the repository.
static PICTURE_BOOK: &[(&str, &[u8])] = picture_book![
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

impl ModelFiles {
    /// The files of the model that is compiled into this library (`models/picture-book`).
    pub fn embedded() -> Self {
        Self::Embedded(PICTURE_BOOK)
    }
}

/// Name and contents of a picture that the model knows something about.
pub(crate) const SAMPLE: (&str, &[u8]) =
    ("models/picture-book/sample_1.png", include_bytes!("../../models/picture-book/sample_1.png"));
