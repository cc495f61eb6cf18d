//! `mustdrop models`: what is there to run.

use std::io::{self, Write};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use serde::Serialize;

use super::print_json;
use crate::{
    checkpoint::{Checkpoint, ModelFiles},
    hub::{CachedModel, Hub},
    memory::MemorySize,
};

/// List the models in the Hugging Face cache, and the one inside the program.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  mustdrop models\n  mustdrop models --json")]
pub(super) struct Models {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output {
    cache: String,
    /// Numbers in the model inside the program, if there is one.
    embedded_parameters: Option<u64>,
    models: Vec<CachedModel>,
}

impl Models {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let hub = Hub::from_env()?;
        let output = Output {
            cache: hub.cache_folder().display().to_string(),
            embedded_parameters: match ModelFiles::embedded() {
                Ok(files) => Some(Checkpoint::open(&files)?.parameters()),
                Err(_) => None,
            },
            models: hub.models()?,
        };
        if self.json {
            return print_json(&output);
        }
        let mut table = Table::new();
        table.load_preset(ASCII_MARKDOWN).set_header(["--model", "revision", "size", "runs"]);
        if let Some(numbers) = output.embedded_parameters {
            table.add_row(["(none given)", "inside the program", &format!("{numbers} numbers"), "yes"]);
        }
        for model in &output.models {
            let runs = match (&model.problem, model.complete) {
                (Some(_), _) => "no: not a model of this kind".to_owned(),
                (None, false) => format!("not yet: `mustdrop pull {}` completes it", model.name),
                (None, true) => "yes".to_owned(),
            };
            table.add_row([
                model.name.clone(),
                model.revision.clone(),
                MemorySize(model.bytes).to_string(),
                runs,
            ]);
        }
        if let Some(sizes) = table.column_mut(2) {
            sizes.set_cell_alignment(CellAlignment::Right);
        }
        say!("cache: {}", output.cache);
        Ok(writeln!(io::stdout(), "{table}")?)
    }
}
