//! What templates pay for: the engine counts what it makes itself, and what is made here is counted here, before it is there.

use std::fmt::{self, Write};

use minijinja::{Error, ErrorKind, State, Value};

/// The longest list or dict that is printed, in bytes.
const LONGEST: usize = 16 << 20;

/// The error that Python calls a `ValueError` or `TypeError`.
pub(super) fn invalid(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem.into())
}

/// Pays for so many bytes before they are there.
pub(super) fn charge(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes as u64 / 64)
}

/// Pays for what formatting may make: the numbers in the specifications of `format` are widths, and each specification may
/// stand for the longest of `values`.
pub(super) fn charge_format<'a>(
    state: &State,
    format: &str,
    values: impl IntoIterator<Item = &'a Value>,
) -> Result<(), Error> {
    let mut longest = 0;
    for value in values {
        longest = longest.max(printed_length(state, value)?);
    }
    let (mut specifications, mut widths) = (0usize, 0usize);
    let mut rest = format;
    while let Some(start) = rest.find(['%', '{']) {
        specifications += 1;
        let is_in_braces = rest[start..].starts_with('{');
        rest = &rest[start + 1..];
        let specification = rest.split(if is_in_braces { '}' } else { '%' }).next().unwrap_or_default();
        // What is read several times is paid several times.
        charge(state, specification.len())?;
        let numbers = if is_in_braces { specification } else { before_conversion(specification) };
        for digits in numbers.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty()) {
            widths = widths.saturating_add(digits.parse().unwrap_or(usize::MAX));
        }
    }
    charge(state, widths.saturating_add(specifications.saturating_mul(longest)))
}

/// What of a specification is before the letter that says how to convert: a name in brackets, flags, width and precision.
fn before_conversion(specification: &str) -> &str {
    let named = specification
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'))
        .map_or(specification, |(_, rest)| rest);
    named.find(|c: char| c.is_ascii_alphabetic()).map_or(named, |end| &named[..end])
}

/// A value as Python prints it, unless that is too long.
pub(super) fn printed(value: &Value) -> Result<String, Error> {
    let mut printed = Bounded(String::new());
    write!(printed, "{value}").map_err(|_| invalid("a list that is too long to be printed"))?;
    Ok(printed.0)
}

/// A text of at most [`LONGEST`] bytes.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > LONGEST {
            return Err(fmt::Error);
        }
        self.0 += text;
        Ok(())
    }
}

/// How long a value is when it is printed: texts as they are, lists and dicts as far as they are printed at all, others short.
fn printed_length(state: &State, value: &Value) -> Result<usize, Error> {
    const SHORT: usize = 64;
    match value.as_str() {
        Some(text) => Ok(text.len()),
        None if value.as_object().is_some() => {
            let printed = printed(value)?;
            charge(state, printed.len())?;
            Ok(printed.len())
        }
        None => Ok(SHORT),
    }
}
