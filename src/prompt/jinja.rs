//! Jinja as transformers runs it: jinja2 in a sandbox, with `trim_blocks`, `lstrip_blocks` and filters of its own.
//!
//! minijinja does most of it. What it reads otherwise is put right in the source (`dialect`), Python's methods are in
//! `python`, filters and tests in `filters`. There is no date (`strftime_now`): the same question has the same prompt
//! on every day.

use std::{error::Error as _, fmt, thread};

use minijinja::{
    Environment, Error, ErrorKind, Output, State, Value, escape_formatter,
    syntax::SyntaxConfig,
    value::{Serde, ValueKind},
};
use serde::Serialize;

use super::{charge, dialect, filters, json, python};
use crate::panics;

/// What a template may take: a step costs 1, as do 64 bytes of a text that it makes. That is thousands of turns, no endless
/// loop, and at most 64 MB.
const FUEL: u64 = 1_000_000;
/// How deep macros and recursive loops may call each other.
const DEEPEST: usize = 200;

/// For what is as long as it may be. Only what is used of it takes memory.
const STACK_BYTES: usize = 256 << 20;
/// What is said of a panic.
const PANICKED: &str = "it brings the template engine down";
/// The environment's name for its only template.
const NAME: &str = "chat_template";

/// A template, compiled.
#[derive(Debug)]
pub struct Jinja(Environment<'static>);

impl Jinja {
    /// Compiles a template.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn new(source: &str) -> Result<Self, String> {
        let compile = || environment(source).map(Self).map_err(|error| error.to_string());
        on_deep_stack(compile).map_err(|error| format!("not a valid chat template: {error}"))
    }

    /// Renders it with these variables.
    ///
    /// # Errors
    ///
    /// What it fails at, or that it takes too much time or memory.
    pub fn render(&self, variables: impl Serialize + Send) -> Result<String, Failure> {
        let render = || {
            let rendered = self.0.get_template(NAME).and_then(|template| template.render(Serde(variables)));
            rendered.map_err(|error| {
                let is_refusal = error.source().is_some_and(|cause| cause.is::<Raised>());
                Failure { is_refusal, problem: format!("the chat template fails: {error}") }
            })
        };
        on_deep_stack(|| Ok(render()))?
    }
}

/// Why a template writes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In the engine's words, or the template's.
    pub problem: String,
    /// Whether the template itself refuses what it is given (`raise_exception`).
    pub is_refusal: bool,
}

impl From<String> for Failure {
    fn from(problem: String) -> Self {
        Self { problem, is_refusal: false }
    }
}

/// What a template said no with.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// Does `work` where chains of operators and lists within lists, which the engine follows link by link, find room: their number
/// is bounded by [`dialect::LONGEST_TAG`] and [`FUEL`]. A panic in it is an error.
fn on_deep_stack<T: Send>(work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let work = || panics::caught(PANICKED, work);
        let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work);
        let thread = thread.map_err(|error| format!("no thread to read it in: {error}"))?;
        thread.join().unwrap_or_else(|_| Err(PANICKED.to_owned()))
    })
}

fn environment(source: &str) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_unknown_method_callback(python::call_method);
    environment.set_debug(false);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(DEEPEST);
    environment.set_formatter(write_value);
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
    });
    filters::add_to(&mut environment);
    environment.add_template_owned(NAME, dialect::adapt(source).map_err(charge::invalid)?)?;
    Ok(environment)
}

/// Writes a value as Python prints it.
fn write_value(output: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match f64::try_from(value.clone()) {
        Ok(number) if value.kind() == ValueKind::Number && !value.is_integer() => {
            Ok(output.write_str(&json::float(number))?)
        }
        // The engine counts what a list prints when all of it is printed, which may be never.
        _ if value.as_object().is_some() => Ok(output.write_str(&charge::printed(value)?)?),
        _ => escape_formatter(output, state, value),
    }
}
