//! The conversation, and what commands do to it.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{
    display::Display,
    editor::{Editor, Input},
    line::{self, Line},
    saved::{self, Exchange, Photo},
};
use crate::{
    Chat, Error, Event, Picture, Pruning, Report,
    cli::{describe::summary, interrupt::Interrupts, not_over_an_input, write_answer, write_whole},
    drop::{PolicyName, Turns, missed::Share},
    image::Allowance,
    memory::MemorySize,
    report::PruningReport,
};

/// The exit code of a program that Ctrl-C ends.
const INTERRUPTED: u8 = 130;

/// What is dropped, and what would be.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    rules: Pruning,
    is_on: bool,
}

impl Rules {
    /// These rules, or MustDrop's, once there is a budget.
    pub fn new(given: Option<Pruning>, seed: u64) -> Self {
        let is_on = given.is_some();
        let rules = given.unwrap_or_else(|| {
            let mut rules = Pruning::mustdrop();
            rules.seed = seed;
            rules
        });
        Self { rules, is_on }
    }

    /// What the conversation goes by.
    fn pruning(&self) -> Option<Pruning> {
        match self.rules.turns {
            _ if self.is_on => Some(self.rules.clone()),
            // What an earlier budget kept out is to come back.
            Turns::Requery => {
                let mut everything = Pruning::policy(PolicyName::None);
                everything.turns = Turns::Requery;
                Some(everything)
            }
            _ => None,
        }
    }

    fn describe(&self) -> String {
        let Pruning { policy, keep, turns, .. } = &self.rules;
        match (self.is_on, keep) {
            (false, _) => "everything is kept of pictures shown from now on".into(),
            (true, Some(keep)) => format!("--policy {policy} --keep {keep} --turns {turns}"),
            (true, None) => format!("--policy {policy} --turns {turns}"),
        }
    }
}

/// A conversation and what its commands need to know.
pub(super) struct Session {
    chat: Chat,
    /// What the model is called.
    model: String,
    rules: Rules,
    system: Option<String>,
    exchanges: Vec<Exchange>,
    /// What the answers cost, as far as they were made here: one for each exchange.
    reports: Vec<Option<Report>>,
    /// Pictures that go with the next question.
    waiting: Vec<Photo>,
    /// Files that were read, over which nothing is written.
    files: Vec<PathBuf>,
    display: Display,
    interrupts: Interrupts,
}

impl Session {
    pub fn new(
        mut chat: Chat,
        model: String,
        rules: Rules,
        display: Display,
        interrupts: Interrupts,
    ) -> crate::Result<Self> {
        chat.set_pruning(rules.pruning())?;
        let (exchanges, reports) = (Vec::new(), Vec::new());
        let (waiting, files) = (Vec::new(), Vec::new());
        Ok(Self { chat, model, rules, system: None, exchanges, reports, waiting, files, display, interrupts })
    }

    /// Goes on with an earlier conversation.
    pub fn resume(&mut self, system: Option<String>, exchanges: Vec<Exchange>) -> crate::Result<()> {
        self.chat.resume(exchanges.iter().flat_map(Exchange::turns))?;
        self.files
            .extend(exchanges.iter().flat_map(|exchange| &exchange.photos).map(|photo| photo.path.clone()));
        self.reports = vec![None; exchanges.len()];
        self.exchanges = exchanges;
        self.system = system;
        self.chat.instruct(self.system.clone());
        Ok(())
    }

