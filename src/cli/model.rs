//! Arguments about the model and the device.

use std::path::{Path, PathBuf};

use clap::Args;

use super::named::named;
#[cfg(feature = "hub")]
pub(super) use super::pull::locate;
use crate::{
    DeviceSelect, Error, Fit, Llava, LlavaBuilder, WeightFormat, checkpoint::ModelFiles, memory::MemorySize,
};

/// The folder of the model that `--model` names.
#[cfg(not(feature = "hub"))]
pub(super) fn locate(model: &Path, _offline: bool) -> crate::Result<PathBuf> {
    Ok(model.to_path_buf())
}

/// Which model runs where, and how it sees pictures.
#[derive(Debug, Args)]
pub struct ModelArguments {
    /// A folder with a LLaVA checkpoint as the Hugging Face hub has it, or its name there, such as
    /// llava-hf/llava-1.5-7b-hf, which is then fetched once [default: the model inside the program]
    #[arg(long, value_name = "DIR|NAME", env = "MUSTDROP_MODEL")]
    model: Option<PathBuf>,

    /// The file with the vision tower of a --model in the GGUF format
    #[arg(long, value_name = "FILE", requires = "model")]
    mmproj: Option<PathBuf>,

    /// Never fetch a model
    #[arg(long)]
    offline: bool,

    /// auto, gpu, cpu, an adapter's number or a part of its name (see `mustdrop devices`)
    #[arg(long, default_value_t, env = "MUSTDROP_DEVICE")]
    device: DeviceSelect,

    /// Precision of the weights: f32, f16, q8 or q4; auto takes the first of these that fits the memory
    #[arg(long, default_value_t, value_parser = named::<WeightFormat>(["auto", "f32", "f16", "q8", "q4"]), hide_possible_values = true)]
    weights: WeightFormat,

    /// The most memory the model may need, such as 6GB [default: what the device has, for --weights auto]
    #[arg(long, value_name = "SIZE")]
    memory: Option<MemorySize>,

    /// How a picture becomes square: crop its middle or pad its short sides [default: the model's own]
    #[arg(long, value_name = "crop|pad", value_parser = named::<Fit>(["crop", "pad"]), hide_possible_values = true)]
    fit: Option<Fit>,

    /// Do not keep quantised weights on disk for the next start, nor use those kept there
    #[arg(long)]
    no_cache: bool,
}

impl ModelArguments {
    /// What to call the model.
    pub fn name(&self) -> String {
        self.model.as_ref().map_or("picture book".into(), |path| path.display().to_string())
    }

    /// The same without the folders around it.
    #[cfg(feature = "serve")]
    pub fn short_name(&self) -> String {
        let name =
            self.model.as_ref().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        name.unwrap_or_else(|| "picture-book".into())
    }

    /// The device to run on.
    pub fn device(&self) -> &DeviceSelect {
        &self.device
    }

    /// The most memory the model may need, if that was said.
    pub fn memory(&self) -> Option<MemorySize> {
        self.memory
    }

    /// The precision asked for.
    pub fn weights(&self) -> WeightFormat {
        self.weights
    }

    fn files(&self, model: &Path) -> crate::Result<ModelFiles> {
        let files = locate(model, self.offline).and_then(ModelFiles::folder)?;
        match &self.mmproj {
            None => Ok(files),
            Some(file) => {
                let expected = "a --model in the GGUF format beside it";
                Err(Error::argument("--mmproj", expected, format!("{} beside a folder", file.display())))
            }
        }
    }

    /// The model these arguments name, fetched if it is on the hub, and not yet loaded.
    pub fn builder(&self) -> LlavaBuilder {
        let builder = match &self.model {
            None => Llava::embedded(),
            Some(model) => LlavaBuilder::new(self.files(model)),
        };
        let builder = builder.device(self.device.clone()).weights(self.weights).cache(!self.no_cache);
        let builder = match self.memory {
            Some(memory) => builder.memory(memory.0),
            None => builder,
        };
        match self.fit {
            Some(fit) => builder.fit(fit),
            None => builder,
        }
    }
}
