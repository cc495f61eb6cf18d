//! `mustdrop pixels`: what the model sees of a picture, as a tensor.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use safetensors::{Dtype, serialize, tensor::TensorView};

use crate::{
    Error, Fit, Picture,
    checkpoint::ModelFiles,
    config::{self, ModelConfig},
    image::Preprocessor,
};

/// Write the pixels that the model sees of a picture to a safetensors file.
#[derive(Debug, Args)]
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
        Ok(write_whole(&self.output, &file)?)
    }
}

/// Writes a file so that it is either there whole or not there: under another name, then renamed.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    // A link stays a link: what it points to is replaced.
    let target = fs::canonicalize(path);
    let path = target.as_deref().unwrap_or(path);
    if path.exists() && !path.is_file() {
        let found = if path.is_dir() { "a directory" } else { "a device or a pipe" };
        return Err(Error::argument(
            "--output",
            "the path of a file",
            format!("{found}: {}", path.display()),
        ));
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}.part", std::process::id()));
    fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, path)).map_err(|error| {
        // The first error is the one to tell; the partial file may not even exist.
        let _ = fs::remove_file(&partial);
        Error::io(path, error)
    })
}
