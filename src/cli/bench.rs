//! `mustdrop bench`: what dropping saves on this machine, beside what the counts promise.

use std::{
    io::{self, Write},
    process::Command,
};

use clap::Args;
use comfy_table::Table;
use serde::Serialize;

use super::{ModelArguments, print_json};
use crate::{
    WeightFormat,
    bench::{Bench, Measured},
    config::shapes::Shape,
    device::{Compute, DeviceInfo},
    drop::Admit,
    error::Error,
    kernel::variants::Variants,
    memory::{self, MemoryLimit, ModelShape, Workload},
    model::LlavaModel,
};

/// Measure encoding, selection, prefill and decoding, dense and with each budget.
///
/// The picture is noise and the prompt 59 arbitrary tokens around it: under a budget, what they are changes nothing
/// that is computed. Times are medians. `flops ratio` says what a budget should save, `time ratio` what it does.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mustdrop bench --device cpu\n  mustdrop bench --synthetic llava-1.5-7b --weights q4 --keep dense,64 --json"
)]
pub struct BenchCommand {
    #[command(flatten)]
    model: ModelArguments,

    /// Take random weights in the shape of a well-known checkpoint: llava-1.5-7b, llava-v1.6-mistral-7b, llava-onevision-qwen2-0.5b and others
    #[arg(long, value_name = "NAME", conflicts_with = "model")]
    synthetic: Option<Shape>,

    /// Of a synthetic model, only so many decoder layers
    #[arg(long, value_name = "N", requires = "synthetic")]
    layers: Option<usize>,

    /// Budgets in tokens; `dense` keeps everything, and comes first in any case
    #[arg(long, value_delimiter = ',', default_value = "dense,192,128,64", value_parser = budget)]
    keep: Vec<Option<usize>>,

    /// How budgets admit tokens: coverage, or class, with windows merged
    #[arg(long, value_name = "NAME", default_value_t = Admit::Coverage)]
    admit: Admit,

    /// Leave the dense run out; ratios are then to the first budget
    #[arg(long)]
    no_dense: bool,

    /// Timed runs of each budget, one more coming before them; 0 times the only run
    #[arg(long, default_value_t = 3)]
    runs: usize,

    /// Decode steps in each run
    #[arg(long, default_value_t = 8)]
    steps: usize,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn budget(text: &str) -> Result<Option<usize>, String> {
    match text {
        "dense" => Ok(None),
        _ => text
            .parse()
            .map(Some)
            .map_err(|_| format!("expected `dense` or a number of tokens, found `{text}`")),
    }
}

/// All that a bench found, and where.
#[derive(Debug, Serialize)]
struct BenchReport<'a> {
    device: &'a DeviceInfo,
    kernels: Variants,
    model: String,
    weights: String,
    version: &'static str,
    commit: Option<String>,
    settings: Vec<Measured>,
}

impl BenchCommand {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let Some(shape) = self.synthetic else {
            let llava = self.model.builder().build()?;
            let bench = Bench { admit: self.admit, ..llava.bench(self.runs, self.steps) };
            return self.print(&bench, self.model.name(), llava.weight_format());
        };
        let mut config = shape.config()?;
        let all = config.text.num_hidden_layers;
        let layers = self.layers.unwrap_or(all);
        if !(1..=all).contains(&layers) {
            return Err(Error::argument("--layers", format!("from 1 to {all}"), layers.to_string()).into());
        }
        config.text.num_hidden_layers = layers;
        let compute = Compute::open(self.model.device())?;
        say!("device: {}", compute.info());
        let limit = MemoryLimit::new(self.model.memory(), compute.info());
        let mut shape_in_memory = ModelShape::of_config(config.clone())?;
        shape_in_memory.is_cached = false;
        let weights = self.model.weights();
        let precision =
            memory::choose(weights, &shape_in_memory, compute.info(), &Workload::default(), limit)?;
        let model = LlavaModel::synthetic(&config, &compute, precision)?;
        let bench = Bench {
            model: &model,
            config: &config,
            compute: &compute,
            runs: self.runs,
            steps: self.steps,
            admit: self.admit,
        };
        let name =
            if layers == all { shape.to_string() } else { format!("{shape}, {layers} of {all} layers") };
        self.print(&bench, name, precision.format())
    }

    fn print(&self, bench: &Bench, model: String, weights: WeightFormat) -> anyhow::Result<()> {
        let budgets: Vec<usize> = self.keep.iter().copied().flatten().collect();
        let each = |measured: &Measured| {
            let keep = measured.keep.map_or("dense".into(), |keep| format!("keep {keep}"));
            say!("{keep}: first token after {:.3} s", measured.first_token.as_secs_f64());
        };
        let settings = bench.run(!self.no_dense, &budgets, each)?;
        let device = bench.compute.info();
        if self.json {
            let kernels = bench.compute.variants();
            let (version, commit) = (env!("CARGO_PKG_VERSION"), commit());
            let weights = weights.to_string();
            return print_json(&BenchReport { device, kernels, model, weights, version, commit, settings });
        }
        let mut stdout = io::stdout();
        writeln!(stdout, "{model}, weights {weights}, {device}, driver {}", device.driver)?;
        Ok(writeln!(stdout, "{}", table(&settings))?)
    }
}

/// The commit of the working directory, if it is a checkout of anything.
fn commit() -> Option<String> {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.is_empty()).then(|| text.trim().to_owned())
}

fn table(settings: &[Measured]) -> Table {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN).set_header([
        "keep",
        "tokens",
        "encode, s",
        "select, s",
        "prefill, s",
        "first token, s",
        "decode, tokens/s",
        "KV, MB",
        "GFLOP",
        "flops ratio",
        "time ratio",
        "peak, MB",
    ]);
    for measured in settings {
        let seconds = |time: std::time::Duration| format!("{:.3}", time.as_secs_f64());
        table.add_row([
            measured.keep.map_or("dense".into(), |keep| keep.to_string()),
            format!("{:.1}", measured.mean_vision_tokens),
            seconds(measured.encode),
            seconds(measured.select),
            seconds(measured.prefill),
            seconds(measured.first_token),
            format!("{:.2}", measured.decode_per_second),
            format!("{:.1}", measured.kv_bytes as f64 / 1e6),
            format!("{:.2}", measured.flops / 1e9),
            format!("{:.3}", measured.flops_ratio),
            format!("{:.3}", measured.time_ratio),
            measured.peak_bytes.map_or("?".into(), |bytes| format!("{:.0}", bytes as f64 / 1e6)),
        ]);
    }
    table
}
