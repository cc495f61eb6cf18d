//! How a line is typed: completion, several lines, history.

use std::{
    borrow::Cow,
    cell::Cell,
    env, fs,
    io::{self, BufRead, IsTerminal},
    path::PathBuf,
};

use rustyline::{
    CompletionType, Config, Context, Helper,
    completion::{Completer, FilenameCompleter, Pair},
    error::ReadlineError,
    highlight::{CmdKind, Highlighter},
    hint::Hinter,
    history::FileHistory,
    validate::{ValidationContext, ValidationResult, Validator},
};

use super::line::COMMANDS;
use crate::drop::{PolicyName, Turns};

const PROMPT: &str = "> ";
/// Around what goes over several lines.
const FENCE: &str = "\"\"\"";

/// What comes in.
#[derive(Debug, PartialEq)]
pub(super) enum Input {
    Line(String),
    /// Ctrl-C where nothing was typed.
    Interrupt,
    End,
}

/// Reads lines, from a terminal with all comfort.
pub(super) struct Editor {
    lines: rustyline::Editor<Comfort, FileHistory>,
    /// The file with the lines that were typed; without it, everything else works.
    history: Option<PathBuf>,
}

impl Editor {
    pub fn new() -> anyhow::Result<Self> {
        let config = Config::builder().completion_type(CompletionType::List).build();
        let mut lines = rustyline::Editor::with_config(config)?;
        lines.set_helper(Some(Comfort { files: FilenameCompleter::new(), is_empty: Cell::new(true) }));
        let history = state_folder().filter(|folder| fs::create_dir_all(folder).is_ok());
        let history = history.map(|folder| folder.join("chat_history"));
        if let Some(file) = &history {
            // The first time, there is none.
            let _ = lines.load_history(file);
        }
        Ok(Self { lines, history })
    }

    /// The next line, or several that are one.
    pub fn read(&mut self) -> anyhow::Result<Input> {
        if !io::stdin().is_terminal() {
            return read_plain();
        }
        let comfort = self.lines.helper();
        comfort.iter().for_each(|comfort| comfort.is_empty.set(true));
        match self.lines.readline(PROMPT) {
            Ok(line) => {
                // A line that cannot be kept is no reason to stop.
                let _ = self.lines.add_history_entry(line.as_str());
                Ok(Input::Line(joined(&line)))
            }
            // What was half typed is all that goes.
            Err(ReadlineError::Interrupted) if !self.is_empty() => Ok(Input::Line(String::new())),
            Err(ReadlineError::Interrupted) => Ok(Input::Interrupt),
            Err(ReadlineError::Eof) => Ok(Input::End),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether nothing was typed.
    fn is_empty(&self) -> bool {
        self.lines.helper().is_none_or(|comfort| comfort.is_empty.get())
    }

    /// Writes what was typed to its file.
    pub fn keep_history(&mut self) {
        if let Some(file) = &self.history {
            // A comfort.
            let _ = self.lines.save_history(file);
        }
    }
}

/// The user's folder for what programs remember: `$MUSTDROP_STATE`, or `mustdrop` in the system's.
fn state_folder() -> Option<PathBuf> {
    let given = env::var_os("MUSTDROP_STATE").filter(|folder| !folder.is_empty());
    let system = || Some(dirs::state_dir().or_else(dirs::data_local_dir)?.join("mustdrop"));
    given.map(PathBuf::from).or_else(system)
}

/// The same as a terminal's line from a file or a pipe, which may end within one.
fn read_plain() -> anyhow::Result<Input> {
    let mut typed = String::new();
    loop {
        let mut bytes = Vec::new();
        io::stdin().lock().read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() && typed.is_empty() {
            return Ok(Input::End);
        }
        let line = String::from_utf8_lossy(&bytes);
        typed += line.trim_end_matches(['\n', '\r']);
        if bytes.is_empty() || !goes_on(&typed) {
            return Ok(Input::Line(joined(&typed)));
        }
        typed.push('\n');
    }
}

/// The text that was meant by several lines.
fn joined(typed: &str) -> String {
    match typed.trim().strip_prefix(FENCE).and_then(|text| text.strip_suffix(FENCE)) {
        Some(text) => text.trim().to_owned(),
        None => typed.replace("\\\n", "\n"),
    }
}

/// Whether more lines belong to this.
fn goes_on(typed: &str) -> bool {
    match typed.trim_start().strip_prefix(FENCE) {
        Some(behind) => !behind.trim_end().ends_with(FENCE),
        None => typed.ends_with('\\'),
    }
}

/// What the editor knows of this program.
struct Comfort {
    files: FilenameCompleter,
    /// Whether the line that is typed has nothing in it.
    is_empty: Cell<bool>,
}

impl Completer for Comfort {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = &line[..position];
        let Some((command, argument)) = typed.split_once(char::is_whitespace) else {
            let names: Vec<&str> = COMMANDS.iter().map(|(name, ..)| *name).collect();
            return match beginning_with(typed, &names) {
                // A path from the root begins as a command does.
                found if typed.starts_with('/') && !found.is_empty() => Ok((0, found)),
                _ => self.files.complete(line, position, context),
            };
        };
        let start = position - argument.trim_start().len();
        let names: Vec<&str> = match command {
            "/policy" => PolicyName::ALL.iter().map(|policy| policy.as_str()).collect(),
            "/turns" => Turns::ALL.iter().map(|turns| turns.as_str()).collect(),
            "/keep" => vec!["off"],
            _ => return self.files.complete(line, position, context),
        };
        Ok((start, beginning_with(argument.trim_start(), &names)))
    }
}

fn beginning_with(typed: &str, names: &[&str]) -> Vec<Pair> {
    let fitting = names.iter().filter(|name| name.starts_with(typed));
    fitting.map(|name| Pair { display: (*name).to_owned(), replacement: format!("{name} ") }).collect()
}

impl Validator for Comfort {
    fn validate(&self, context: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        Ok(match goes_on(context.input()) {
            true => ValidationResult::Incomplete,
            false => ValidationResult::Valid(None),
        })
    }
}

impl Hinter for Comfort {
    type Hint = String;
}

impl Highlighter for Comfort {
    /// Changes nothing, but sees every change.
    fn highlight<'l>(&self, line: &'l str, _position: usize) -> Cow<'l, str> {
        self.is_empty.set(line.is_empty());
        line.into()
    }

    fn highlight_char(&self, line: &str, _position: usize, _kind: CmdKind) -> bool {
        self.is_empty.set(line.is_empty());
        false
    }
}

impl Helper for Comfort {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_join_behind_a_backslash_and_within_fences() {
        for (typed, more, meant) in [
            ("one", false, "one"),
            ("one\\", true, "one\\"),
            ("one\\\ntwo", false, "one\ntwo"),
            ("\"\"\"", true, "\"\"\""),
            ("\"\"\"one\ntwo", true, "\"\"\"one\ntwo"),
            ("\"\"\"one\n\ntwo\"\"\"", false, "one\n\ntwo"),
        ] {
            assert_eq!((goes_on(typed), joined(typed).as_str()), (more, meant), "{typed:?}");
        }
    }
}
