//! `mustdrop chat`: a conversation in the terminal.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use rustyline::{DefaultEditor, error::ReadlineError};

use super::{
    describe::{spinner, summary},
    generation::GenerationArguments,
    interrupt::Interrupts,
    model::ModelArguments,
    not_over_an_input,
    pruning::PruningArguments,
    write_answer, write_whole,
};
use crate::{
    Chat, Error, Event, Part, Picture, Pruning, Report, cache_folder,
    drop::{PolicyName, Turns},
    image::Allowance,
    report::PruningReport,
};

/// What can be typed besides questions.
const COMMANDS: &str = "\
/image FILE     show a picture with the next question
/keep N|P%|off  keep so many vision tokens of the pictures shown from now on
                (with --turns requery, also of those shown under a budget before)
/overlay FILE   draw what was kept of the picture shown last (PNG)
/stats          what the last answer cost
/new            forget the conversation
/help           this list
/quit           leave (or Ctrl-D); Ctrl-C stops an answer";

/// The file in the cache folder with the lines that were typed.
const HISTORY: &str = "chat_history";

/// Talk about pictures: several questions, several pictures, answers as they come.
#[derive(Debug, Args)]
#[command(after_help = format!("While it runs:\n{COMMANDS}\n\nExamples:\n  mustdrop chat photo.jpg --model ~/models/llava-1.5-7b-hf --keep 64"))]
pub struct ChatCommand {
    /// Pictures to begin with (PNG, JPEG or WebP)
    pictures: Vec<PathBuf>,

    #[command(flatten)]
    model: ModelArguments,

    #[command(flatten)]
    generation: GenerationArguments,

    #[command(flatten)]
    pruning: PruningArguments,
}

