//! The command line: arguments in, text and exit codes out.
//!
//! stdout carries only the answer (or JSON); the device, progress and times go to stderr.

/// Writes a line to stderr; that nobody reads it is no reason to fail.
#[macro_export]
#[doc(hidden)]
macro_rules! say {
    ($($argument:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($argument)*);
    }};
}
pub use say;

mod bench;
mod chat;
mod describe;
mod devices;
mod doctor;
mod environment;
mod eval;
mod generation;
mod interrupt;
mod model;
#[cfg(feature = "hub")]
mod models;
mod named;
mod pixels;
mod plan;
mod prompt;
mod pruning;
#[cfg(feature = "hub")]
mod pull;
#[cfg(feature = "serve")]
mod serve;
mod shell;
mod trace;

use std::{
    borrow::Cow,
    fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand};

pub use describe::Describe;
use model::ModelArguments;

use crate::error::Error;

/// Ask questions about pictures on any GPU, without CUDA.
#[derive(Debug, Parser)]
#[command(
    name = "mustdrop",
    version,
    propagate_version = true,
    after_help = "Examples:\n  mustdrop describe photo.jpg \"What is this?\" --model llava-hf/llava-1.5-7b-hf\n  mustdrop chat photo.jpg --keep 64\n  mustdrop serve"
)]
struct Cli {
    /// Threads of the CPU path [default: one for each physical core]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bench(Box<bench::BenchCommand>),
    Describe(Box<describe::DescribeCommand>),
    Chat(Box<chat::ChatCommand>),
    Devices(devices::Devices),
    Doctor(doctor::Doctor),
    Eval(Box<eval::Eval>),
    #[cfg(feature = "hub")]
    Models(models::Models),
    Plan(Box<plan::Plan>),
    Prompt(prompt::PromptCommand),
    #[cfg(feature = "hub")]
    Pull(pull::Pull),
    #[cfg(feature = "serve")]
    Serve(Box<serve::Serve>),
    Trace(trace::Trace),
    Pixels(pixels::Pixels),
    Completions(shell::Completions),
    Man(shell::Man),
}

/// The program: parses the arguments, runs the command and returns its exit code.
pub fn main() -> ExitCode {
    environment::unset_empty();
    let cli = Cli::parse();
    environment::set_threads(cli.threads);
    let mut code = ExitCode::SUCCESS;
    let ended = run(|| match cli.command {
        Command::Bench(bench) => bench.run(),
        Command::Describe(describe) => describe.run(),
        Command::Chat(chat) => chat.run().map(|ended| code = ended),
        Command::Devices(devices) => devices.run(),
        Command::Doctor(doctor) => doctor.run().map(|verdict| code = verdict),
        Command::Eval(eval) => eval.run(),
        #[cfg(feature = "hub")]
        Command::Models(models) => models.run(),
        Command::Plan(plan) => plan.run(),
        Command::Prompt(prompt) => prompt.run(),
        #[cfg(feature = "hub")]
        Command::Pull(pull) => pull.run(),
        #[cfg(feature = "serve")]
        Command::Serve(serve) => serve.run(),
        Command::Trace(trace) => trace.run(),
        Command::Pixels(pixels) => pixels.run(),
        Command::Completions(completions) => completions.run(Cli::command()),
        Command::Man(man) => man.run(Cli::command()),
    });
    if ended == ExitCode::SUCCESS { code } else { ended }
}

/// Runs `command` as a program: logging as `MUSTDROP_LOG` says, Ctrl-C as exit code 130, an error as one
/// message on stderr and the exit code that stands for it.
///
/// To be called first in `main`: it may set variables of the environment, which no other thread may read meanwhile.
pub fn run(command: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    environment::unset_empty();
    environment::silence_vulkan_loader();
    environment::set_threads(None);
    let filter = tracing_subscriber::EnvFilter::try_from_env("MUSTDROP_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
    let is_coloured =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(is_coloured).with_writer(io::stderr);
    let log = log.try_init();
    // Only a second logger in the same process makes this fail, and then that one is as good.
    drop(log);
    if let Err(error) = ctrlc::set_handler(interrupt::handle) {
        tracing::warn!("Ctrl-C keeps its default action: {error}");
    }
    tracing::debug!("ready");
    match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            match error.downcast_ref::<Error>() {
                // Its message has the reasons in it.
                Some(known) => {
                    say!("error: {}", with_visible_controls(&known.to_string()));
                    ExitCode::from(known.exit_code())
                }
                // Files that are read or written are named; what is left is the output.
                None if error.is::<io::Error>() => {
                    say!("error: <stdout>: {error:#}");
                    ExitCode::FAILURE
                }
                None => {
                    say!("error: {error:#}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}

/// Whether the reader of our output went away, as in `mustdrop devices | head -1`.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Writes a piece of an answer on stdout, at once. Control characters, which a terminal would obey, are shown there as signs.
///
/// # Errors
///
/// What the system says against it.
pub fn write_answer(piece: &str) -> io::Result<()> {
    use io::Write;
    let mut stdout = io::stdout();
    let shown = if stdout.is_terminal() { with_visible_controls(piece) } else { piece.into() };
    stdout.write_all(shown.as_bytes())?;
    stdout.flush()
}

/// A text whose control characters are Unicode's pictures of them, or codes where there is none; lines end and tabs stay.
fn with_visible_controls(text: &str) -> Cow<'_, str> {
    // Marks of direction can make a terminal show one text for another.
    let is_mark =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_unseen = |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || is_mark(c);
    if !text.contains(is_unseen) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\u{7f}' => shown.push('\u{2421}'),
            _ if !is_unseen(character) => shown.push(character),
            _ if character < ' ' => shown.extend(char::from_u32(0x2400 + u32::from(character))),
            _ => shown.extend(character.escape_unicode()),
        }
    }
    shown.into()
}

/// Writes `value` as one line of JSON on stdout.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    use io::Write;
    let line = serde_json::to_string(value)?;
    Ok(writeln!(io::stdout(), "{line}")?)
}

/// Refuses to write where something is read from.
fn not_over_an_input<'a>(
    argument: &str,
    path: &Path,
    inputs: impl IntoIterator<Item = &'a PathBuf>,
) -> Result<(), Error> {
    // A file that is not there yet has no canonical path.
    let whole = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match inputs.into_iter().any(|input| whole(input) == whole(path)) {
        true => {
            Err(Error::argument(argument, "a file of its own", format!("{}, which is read", path.display())))
        }
        false => Ok(()),
    }
}

/// Writes a file so that it is either there whole or not there: under another name, then renamed.
fn write_whole(argument: &str, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    // A link stays a link: what it points to is replaced.
    let target = fs::canonicalize(path);
    let path = target.as_deref().unwrap_or(path);
    if path.exists() && !path.is_file() {
        let found = if path.is_dir() { "a directory" } else { "a device or a pipe" };
        return Err(Error::argument(argument, "the path of a file", format!("{found}: {}", path.display())));
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}.part", std::process::id()));
    fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, path)).map_err(|error| {
        // The first error is the one to tell; the partial file may not even exist.
        let _ = fs::remove_file(&partial);
        Error::io(path, error)
    })
}
