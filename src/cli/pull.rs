//! `mustdrop pull`: a model from the hub.

use std::{
    collections::HashMap,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{
    error::{Error, Result},
    hub::{Hub, ModelName, Step},
    memory::MemorySize,
};

/// Fetch a model from the Hugging Face hub into the cache that its tools share, and print its folder.
///
/// What an earlier attempt left is gone on with. HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are
/// respected.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mustdrop pull llava-hf/llava-1.5-7b-hf\n  mustdrop describe photo.jpg --model llava-hf/llava-1.5-7b-hf --keep 64"
)]
pub(super) struct Pull {
    /// organisation/name, or organisation/name@revision
    name: ModelName,

    /// A branch, a tag or a commit [default: main]
    #[arg(long)]
    revision: Option<String>,

    /// Use the cache alone
    #[arg(long)]
    offline: bool,
}

impl Pull {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let name = match &self.revision {
            Some(revision) => self.name.at(revision)?,
            None => self.name.clone(),
        };
        let hub = Hub::from_env()?.offline(self.offline);
        // Who pulls wants the newest; without the network, what is there.
        let found = if self.offline { hub.find(&name) } else { None };
        let folder = found.map_or_else(|| hub.update(&name, &bars()), Ok)?;
        Ok(writeln!(io::stdout(), "{}", folder.display())?)
    }
}

/// The folder of the model that `--model` names: a folder, or a name on the hub, whose model is fetched if it is not in
/// the cache.
pub(super) fn locate(model: &Path, offline: bool) -> Result<PathBuf> {
    // A folder goes before a model of the same name.
    match model.to_str().and_then(|text| text.parse::<ModelName>().ok()) {
        Some(name) if !model.exists() => {
            Hub::from_env()?.offline(offline).pull(&name, &bars()).map_err(|error| match error {
                Error::Model { path, problem } => {
                    Error::model(path, format!("no folder of that name; on the hub: {problem}"))
                }
                error => error,
            })
        }
        _ => Ok(model.to_path_buf()),
    }
}

/// Draws a bar for every file, on a terminal, and says the rest in lines.
fn bars() -> impl Fn(Step) + Sync {
    let all = MultiProgress::new();
    let bars: Mutex<HashMap<String, ProgressBar>> = Mutex::default();
    let style = ProgressStyle::with_template(
        "{msg:32!} {bar:24} {bytes:>11} of {total_bytes:>11} {binary_bytes_per_sec:>13} {eta}",
    );
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    move |step| {
        let mut bars = bars.lock().unwrap_or_else(PoisonError::into_inner);
        match step {
            Step::Found { licence, files, bytes } => {
                let licence = licence.unwrap_or("not named: see the model's card");
                say!("{files} files, {}, licence: {licence}", MemorySize(bytes));
            }
            Step::File { name, bytes, present } => {
                let bar =
                    all.add(ProgressBar::new(bytes).with_style(style.clone()).with_message(name.to_owned()));
                bar.set_position(present);
                // What was there before is no speed.
                bar.reset_eta();
                bars.insert(name.to_owned(), bar);
            }
            Step::Bytes { name, present } => {
                if let Some(bar) = bars.get(name) {
                    bar.set_position(present);
                }
            }
            Step::Again { name, problem, wait } => {
                all.suspend(|| say!("{name}: {problem}; again in {} s", wait.as_secs().max(1)));
            }
            Step::Done { name } => {
                if let Some(bar) = bars.remove(name) {
                    bar.finish_and_clear();
                }
            }
        }
    }
}
