//! Methods of Python's strings, lists and dicts, as templates call them.

use std::cmp::Ordering;

use minijinja::{
    Error, State, Value,
    value::{Kwargs, Tuple, ValueKind, from_args},
};
use minijinja_contrib::pycompat::unknown_method_callback;
use unicode_categories::UnicodeCategories;

use super::{
    charge::{charge, charge_format, invalid},
    dialect::is_of_word,
};

/// What Python's `splitlines` ends a line at, besides carriage return and line feed.
const LINE_ENDS: [char; 8] =
    ['\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];

/// Calls a method that minijinja itself does not know.
///
/// # Errors
///
/// What Python would raise, or that there is no such method here.
pub(super) fn call_method(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let own = match (value.as_str(), value.kind()) {
        (Some(text), _) => string_method(state, text, method, args)?,
        (None, ValueKind::Seq) => list_method(state, value, method, args)?,
        (None, ValueKind::Map) if method == "copy" => Some(value.clone()),
        _ => None,
    };
    match own {
        Some(result) => Ok(result),
        None => unknown_method_callback(state, value, method, args),
    }
}

fn list_method(state: &State, list: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    match method {
        "copy" => Ok(Some(list.clone())),
        "index" => {
            let (what,): (&Value,) = from_args(args)?;
            for (at, item) in list.try_iter()?.enumerate() {
                state.consume_fuel(1)?;
                if item == *what {
                    return Ok(Some(Value::from(at)));
                }
            }
            Err(invalid("the value is not in the list"))
        }
        _ => Ok(None),
    }
}

fn string_method(state: &State, text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "split" | "rsplit" => split(text, args, method == "rsplit")?,
        "splitlines" => {
            let (keep, kwargs): (Option<bool>, Kwargs) = from_args(args)?;
            let keep = keep.or(kwargs.get("keepends")?).unwrap_or(false);
            kwargs.assert_all_used()?;
            lines(text, keep).into_iter().map(Value::from).collect()
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            partition(text, separator, method == "rpartition")?
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            text.strip_prefix(prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            text.strip_suffix(suffix).unwrap_or(text).into()
        }
        "startswith" | "endswith" => {
            let (what, start, end): (&Value, Option<i64>, Option<i64>) = from_args(args)?;
            let (_, within) = window(text, start, end);
            let is_there = |what: &str| match method {
                "startswith" => within.starts_with(what),
                _ => within.ends_with(what),
            };
            match what.as_str() {
                Some(what) => is_there(what).into(),
                None => any_text(state, what, is_there)?.into(),
            }
        }
        "find" | "index" | "rfind" | "rindex" | "count" => {
            let (what, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
            let (before, within) = window(text, start, end);
            if method == "count" {
                return Ok(Some(within.matches(what).count().into()));
            }
            let found = if method.starts_with('r') { within.rfind(what) } else { within.find(what) };
            match found {
                Some(at) => Value::from(before + within[..at].chars().count()),
                None if method.ends_with("find") => Value::from(-1),
                None => return Err(invalid("substring not found")),
            }
        }
        "join" => {
            let (items,): (&Value,) = from_args(args)?;
            joined(state, text, items)?.into()
        }
        "center" | "ljust" | "rjust" => {
            let (width, fill): (i64, Option<char>) = from_args(args)?;
            padded(state, text, width, fill.unwrap_or(' '), method)?.into()
        }
        "zfill" => {
            let (width,): (i64,) = from_args(args)?;
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            let padded = padded(state, digits, width.saturating_sub(sign.len() as i64), '0', "rjust")?;
            format!("{sign}{padded}").into()
        }
        "expandtabs" => {
            let (size,): (Option<usize>,) = from_args(args)?;
            let size = size.unwrap_or(8);
            charge(state, text.matches('\t').count().saturating_mul(size))?;
            with_tabs_expanded(text, size).into()
        }
        "format" => {
            charge_format(state, text, args)?;
            return Ok(None);
        }
        "swapcase" => {
            let swap = |c: char| {
                if c.is_uppercase() { c.to_lowercase().to_string() } else { c.to_uppercase().to_string() }
            };
            text.chars().map(swap).collect::<String>().into()
        }
        "casefold" => text.to_lowercase().replace('ß', "ss").into(),
        "title" => title(text).into(),
        "istitle" => (title(text) == text && text.chars().any(char::is_alphabetic)).into(),
        "isdecimal" => is_all(text, |c| c.is_number_decimal_digit()).into(),
        "isdigit" => is_all(text, |c| c.is_number_decimal_digit() || is_digit_sign(c)).into(),
        "isidentifier" => (is_all(text, is_of_word) && !text.starts_with(char::is_numeric)).into(),
        _ => return Ok(None),
    }))
}

/// Digits that no decimal number is written with.
fn is_digit_sign(c: char) -> bool {
    matches!(c, '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' | '₀'..='₉' | '①'..='⑨')
}

fn is_all(text: &str, is_fine: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(is_fine)
}

/// The string that an item of a list has to be.
fn text_of(item: &Value) -> Result<&str, Error> {
    item.as_str().ok_or_else(|| invalid(format!("expected a string, found {}", item.kind())))
}