/// A line of input.
enum Line<'a> {
    Image(&'a Path),
    Keep(&'a str),
    Overlay(&'a Path),
    Stats,
    New,
    Help,
    Quit,
    Question(&'a str),
    Unknown(&'a str),
    Nothing,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Self {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "" => Self::Nothing,
            "/image" => Self::Image(Path::new(rest)),
            "/keep" => Self::Keep(rest),
            "/overlay" => Self::Overlay(Path::new(rest)),
            "/stats" => Self::Stats,
            "/new" => Self::New,
            "/help" => Self::Help,
            "/quit" | "/exit" => Self::Quit,
            word if word.starts_with('/') => Self::Unknown(word),
            _ => Self::Question(line),
        }
    }
}

/// A conversation and what its commands need to know.
struct Session {
    chat: Chat,
    /// The rules that a budget is added to.
    rules: Pruning,
    /// The files of the pictures so far, over which nothing is written.
    files: Vec<PathBuf>,
    /// Pictures that go with the next question.
    waiting: Vec<Picture>,
    /// The last answer's account.
    last: Option<Report>,
    /// The picture shown last, with the account of what was kept of it and its number there.
    shown: Option<(Picture, PruningReport, usize)>,
    interrupts: Interrupts,
}

impl ChatCommand {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let mut allowance = Allowance::default();
        let waiting = self.pictures.iter().map(|path| allowance.open(path));
        let waiting = waiting.collect::<crate::Result<Vec<_>>>()?;
        let pruning = self.pruning.pruning(self.generation.seed)?;
        let builder = self.model.builder();
        let spinner = spinner();
        spinner.set_message("loading the model");
        let model = builder.build()?;
        spinner.finish_and_clear();
        say!("device: {}, weights: {}; /help lists the commands", model.device(), model.weight_format());
        let interrupts = Interrupts::caught();
        let mut chat = model.chat().cancel(interrupts.flag());
        self.generation.adjust(chat.options_mut());
        if let Some(pruning) = &pruning {
            model.check(pruning)?;
            chat = chat.pruning(pruning.clone());
        }
        let rules = pruning.unwrap_or_else(|| {
            let mut rules = Pruning::mustdrop();
            rules.seed = self.generation.seed;
            rules
        });
        let mut session = Session {
            chat,
            rules,
            files: self.pictures.clone(),
            waiting,
            last: None,
            shown: None,
            interrupts,
        };
        let mut editor = DefaultEditor::new()?;
        // What was typed in earlier sessions is a comfort: without it, everything works.
        let folder = cache_folder::path().filter(|folder| fs::create_dir_all(folder).is_ok());
        let history = folder.map(|folder| folder.join(HISTORY));
        if let Some(file) = &history {
            let _ = editor.load_history(file);
        }
        let ended = session.run(&mut editor);
        if let Some(file) = &history {
            let _ = editor.save_history(file);
        }
        ended
    }
}

impl Session {
    /// Reads and answers line by line, to the end of the input.
    fn run(&mut self, editor: &mut DefaultEditor) -> anyhow::Result<()> {
        loop {
            let line = match editor.readline("> ") {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            // A line that cannot be kept is no reason to stop.
            let _ = editor.add_history_entry(line.as_str());
            match Line::parse(&line) {
                Line::Quit => return Ok(()),
                line => {
                    if let Err(error) = self.execute(line) {
                        match error.downcast_ref::<Error>() {
                            // The conversation goes on, unless nobody reads its answers any more.
                            Some(error) => say!("error: {error}"),
                            None => return Err(error),
                        }
                    }
                }
            }
        }
    }

    fn execute(&mut self, line: Line) -> anyhow::Result<()> {
        match line {
            Line::Nothing | Line::Quit => {}
            Line::Help => say!("{COMMANDS}"),
            Line::Image(path) | Line::Overlay(path) if path.as_os_str().is_empty() => {
                say!("error: expected the path of a file behind it; /help lists the commands");
            }
            Line::Keep("") => say!("error: /keep: expected a number of tokens, a share such as 12%, or off"),
            Line::Unknown(word) => say!("error: {word} is no command; /help lists them"),
            Line::Image(path) => {
                let mut allowance = Allowance::default();
                self.waiting.iter().for_each(|picture| allowance.spend(picture));
                let picture = allowance.open(path)?;
                say!("{} x {} pixels, shown with the next question", picture.width(), picture.height());
                self.files.push(path.to_owned());
                self.waiting.push(picture);
            }
            Line::Keep(budget) => self.keep(budget)?,
            Line::Overlay(path) => self.overlay(path)?,
            Line::Stats => match &self.last {
                Some(report) => say!("{}", summary(report)),
                None => say!("nothing was asked yet"),
            },
            Line::New => {
                self.chat.clear();
                (self.waiting, self.last, self.shown) = (Vec::new(), None, None);
            }
            Line::Question(question) => self.ask(question)?,
        }
        Ok(())
    }

    fn keep(&mut self, budget: &str) -> anyhow::Result<()> {
        let pruning = match budget {
            // What an earlier budget kept out is to come back.
            "off" if self.rules.turns == Turns::Requery => {
                let mut everything = Pruning::policy(PolicyName::None);
                everything.turns = Turns::Requery;
                Some(everything)
            }
            "off" => None,
            budget => Some(self.rules.clone().keep(budget.parse()?)),
        };
        Ok(self.chat.set_pruning(pruning)?)
    }

    fn overlay(&self, path: &Path) -> anyhow::Result<()> {
        let drawn = self
            .shown
            .as_ref()
            .and_then(|(picture, report, number)| report.overlay(*number, picture).transpose());
        let Some(drawn) = drawn else {
            let found = "none; ask about a picture, with /keep before";
            return Err(Error::argument("/overlay", "a picture that lost tokens", found).into());
        };
        not_over_an_input("/overlay", path, &self.files)?;
        Ok(write_whole("/overlay", path, &drawn?.to_png()?)?)
    }

    fn ask(&mut self, question: &str) -> anyhow::Result<()> {
        let parts: Vec<Part> =
            self.waiting.iter().cloned().map(Part::Image).chain([Part::text(question)]).collect();
        self.interrupts.clear();
        let mut answer = match self.chat.ask(parts) {
            Err(Error::Cancelled) => {
                self.interrupts.clear();
                say!("(stopped)");
                return Ok(());
            }
            asked => asked?,
        };
        let report = answer.report().pruning.as_ref();
        let judged = report.filter(|report| !report.pictures.is_empty());
        // Where earlier pictures had to be computed again, they come first.
        let last = |picture, report: &PruningReport| (picture, report.clone(), report.pictures.len() - 1);
        if let Some(picture) = self.waiting.pop() {
            self.shown = judged.map(|report| last(picture, report));
        } else if let (Some(report), Some((picture, ..))) = (judged, self.shown.take_if(|_| judged.is_some()))
        {
            self.shown = Some(last(picture, report));
        }
        self.waiting.clear();
        let mut stopped = self.interrupts.happened();
        while !stopped && let Some(event) = answer.next() {
            match event {
                Ok(Event::Text(piece)) => {
                    write_answer(&piece)?;
                }
                Ok(_) | Err(Error::Cancelled) => {}
                Err(error) => return Err(error.into()),
            }
            stopped = self.interrupts.happened();
        }
        writeln!(io::stdout())?;
        if stopped {
            self.interrupts.clear();
            say!("(stopped)");
        }
        self.last = Some(answer.report().clone());
        Ok(())
    }
}
