//! Arguments about the model and the device.

use std::path::PathBuf;

use clap::Args;

use crate::{DeviceSelect, Fit, Llava, LlavaBuilder, WeightFormat};

/// Which model runs where, and how it sees pictures.
#[derive(Debug, Args)]
pub struct ModelArguments {
    /// A folder with a LLaVA checkpoint as the Hugging Face hub has it [default: the model inside the program]
    #[arg(long, value_name = "DIR", env = "MUSTDROP_MODEL")]
    model: Option<PathBuf>,

    /// auto, gpu, cpu, an adapter's number or a part of its name (see `mustdrop devices`)
    #[arg(long, default_value_t, env = "MUSTDROP_DEVICE")]
    device: DeviceSelect,

    /// Precision of the weights: auto, f32, f16, q8 or q4
    #[arg(long, default_value_t)]
    weights: WeightFormat,

    /// How a picture becomes square: crop its middle or pad its short sides [default: the model's own]
    #[arg(long, value_name = "crop|pad")]
    fit: Option<Fit>,
}

impl ModelArguments {
    /// The model these arguments name, not yet loaded.
    pub fn builder(&self) -> LlavaBuilder {
        let builder = self.model.as_ref().map_or_else(Llava::embedded, Llava::builder);
        let builder = builder.device(self.device.clone()).weights(self.weights);
        match self.fit {
            Some(fit) => builder.fit(fit),
            None => builder,
        }
    }
}
