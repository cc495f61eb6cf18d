//! `mustdrop trace`: the observables of a fixture as JSON.

use std::path::PathBuf;

use clap::Args;

use super::print_json;
use crate::{DeviceSelect, WeightFormat, trace::trace};

/// Run a fixture folder (config.json, model.safetensors, inputs.*) and print what it computes as JSON.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  mustdrop trace tests/golden/half_smooth --device cpu")]
pub struct Trace {
    /// The folder
    folder: PathBuf,

    /// auto, gpu, cpu, an adapter's number or a part of its name
    #[arg(long, default_value_t)]
    device: DeviceSelect,

    /// Precision of the weights: auto, f32, f16, q8 or q4
    #[arg(long, default_value_t)]
    weights: WeightFormat,
}

impl Trace {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        print_json(&trace(&self.folder, &self.device, self.weights)?)
    }
}
