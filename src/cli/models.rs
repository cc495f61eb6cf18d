//! `mustdrop models`: what is there to run, and what may go.

use std::io::{self, IsTerminal, Write};

use clap::{Args, Subcommand};
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use serde::Serialize;

use super::print_json;
use crate::{
    DeviceSelect, WeightFormat,
    checkpoint::{Checkpoint, ModelFiles},
    device,
    hub::{CachedModel, Hub, KNOWN, KnownModel, ModelName},
    memory::{self, MemoryPlan, MemorySize, ModelShape, Workload},
};

/// The most characters of a reason in a terminal.
const REASON: usize = 60;

/// List the models in the Hugging Face cache, and the one inside the program.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  mustdrop models\n  mustdrop models --known\n  mustdrop models rm llava-hf/llava-1.5-7b-hf"
)]
pub(super) struct Models {
    #[command(subcommand)]
    action: Option<Action>,

    /// List models of the hub to begin with, and how large they are
    #[arg(long)]
    known: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Remove a model from the cache: all of it, or NAME@REVISION, or the files of NAME:QUANTISATION
    #[command(after_help = "Examples:\n  mustdrop models rm llava-hf/llava-1.5-7b-hf")]
    Rm {
        /// organisation/name, perhaps with @revision or :quantisation behind it
        name: ModelName,
    },
}

#[derive(Serialize)]
struct Output {
    cache: String,
    /// Numbers in the model inside the program, if there is one.
    embedded_parameters: Option<u64>,
    models: Vec<CachedModel>,
}

/// A model to begin with, and its sizes.
#[derive(Serialize)]
struct Known {
    name: &'static str,
    /// Bytes of its weights on the hub.
    download_bytes: u64,
    /// Bytes of its weights in memory with `--weights q4` on the CPU.
    q4_bytes: u64,
    licence: &'static str,
}

impl Models {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        match &self.action {
            Some(Action::Rm { name }) => {
                let bytes = Hub::from_env()?.remove(name)?;
                say!("{name}: removed, {} are free again", MemorySize(bytes));
                Ok(())
            }
            None if self.known => self.known(),
            None => self.list(&Hub::from_env()?),
        }
    }

    fn known(&self) -> anyhow::Result<()> {
        let known = KNOWN.iter().map(Known::new).collect::<crate::Result<Vec<_>>>()?;
        if self.json {
            return print_json(&known);
        }
        let mut table = markdown(["--model", "download", "in memory, q4", "licence"]);
        for Known { name, download_bytes, q4_bytes, licence } in known {
            let [download, q4] =
                [download_bytes, q4_bytes].map(|bytes| format!("{:.1} GB", bytes as f64 / 1e9));
            table.add_row([name, &download, &q4, licence]);
        }
        align_right(&mut table, &[1, 2]);
        Ok(writeln!(io::stdout(), "{table}")?)
    }

    fn list(&self, hub: &Hub) -> anyhow::Result<()> {
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
        let mut table = markdown(["--model", "revision", "kind", "size", "runs"]);
        if let Some(numbers) = output.embedded_parameters {
            table.add_row([
                "(none given)",
                "inside the program",
                "llava",
                &format!("{numbers} numbers"),
                "yes",
            ]);
        }
        for model in &output.models {
            let runs = match (&model.problem, model.complete) {
                (Some(problem), _) => format!("no: {}", shortened(problem)),
                (None, false) => format!("not yet: `mustdrop pull {}` completes it", model.name),
                (None, true) => "yes".to_owned(),
            };
            let size = MemorySize(model.bytes).to_string();
            table.add_row([&model.name, &model.revision, &model.kind, &size, &runs]);
        }
        align_right(&mut table, &[3]);
        say!("cache: {}; `mustdrop models --known` lists models to fetch", output.cache);
        Ok(writeln!(io::stdout(), "{table}")?)
    }
}

impl Known {
    fn new(known: &KnownModel) -> crate::Result<Self> {
        let shape = ModelShape::of_config(known.shape.config()?)?;
        let cpu = device::find(&DeviceSelect::Cpu)?;
        let precision = memory::precision(WeightFormat::Q4, shape.stored, &cpu)?;
        let plan = MemoryPlan::new(&shape, precision, &cpu, &Workload::default())?;
        Ok(Self {
            name: known.name,
            // Two bytes each on the hub, where a few stand beside them that are not read.
            download_bytes: 2 * shape.stored.parameters,
            q4_bytes: plan.weights_bytes,
            licence: known.licence,
        })
    }
}

fn markdown<const COLUMNS: usize>(header: [&str; COLUMNS]) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(header);
    table
}

fn align_right(table: &mut Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// The beginning of a reason, where a terminal is too narrow for more.
fn shortened(reason: &str) -> String {
    if !io::stdout().is_terminal() {
        return reason.to_owned();
    }
    match reason.char_indices().nth(REASON) {
        None => reason.to_owned(),
        Some((end, _)) => format!("{}…", reason[..end].trim_end()),
    }
}
