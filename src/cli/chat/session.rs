//! The conversation, and what commands do to it.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::{
    display::Display,
    editor::{Editor, Input},
    line::{self, Line},
    rules::Rules,
    saved::{self, Exchange, Loaded, Photo},
};
use crate::{
    Chat, Error, Event, Picture, Report,
    cli::{
        describe::{cut_short, summary},
        interrupt::Interrupts,
        not_over_an_input, with_visible_controls, write_answer, write_whole,
    },
    drop::{Turns, missed::Share},
    image::Allowance,
    memory::MemorySize,
    report::PruningReport,
};

/// A conversation and what its commands need to know.
pub(super) struct Session {
    chat: Chat,
    /// What the model is called.
    model: String,
    rules: Rules,
    system: Option<String>,
    exchanges: Vec<Exchange>,
    /// Whether the model has yet to take up all that was said.
    is_behind: bool,
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
        let (exchanges, waiting, files) = (Vec::new(), Vec::new(), Vec::new());
        let (system, is_behind) = (None, false);
        Ok(Self { chat, model, rules, system, exchanges, is_behind, waiting, files, display, interrupts })
    }

    /// Goes on with an earlier conversation.
    pub fn resume(&mut self, Loaded { system, exchanges, .. }: Loaded) -> crate::Result<()> {
        let photos = exchanges.iter().flat_map(|exchange| &exchange.photos);
        self.files.extend(photos.map(|photo| photo.path.clone()));
        (self.exchanges, self.system) = (exchanges, system);
        self.take_up()
    }

    /// Has the model take up all that was said under the rules of now; if that is stopped, the next question does.
    fn take_up(&mut self) -> crate::Result<()> {
        self.interrupts.clear();
        self.is_behind = true;
        self.chat.clear();
        self.chat.instruct(self.system.clone());
        self.chat.resume(self.exchanges.iter().flat_map(Exchange::turns))?;
        self.is_behind = false;
        Ok(())
    }

    /// Reads and answers line by line, to the end of the input; the exit code is that of the first line that failed, unless
    /// somebody sits at a terminal, who saw it.
    pub fn run(&mut self, editor: &mut Editor) -> anyhow::Result<ExitCode> {
        let is_script = !io::stdin().is_terminal();
        let (mut is_warned, mut first_failure) = (false, 0);
        loop {
            let line = match editor.read()? {
                Input::Line(line) => line,
                Input::End => break,
                Input::Interrupt if is_warned => return Ok(ExitCode::from(Error::Cancelled.exit_code())),
                Input::Interrupt => {
                    say!("(Ctrl-C once more leaves)");
                    is_warned = true;
                    continue;
                }
            };
            is_warned = false;
            let line = Line::parse(&line);
            if line == Line::Quit {
                break;
            }
            let Err(error) = self.execute(line) else { continue };
            let Some(known) = error.downcast_ref::<Error>() else {
                // The conversation goes on, unless nobody reads its answers any more.
                return Err(error);
            };
            match known {
                Error::Cancelled => say!("(stopped)"),
                known => say!("error: {}", with_visible_controls(&known.to_string())),
            }
            if matches!(known, Error::Context { .. }) {
                say!("(/undo takes the last question back, /image off what waits, /clear forgets all)");
            }
            if is_script && first_failure == 0 {
                first_failure = known.exit_code();
            }
        }
        Ok(ExitCode::from(first_failure))
    }

    fn execute(&mut self, line: Line) -> anyhow::Result<()> {
        match line {
            Line::Nothing | Line::Quit => {}
            Line::Help => say!("{}", line::help()),
            Line::Incomplete(name, arguments) => {
                let expected = format!("{arguments} behind it (/help lists the commands)");
                return Err(Error::argument(name, expected, "nothing").into());
            }
            Line::Unknown(word) => {
                return Err(Error::argument("a command", "one of those that /help lists", word).into());
            }
            Line::NoPictures => {
                let count = self.waiting.drain(..).count();
                say!("{count} pictures that waited are gone");
            }
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
                let mut rules = self.rules.clone();
                rules.rules.policy = name.parse()?;
                self.go_by(rules)?;
            }
            Line::Turns(name) => {
                let mut rules = self.rules.clone();
                rules.rules.turns = name.parse()?;
                let chooses_anew =
                    rules.rules.turns == Turns::Requery && self.rules.rules.turns != Turns::Requery;
                self.go_by(rules)?;
                // What is chosen from anew has to be there: pictures are looked at once more.
                if chooses_anew && !self.exchanges.is_empty() {
                    self.take_up()?;
                }
            }
            Line::Overlay(path) => self.overlay(path.as_deref())?,
            Line::Stats => match self.exchanges.last().and_then(|exchange| exchange.report.as_ref()) {
                Some(report) => say!("{}\n{}", summary(report), memory(report)),
                None => say!("no answer was made here yet"),
            },
            Line::System(text) => self.instruct((text != "off").then(|| text.to_owned())),
            Line::Retry => self.retry()?,
            Line::Undo => self.undo(),
            Line::Save(path) => {
                not_over_an_input("/save", &path, &self.files)?;
                saved::save(&path, &self.model, self.system.as_deref(), &self.exchanges)?;
                say!("saved, with {} questions: {}", self.exchanges.len(), path.display());
            }
            Line::Clear => {
                (self.waiting, self.exchanges) = (Vec::new(), Vec::new());
                self.take_up()?;
                say!("forgotten{}", if self.system.is_some() { ", but for the instructions" } else { "" });
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
    pub fn instruct(&mut self, text: Option<String>) {
        say!(
            "{}",
            if text.is_some() { "instructions stand in front of all from now on" } else { "no instructions" }
        );
        self.system = text;
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
        let judged = self.exchanges.iter().enumerate().rev().find_map(|(index, exchange)| {
            let report = exchange.report.as_ref()?.pruning.as_ref()?;
            (!report.pictures.is_empty()).then_some((index, report))
        });
        let (index, report) = judged?;
        let mut photos = self.exchanges[..=index].iter().flat_map(|exchange| &exchange.photos);
        let number = report.pictures.len() - 1;
        // Pictures that were shown without a budget are in no report.
        let photo = photos.nth(report.pictures[number].number)?;
        Some((&photo.picture, report, number))
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
            say!("drawn: {}", path.display());
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
        if exchange.is_none() {
            say!("nothing was asked yet");
        }
        self.chat.undo();
        exchange
    }

    /// Takes back the last question; its pictures wait for another one.
    fn undo(&mut self) {
        let Some(exchange) = self.take_back() else { return };
        say!("taken back: {}", with_visible_controls(&exchange.question));
        if !exchange.photos.is_empty() {
            self.waiting.splice(..0, exchange.photos);
            say!("pictures shown with the next question: {} (/image off: none)", self.waiting.len());
        }
    }

    /// Asks the last question once more; if that fails, all is as it was.
    fn retry(&mut self) -> anyhow::Result<()> {
        let Some(exchange) = self.take_back() else { return Ok(()) };
        say!("asked once more: {}", with_visible_controls(&exchange.question));
        let later = std::mem::replace(&mut self.waiting, exchange.photos.clone());
        let before = self.exchanges.len();
        let asked = self.ask(&exchange.question);
        if self.exchanges.len() == before {
            self.waiting.clear();
            self.is_behind |= self.chat.resume(exchange.turns()).is_err();
            self.exchanges.push(exchange);
        }
        self.waiting.extend(later);
        asked
    }

    /// Asks, and writes the answer as it comes.
    fn ask(&mut self, question: &str) -> anyhow::Result<()> {
        let (photos, question) = (self.waiting.clone(), question.to_owned());
        let mut exchange = Exchange { photos, question, answer: String::new(), report: None };
        if self.is_behind {
            self.take_up()?;
        }
        self.interrupts.clear();
        let asked = self.chat.ask(exchange.parts());
        if asked.is_err() {
            self.interrupts.clear();
            // One line for each question, where lines are counted.
            if !io::stdout().is_terminal() {
                writeln!(io::stdout())?;
            }
        }
        let mut answer = asked?;
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
        let cut = cut_short(answer.report());
        let missed = answer.report().missed.filter(Share::is_most);
        // What was said until then stays, whatever ended it.
        exchange.report = Some(answer.report().clone());
        drop(answer);
        self.exchanges.push(exchange);
        writeln!(io::stdout())?;
        cut.into_iter().for_each(|why| say!("{why}"));
        if stopped {
            self.interrupts.clear();
            failed = Some(Error::Cancelled);
        }
        if let Some(share) = missed {
            say!(
                "(this question attends mainly to tokens that filters dropped for earlier ones, {:.0} %: /turns requery has each \
                 choose anew)",
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
            "; {attention:.0} % of its attention to their tokens went to the {tokens:.0} % that filters dropped"
        )
    });
    format!(
        "KV cache: {}, {rows} rows a layer; {} of the prompt's tokens were there before{missed}",
        MemorySize(report.kv_bytes),
        report.reused_tokens
    )
}