/// Whether one of the strings of a list or tuple is such.
fn any_text(state: &State, items: &Value, is_such: impl Fn(&str) -> bool) -> Result<bool, Error> {
    for item in items.try_iter()? {
        state.consume_fuel(1)?;
        if is_such(text_of(&item)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The strings of a list with a separator between them, paid for before they are copied.
fn joined(state: &State, separator: &str, items: &Value) -> Result<String, Error> {
    let mut joined = String::new();
    for (at, item) in items.try_iter()?.enumerate() {
        let item = text_of(&item)?;
        state.consume_fuel(1 + (item.len() + separator.len()) as u64 / 64)?;
        if at > 0 {
            joined += separator;
        }
        joined += item;
    }
    Ok(joined)
}

/// The characters from `start` to `end`, counted as Python counts, and how many are before them.
fn window(text: &str, start: Option<i64>, end: Option<i64>) -> (usize, &str) {
    if start.is_none() && end.is_none() {
        return (0, text);
    }
    let count = text.chars().count();
    let place = |index: i64| match index.cmp(&0) {
        Ordering::Less => count.saturating_sub(usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX)),
        _ => usize::try_from(index).unwrap_or(usize::MAX).min(count),
    };
    let (start, end) = (start.map_or(0, place), end.map_or(count, place));
    let byte = |place: usize| text.char_indices().nth(place).map_or(text.len(), |(at, _)| at);
    (start, text.get(byte(start)..byte(end)).unwrap_or_default())
}

/// `split` and, from the end, `rsplit`.
fn split(text: &str, args: &[Value], from_end: bool) -> Result<Value, Error> {
    let (separator, most, kwargs): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = separator.or(kwargs.get("sep")?);
    let most = most.or(kwargs.get("maxsplit")?).unwrap_or(-1);
    kwargs.assert_all_used()?;
    let most = usize::try_from(most).unwrap_or(usize::MAX - 1);
    let mut parts: Vec<&str> = match separator {
        Some("") => return Err(invalid("empty separator")),
        Some(separator) if from_end => text.rsplitn(most + 1, separator).collect(),
        Some(separator) => text.splitn(most + 1, separator).collect(),
        None => words(text, most, from_end),
    };
    if from_end {
        parts.reverse();
    }
    Ok(parts.into_iter().map(Value::from).collect())
}

/// The words of a text, and behind `most` of them the rest; from the end, the last word first.
fn words(text: &str, most: usize, from_end: bool) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let cut = match from_end {
            _ if words.len() == most => None,
            true => rest.rsplit_once(char::is_whitespace).map(|(before, word)| (word, before.trim_end())),
            false => rest.split_once(char::is_whitespace).map(|(word, after)| (word, after.trim_start())),
        };
        let (word, left) = cut.unwrap_or((rest, ""));
        // The rest keeps the blanks at its far end.
        let is_rest = words.len() == most;
        words.push(match (is_rest, from_end) {
            (true, true) => &text[..start_of(text, word) + word.len()],
            (true, false) => &text[start_of(text, word)..],
            _ => word,
        });
        rest = left;
    }
    words
}

fn start_of(text: &str, part: &str) -> usize {
    part.as_ptr() as usize - text.as_ptr() as usize
}

fn partition(text: &str, separator: &str, from_end: bool) -> Result<Value, Error> {
    if separator.is_empty() {
        return Err(invalid("empty separator"));
    }
    let found = if from_end { text.rsplit_once(separator) } else { text.split_once(separator) };
    let parts = match found {
        Some((before, after)) => [before, separator, after],
        None if from_end => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

/// The lines of a text, with or without what ends them.
pub(super) fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let is_end = |c: char| c == '\n' || c == '\r' || LINE_ENDS.contains(&c);
        let (length, end) = match rest.char_indices().find(|(_, c)| is_end(*c)) {
            Some((at, '\r')) if rest[at + 1..].starts_with('\n') => (at, 2),
            Some((at, c)) => (at, c.len_utf8()),
            None => (rest.len(), 0),
        };
        lines.push(&rest[..if keep_ends { length + end } else { length }]);
        rest = &rest[length + end..];
    }
    lines
}

/// `center`, `ljust` and `rjust`.
pub(super) fn padded(
    state: &State,
    text: &str,
    width: i64,
    fill: char,
    method: &str,
) -> Result<String, Error> {
    let length = text.chars().count();
    let width = usize::try_from(width).unwrap_or(0);
    let missing = width.saturating_sub(length);
    charge(state, missing.saturating_mul(fill.len_utf8()))?;
    let left = match method {
        "ljust" => 0,
        "rjust" => missing,
        // CPython puts the odd one to the left of a text in an odd width.
        _ => missing / 2 + (missing & width & 1),
    };
    let fill = |count: usize| std::iter::repeat_n(fill, count).collect::<String>();
    Ok(format!("{}{text}{}", fill(left), fill(missing - left)))
}

fn with_tabs_expanded(text: &str, size: usize) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut column = 0;
    for character in text.chars() {
        match character {
            '\t' => {
                let blanks = if size == 0 { 0 } else { size - column % size };
                expanded.extend(std::iter::repeat_n(' ', blanks));
                column += blanks;
            }
            _ => {
                expanded.push(character);
                column = if matches!(character, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    expanded
}

/// Each letter behind something that is no letter large, all others small.
fn title(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut is_within_word = false;
    for character in text.chars() {
        match is_within_word {
            true => titled.extend(character.to_lowercase()),
            false => titled.extend(character.to_uppercase()),
        }
        is_within_word = character.is_alphabetic();
    }
    titled
}
