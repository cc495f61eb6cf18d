//! `mustdrop pull`: a model from the hub.

use std::{
    collections::HashMap,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    checkpoint::GGUF_PROBLEM,
    error::{Error, Result},
    hub::{Hub, ModelName, Step},
    memory::MemorySize,
};

/// Fetch a model from the Hugging Face hub into the cache that its tools share, and print its folder.
///
/// Only what is needed is fetched: configurations, tokenizer, templates and *.safetensors, or of a repository of GGUF files one
/// quantisation with its vision tower. What an earlier attempt left is gone on with. HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are
/// respected.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mustdrop pull llava-hf/llava-1.5-7b-hf\n  mustdrop pull owner/llava-GGUF:Q4_K_M\n  mustdrop describe photo.jpg --model llava-hf/llava-1.5-7b-hf --keep 64"
)]
pub(super) struct Pull {
    /// organisation/name, perhaps with @revision or, where there are GGUF files, :quantisation behind it
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
        let folder = found.map_or_else(|| hub.update(&name, &bar()), Ok)?;
        Ok(writeln!(io::stdout(), "{}", folder.display())?)
    }
}

/// The folder of the model that `--model` names: a folder, or a name on the hub, whose model is fetched if it is not in
/// the cache.
pub(super) fn locate(model: &Path, offline: bool) -> Result<PathBuf> {
    // A folder goes before a model of the same name.
    match model.to_str().and_then(|text| text.parse::<ModelName>().ok()) {
        Some(name) if !model.exists() && name.quantisation().is_some() => Err(Error::model(
            model,
            format!("{GGUF_PROBLEM} (`mustdrop pull` fetches GGUF files all the same)"),
        )),
        Some(name) if !model.exists() => {
            Hub::from_env()?.offline(offline).pull(&name, &bar()).map_err(|error| match error {
                Error::Model { path, problem } => {
                    Error::model(path, format!("no folder of that name; on the hub: {problem}"))
                }
                error => error,
            })
        }
        _ => Ok(model.to_path_buf()),
    }
}

/// Draws one bar of all that is fetched, on a terminal, and says the rest in lines.
fn bar() -> impl Fn(Step) + Sync {
    let bar = ProgressBar::no_length();
    let style = ProgressStyle::with_template(
        "{msg} {bar:32} {bytes:>11} of {total_bytes:>11} {binary_bytes_per_sec:>13} {eta:>5}",
    );
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let state: Mutex<State> = Mutex::default();
    move |step| {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        match step {
            Step::Found { licence, files, bytes } => {
                let licence = licence.unwrap_or("not named: see the model's card");
                bar.suspend(|| say!("{files} files, {}, licence: {licence}", MemorySize(bytes)));
                state.files = files;
                bar.set_length(bytes);
            }
            Step::File { name, bytes: _, present } => {
                state.present.insert(name.to_owned(), present);
                bar.set_position(state.bytes());
                // What was there before is no speed.
                bar.reset_eta();
            }
            Step::Bytes { name, present } => {
                state.present.insert(name.to_owned(), present);
                bar.set_position(state.bytes());
            }
            Step::Again { name, problem, wait } => {
                bar.suspend(|| say!("{name}: {problem}; again in {} s", wait.as_secs().max(1)));
            }
            Step::Done { name, bytes } => {
                state.done += 1;
                state.present.insert(name.to_owned(), bytes);
                bar.set_position(state.bytes());
                if state.done == state.files {
                    bar.finish_and_clear();
                }
            }
        }
        bar.set_message(format!("{} of {} files", state.done, state.files));
    }
}

/// How far files are.
#[derive(Default)]
struct State {
    files: usize,
    done: usize,
    /// Bytes of each that are there.
    present: HashMap<String, u64>,
}

impl State {
    fn bytes(&self) -> u64 {
        self.present.values().sum()
    }
}
