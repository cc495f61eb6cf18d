//! `mustdrop pixels`: what the model sees of a picture, as a tensor.

use std::{collections::HashMap, path::PathBuf};

use clap::Args;
use safetensors::{Dtype, serialize, tensor::TensorView};

use super::write_whole;
use crate::{
    Fit, Picture,
    checkpoint::ModelFiles,
    config::{self, ModelConfig},
    image::Preprocessor,
};

/// Write the pixels that the model sees of a picture to a safetensors file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  mustdrop pixels photo.jpg --output photo.safetensors")]
pub struct Pixels {
    /// The picture (PNG, JPEG or WebP)
    image: PathBuf,

    /// How a picture becomes square: crop its middle or pad its short sides [default: the model's own]
    #[arg(long, value_name = "crop|pad")]
    fit: Option<Fit>,

    /// The file to write: `pixel_values [3, side, side]`, float32
    #[arg(long, value_name = "FILE")]
    output: PathBuf,

    /// Preprocess as this model folder says [default: as CLIP ViT-L/14 at 336 pixels]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
}

impl Pixels {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let picture = Picture::open(&self.image)?;
        let preprocessor = match &self.model {
            None => Preprocessor::default(),
            Some(folder) => {
                let files = ModelFiles::folder(folder)?;
                config::preprocessor(&files, &ModelConfig::from_files(&files)?.vision)?
            }
        };
        let pixels =
            Preprocessor { fit: self.fit.unwrap_or(preprocessor.fit), ..preprocessor }.run(&picture)?;
        let bytes: Vec<u8> = pixels.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let tensor = TensorView::new(Dtype::F32, vec![3, pixels.side, pixels.side], &bytes)?;
        let file = serialize([("pixel_values", tensor)], None::<HashMap<String, String>>)?;
        Ok(write_whole("--output", &self.output, &file)?)
    }
}