    /// Reads and answers line by line, to the end of the input.
    pub fn run(&mut self, editor: &mut Editor) -> anyhow::Result<ExitCode> {
        let mut is_warned = false;
        loop {
            let line = match editor.read()? {
                Input::Line(line) => line,
                Input::End => return Ok(ExitCode::SUCCESS),
                Input::Interrupt if is_warned => return Ok(ExitCode::from(INTERRUPTED)),
                Input::Interrupt => {
                    say!("(Ctrl-C once more leaves)");
                    is_warned = true;
                    continue;
                }
            };
            is_warned = false;
            match Line::parse(&line) {
                Line::Quit => return Ok(ExitCode::SUCCESS),
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
            Line::Help => say!("{}", line::help()),
            Line::Incomplete(name, arguments) => {
                say!("error: {name}: expected {arguments} behind it; /help lists the commands");
            }
            Line::Unknown(word) => say!("error: {word} is no command; /help lists them"),
            Line::Pictures(paths, question) => {
                for path in paths {
                    let mut allowance = Allowance::default();
                    self.waiting.iter().for_each(|photo| allowance.spend(&photo.picture));
                    self.show(Photo::open(&path, &mut allowance)?);
                }
                if !question.is_empty() {
                    self.ask(question)?;
                }
            }
            Line::Keep(budget) => {
                let mut rules = self.rules.clone();
                rules.is_on = budget != "off";
                if rules.is_on {
                    rules.rules.keep = Some(budget.parse()?);
                }
                self.go_by(rules)?;
            }
            Line::Policy(name) => {
                let Pruning { keep, turns, seed, .. } = self.rules.rules;
                let mut rules = Pruning::policy(name.parse()?);
                (rules.keep, rules.turns, rules.seed) = (keep, turns, seed);
                self.go_by(Rules { rules, is_on: true })?;
            }
            Line::Turns(name) => {
                let mut rules = self.rules.clone();
                rules.rules.turns = name.parse()?;
                self.go_by(rules)?;
            }
            Line::Overlay(path) => self.overlay(path.as_deref())?,
            Line::Stats => match self.reports.last().and_then(Option::as_ref) {
                Some(report) => say!("{}\n{}", summary(report), memory(report)),
                None => say!("nothing was asked yet"),
            },
            Line::System(text) => self.instruct(text),
            Line::Retry => self.retry()?,
            Line::Undo => self.undo(),
            Line::Save(path) => {
                not_over_an_input("/save", &path, &self.files)?;
                saved::save(&path, &self.model, self.system.as_deref(), &self.exchanges)?;
            }
            Line::Clear => {
                self.chat.clear();
                (self.system, self.waiting) = (None, Vec::new());
                (self.exchanges, self.reports) = (Vec::new(), Vec::new());
            }
            Line::Question(question) => self.ask(question)?,
        }
        Ok(())
    }

    /// Has a picture wait for the next question, and shows it.
    pub fn show(&mut self, photo: Photo) {
        self.display.show(&photo.picture);
        let (width, height) = (photo.picture.width(), photo.picture.height());
        say!("{}: {width} x {height} pixels, shown with the next question", photo.path.display());
        self.files.push(photo.path.clone());
        self.waiting.push(photo);
    }

    /// Puts instructions in front of the conversation, or takes them away.
    pub fn instruct(&mut self, text: &str) {
        self.system = (text != "off").then(|| text.to_owned());
        self.chat.instruct(self.system.clone());
    }

    fn go_by(&mut self, rules: Rules) -> anyhow::Result<()> {
        self.chat.set_pruning(rules.pruning())?;
        self.rules = rules;
        say!("{}", self.rules.describe());
        Ok(())
    }

    /// The picture shown last of which tokens were judged, with the account and its number there.
    fn judged(&self) -> Option<(&Picture, &PruningReport, usize)> {
        let judged = self.reports.iter().enumerate().rev().find_map(|(index, report)| {
            let report = report.as_ref()?.pruning.as_ref()?;
            (!report.pictures.is_empty()).then_some((index, report))
        });
        let (index, report) = judged?;
        // Where earlier pictures had to be computed again, they come first.
        let photo = self.exchanges[..=index].iter().flat_map(|exchange| &exchange.photos).next_back()?;
        Some((&photo.picture, report, report.pictures.len() - 1))
    }

    fn overlay(&self, path: Option<&Path>) -> anyhow::Result<()> {
        let judged = self.judged();
        let Some(drawn) =
            judged.and_then(|(picture, report, number)| report.overlay(number, picture).transpose())
        else {
            let found = "none; ask about a picture, with /keep before";
            return Err(Error::argument("/overlay", "a picture that lost tokens", found).into());
        };
        let drawn = drawn?;
        if let Some(path) = path {
            not_over_an_input("/overlay", path, &self.files)?;
            write_whole("/overlay", path, &drawn.to_png()?)?;
        }
        if !self.display.show(&drawn) && path.is_none() {
            let found = "no terminal that shows pictures";
            return Err(Error::argument("/overlay", "a FILE behind it", found).into());
        }
        Ok(())
    }

    /// The last question, as if it had not been asked.
    fn take_back(&mut self) -> Option<Exchange> {
        let exchange = self.exchanges.pop();
        match exchange {
            None => say!("nothing was asked yet"),
            Some(_) => {
                self.reports.pop();
                self.chat.undo();
            }
        }
        exchange
    }

    /// Takes back the last question; its pictures wait for another one.
    fn undo(&mut self) {
        let Some(exchange) = self.take_back() else { return };
        say!("taken back: {}", exchange.question);
        if !exchange.photos.is_empty() {
            say!("its pictures are shown with the next question ({})", exchange.photos.len());
        }
        self.waiting.splice(..0, exchange.photos);
    }

    fn retry(&mut self) -> anyhow::Result<()> {
        let Some(exchange) = self.take_back() else { return Ok(()) };
        let later = std::mem::replace(&mut self.waiting, exchange.photos);
        let asked = self.ask(&exchange.question);
        self.waiting.extend(later);
        asked
    }

    /// Asks, and writes the answer as it comes.
    fn ask(&mut self, question: &str) -> anyhow::Result<()> {
        let mut exchange =
            Exchange { photos: self.waiting.clone(), question: question.to_owned(), answer: String::new() };
        self.interrupts.clear();
        let mut answer = match self.chat.ask(exchange.parts()) {
            Err(Error::Cancelled) => {
                self.interrupts.clear();
                say!("(stopped)");
                return Ok(());
            }
            asked => asked?,
        };
        self.waiting.clear();
        let mut failed = None;
        let mut stopped = self.interrupts.happened();
        while !stopped && let Some(event) = answer.next() {
            match event {
                Ok(Event::Text(piece)) => {
                    write_answer(&piece)?;
                }
                Ok(_) | Err(Error::Cancelled) => {}
                Err(error) => failed = Some(error),
            }
            stopped = self.interrupts.happened();
        }
        exchange.answer = answer.text().to_owned();
        let missed = answer.report().missed.filter(Share::is_most);
        // What was said until then stays, whatever ended it.
        self.reports.push(Some(answer.report().clone()));
        drop(answer);
        self.exchanges.push(exchange);
        writeln!(io::stdout())?;
        if stopped {
            self.interrupts.clear();
            say!("(stopped)");
        }
        if let Some(share) = missed {
            say!(
                "(this question attends mainly to what earlier ones dropped, {:.0} %: /turns requery has each choose anew)",
                100.0 * share.attention
            );
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// A line about what the conversation holds.
fn memory(report: &Report) -> String {
    let rows = &report.kv_rows_per_layer;
    let (least, most) = (rows.iter().min().copied().unwrap_or(0), rows.iter().max().copied().unwrap_or(0));
    let rows = if least == most { format!("{most}") } else { format!("{least} to {most}") };
    let missed = report.missed.map_or_else(String::new, |share| {
        let [attention, tokens] = [share.attention, share.tokens].map(|share| 100.0 * share);
        format!(
            "; {attention:.0} % of its attention to the pictures went to the {tokens:.0} % that were dropped"
        )
    });
    format!(
        "KV cache: {}, {rows} rows a layer; {} of the prompt's tokens were there before{missed}",
        MemorySize(report.kv_bytes),
        report.reused_tokens
    )
}
