//! `mustdrop pixels`: what the model sees of a picture, as a tensor.

use std::{collections::HashMap, path::PathBuf};

use clap::Args;
use safetensors::{Dtype, serialize, tensor::TensorView};

use super::{model::locate, named::named, write_whole};
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
    #[arg(long, value_name = "crop|pad", value_parser = named::<Fit>(["crop", "pad"]), hide_possible_values = true)]
    fit: Option<Fit>,

    /// The file to write: `pixel_values [3, side, side]`, float32; of a model that sees tiles, `[tiles, 3, side, side]`
    #[arg(long, value_name = "FILE")]
    output: PathBuf,

    /// Preprocess as the model in this folder says, or one of the hub's cache [default: as CLIP ViT-L/14 at 336 pixels]
    #[arg(long, value_name = "DIR|NAME")]
    model: Option<PathBuf>,
}

impl Pixels {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let picture = Picture::open(&self.image)?;
        let (mut preprocessor, config) = match &self.model {
            None => (Preprocessor::default(), None),
            Some(folder) => {
                let files = ModelFiles::folder(locate(folder, true)?)?;
                let config = ModelConfig::from_files(&files)?;
                (config::preprocessor(&files, &config)?, Some(config))
            }
        };
        if let Some(fit) = self.fit {
            preprocessor.fit = config.as_ref().map_or(Ok(fit), |config| config.fit(fit))?;
        }
        let shape = config.map(|config| config.picture_shape(picture.size(), true));
        let shape = shape.filter(|shape| !shape.is_square());
        let tiles = match &shape {
            None => vec![preprocessor.run(&picture)?],
            Some(shape) => preprocessor.tiles(&picture, shape)?,
        };
        let side = tiles[0].side;
        let values = tiles.iter().flat_map(|tile| &tile.values);
        let bytes: Vec<u8> = values.flat_map(|value| value.to_le_bytes()).collect();
        let leading = shape.map(|_| tiles.len());
        let dims: Vec<usize> = leading.into_iter().chain([3, side, side]).collect();
        let tensor = TensorView::new(Dtype::F32, dims, &bytes)?;
        let file = serialize([("pixel_values", tensor)], None::<HashMap<String, String>>)?;
        Ok(write_whole("--output", &self.output, &file)?)
    }
}
