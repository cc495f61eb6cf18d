//! `mustdrop chat`: a conversation in the terminal.
//!
//! - `line`: what a line means; `dropped`: paths in it, as terminals write them
//! - `editor`: how a line is typed: completion, several lines, history
//! - `session`: the conversation, and what commands do to it; `rules`: what it drops
//! - `saved`: a conversation in a file
//! - `display`: pictures in the terminal; `escape`: what terminals are sent for them

mod display;
mod dropped;
mod editor;
mod escape;
mod line;
mod rules;
mod saved;
mod session;

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::Args;

pub(super) use self::dropped::is_named_as_picture;

use self::{
    display::{Display, Pictures},
    editor::Editor,
    rules::Rules,
    saved::Photo,
    session::Session,
};
use super::{
    describe::spinner, generation::GenerationArguments, interrupt::Interrupts, model::ModelArguments,
    named::named, pruning::PruningArguments,
};
use crate::{PictureCache, image::Allowance};

/// Bytes of encoded pictures that are kept for `/retry` and the like.
const PICTURE_CACHE_BYTES: u64 = 256 << 20;

/// Talk about pictures: several questions, several pictures, answers as they come.
#[derive(Debug, Args)]
#[command(after_help = format!(
    "While it runs:\n{}\n\nExamples:\n  mustdrop chat photo.jpg --model llava-hf/llava-1.5-7b-hf --keep 64\n  \
     mustdrop chat --load talk.json", line::help()))]
pub struct ChatCommand {
    /// Pictures to begin with (PNG, JPEG or WebP)
    pictures: Vec<PathBuf>,

    /// Go on with a conversation that /save wrote; its pictures are looked at as the options here say
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,

    /// Instructions in front of the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,

    /// How pictures are shown in the terminal: kitty, iterm2, sixel, blocks, off, or auto, what the terminal says that it can
    #[arg(long, value_name = "HOW", default_value_t, env = "MUSTDROP_PICTURES", value_parser = named::<Pictures>(Pictures::ALL.iter().map(|one| one.as_str())), hide_possible_values = true)]
    show: Pictures,

    #[command(flatten)]
    model: ModelArguments,

    #[command(flatten)]
    generation: GenerationArguments,

    #[command(flatten)]
    pruning: PruningArguments,
}

impl ChatCommand {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        // Files first: a wrong path is said before seconds are spent on the model.
        let loaded = self.load.as_deref().map(saved::load).transpose()?;
        let mut allowance = Allowance::default();
        let open = |path: &PathBuf| Photo::open(path, &mut allowance);
        let waiting = self.pictures.iter().map(open).collect::<crate::Result<Vec<_>>>()?;
        let pruning = self.pruning.pruning(self.generation.seed)?;
        let builder = self.model.builder();
        let spinner = spinner();
        spinner.set_message("loading the model");
        let model = builder.build()?;
        spinner.suspend(|| {
            say!("device: {}, weights: {}; /help lists the commands", model.device(), model.weight_format())
        });
        let interrupts = Interrupts::caught();
        let mut chat = model.chat().cancel(interrupts.flag());
        chat = chat.picture_cache(Arc::new(PictureCache::new(PICTURE_CACHE_BYTES)));
        self.generation.adjust(chat.options_mut());
        let rules = Rules::new(pruning, self.generation.seed);
        let name = self.model.name();
        let mut session = Session::new(chat, name, rules, Display::new(self.show), interrupts)?;
        if let Some(loaded) = loaded {
            spinner.set_message("looking at the pictures");
            let (count, model) = (loaded.exchanges.len(), loaded.model.clone());
            session.resume(loaded)?;
            let questions = if count == 1 { "question" } else { "questions" };
            spinner.suspend(|| say!("{count} {questions} and what {model} answered are back"));
        }
        spinner.finish_and_clear();
        if let Some(text) = &self.system {
            session.instruct(Some(text.clone()));
        }
        for photo in waiting {
            session.show(photo);
        }
        self.converse(&mut session)
    }

    /// Reads and answers to the end of the input.
    fn converse(&self, session: &mut Session) -> anyhow::Result<ExitCode> {
        let mut editor = Editor::new()?;
        let ended = session.run(&mut editor);
        editor.keep_history();
        ended
    }
}
