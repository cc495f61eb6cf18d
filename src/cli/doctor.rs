//! `mustdrop doctor`: what this program finds on this machine, and whether it computes right.

use std::{
    collections::BTreeMap,
    env,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use serde::Serialize;

use super::{devices, print_json};
use crate::{
    DeviceSelect, cache_folder,
    device::{DeviceInfo, adapters},
    doctor::SelfTest,
    memory::{MemoryLimit, MemorySize},
};

/// Show what there is to compute with and where things are kept; with --selftest, compare the GPU's results with the CPU's.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mustdrop doctor\n  mustdrop doctor --selftest --device gpu\n\nA selftest that fails ends with exit code 1."
)]
pub(super) struct Doctor {
    /// Compute an answer on the CPU and on --device, and compare them stage by stage
    #[arg(long)]
    selftest: bool,

    /// The device to test: gpu, an adapter's number or a part of its name
    #[arg(long, default_value = "gpu", env = "MUSTDROP_DEVICE")]
    device: DeviceSelect,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output {
    version: &'static str,
    system: String,
    devices: Vec<Described>,
    /// Where things are kept.
    folders: BTreeMap<&'static str, PathBuf>,
    /// Variables that change what this program does.
    variables: BTreeMap<String, String>,
    selftest: Option<SelfTest>,
}

#[derive(Serialize)]
struct Described {
    #[serde(flatten)]
    device: DeviceInfo,
    /// What `--weights auto` may use, where that is known.
    memory_bytes: Option<u64>,
}

impl Doctor {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let output = Output {
            version: env!("CARGO_PKG_VERSION"),
            system: format!("{} {}", env::consts::OS, env::consts::ARCH),
            devices: adapters().into_iter().map(Described::new).collect(),
            folders: folders(),
            variables: variables(),
            selftest: if self.selftest { Some(SelfTest::run(&self.device)?) } else { None },
        };
        match self.json {
            true => print_json(&output)?,
            false => io::stdout().write_all(output.describe().as_bytes())?,
        }
        let is_fine = output.selftest.is_none_or(|selftest| selftest.passed());
        Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Described {
    fn new(device: DeviceInfo) -> Self {
        let memory_bytes = MemoryLimit::new(None, &device).map(|limit| limit.bytes);
        Self { device, memory_bytes }
    }
}

impl Output {
    fn describe(&self) -> String {
        let mut text = format!("mustdrop {}, {}\n\n", self.version, self.system);
        for Described { device, memory_bytes } in &self.devices {
            text += &devices::describe(device);
            if let Some(bytes) = memory_bytes {
                text += &format!("    --weights auto may use {}\n", MemorySize(*bytes));
            }
        }
        text += "\n";
        for (what, folder) in &self.folders {
            let there = if folder.exists() { "" } else { " (not there yet)" };
            text += &format!("{what}: {}{there}\n", folder.display());
        }
        for (name, value) in &self.variables {
            text += &format!("{name}={value}\n");
        }
        if let Some(selftest) = &self.selftest {
            text += &format!("\n{} beside the CPU:\n{}\n", selftest.device, table(selftest));
            text += match selftest.passed() {
                true => "everything is fine\n",
                false => {
                    "something is wrong: use `--device cpu`, try a newer driver, and report this output\n"
                }
            };
        }
        text
    }
}

fn table(selftest: &SelfTest) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(["stage", "largest error", "tolerated", ""]);
    for stage in &selftest.stages {
        let verdict = if stage.passed { "fine" } else { "WRONG" };
        table.add_row([
            stage.name.clone(),
            format!("{:.1e}", stage.error),
            format!("{:.1e}", stage.tolerance),
            verdict.into(),
        ]);
    }
    for column in table.column_iter_mut().skip(1).take(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn folders() -> BTreeMap<&'static str, PathBuf> {
    let mut folders = BTreeMap::new();
    if let Some(cache) = cache_folder::path() {
        folders.insert("quantised weights", cache.join("weights"));
        folders.insert("which kernels suit the adapter", cache.join("kernels.json"));
    }
    #[cfg(feature = "hub")]
    if let Ok(hub) = crate::hub::Hub::from_env() {
        folders.insert("models of the hub", hub.cache_folder().to_path_buf());
    }
    folders
}

/// The variables that this program reads, as far as they are set; of those that may hold a secret, only that they are.
fn variables() -> BTreeMap<String, String> {
    const SHOWN: [&str; 9] = [
        "MUSTDROP_CACHE",
        "MUSTDROP_DEVICE",
        "MUSTDROP_LOG",
        "MUSTDROP_MODEL",
        "HF_HOME",
        "HF_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "XDG_CACHE_HOME",
        "NO_COLOR",
    ];
    // An endpoint may have a user's password in it.
    const HIDDEN: [&str; 3] = ["MUSTDROP_TOKEN", "HF_TOKEN", "HF_ENDPOINT"];
    let shown =
        SHOWN.iter().filter_map(|name| Some((*name, env::var_os(name)?.to_string_lossy().into_owned())));
    let hidden =
        HIDDEN.iter().filter(|name| env::var_os(name).is_some()).map(|name| (*name, "(set)".to_owned()));
    shown.chain(hidden).map(|(name, value)| (name.to_owned(), value)).collect()
}
