//! Reading a JSON object field by field, with errors that name the file, the field and the value.

use std::{fmt::Display, ops::RangeInclusive, path::Path};

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Longest piece of a file that a message quotes, in characters.
const QUOTE_LENGTH: usize = 80;

/// A JSON object of one of a model's files, and where it stands in it.
///
/// An explicit `null` counts as absent, as it does for Hugging Face's optional fields.
pub(super) struct Fields<'a> {
    file: &'a Path,
    prefix: String,
    object: Option<&'a Map<String, Value>>,
    /// Names that the file has other words for, and those.
    spellings: &'static [(&'static str, &'static str)],
}

/// Parses `json`, quoting the offending piece (`"rms_norm_eps": NaN`) where it is not valid.
pub(crate) fn parse(json: &[u8], file: &Path) -> Result<Value> {
    if json.starts_with(b"\xEF\xBB\xBF") {
        return Err(Error::model(
            file,
            "not valid JSON: it begins with a byte order mark; save it as UTF-8 without one",
        ));
    }
    if json.trim_ascii().is_empty() {
        return Err(Error::model(file, "not valid JSON: the file is empty; download it again"));
    }
    serde_json::from_slice(json).map_err(|error| {
        let quote = quote_around(json, error.line(), error.column());
        Error::model(
            file,
            format!("not valid JSON: {error}, near `{quote}`; numbers must be finite and written in decimal"),
        )
    })
}

/// The member of an object or list that contains the given place (both counted from 1).
fn quote_around(json: &[u8], line: usize, column: usize) -> String {
    let line = json.split(|byte| *byte == b'\n').nth(line.saturating_sub(1)).unwrap_or_default();
    let (before, after) = line.split_at(column.saturating_sub(1).min(line.len()));
    let start = before.rsplit(|byte| b"{,".contains(byte)).next().unwrap_or_default();
    let end = after.split(|byte| b"},".contains(byte)).next().unwrap_or_default();
    shorten(String::from_utf8_lossy(&[start, end].concat()).trim())
}

/// `text` without control characters and not longer than a message can bear.
fn shorten(text: &str) -> String {
    let mut short: String = text.chars().flat_map(char::escape_debug).take(QUOTE_LENGTH).collect();
    if text.chars().count() > QUOTE_LENGTH {
        short.push('…');
    }
    short.replace("\\\"", "\"")
}

impl<'a> Fields<'a> {
    /// The fields of a whole file.
    pub fn of_file(value: &'a Value, file: &'a Path) -> Result<Self> {
        match value {
            Value::Object(object) => Ok(Self::new(object, file, String::new(), &[])),
            other => Err(Error::model(file, format!("expected a JSON object, found {}", brief(other)))),
        }
    }

    /// The fields of an object in a file that begins their names with `prefix` and has its own `spellings` of them.
    pub fn new(
        object: &'a Map<String, Value>,
        file: &'a Path,
        prefix: String,
        spellings: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self { file, prefix, object: Some(object), spellings }
    }

    /// The field's value, unless it is absent or `null`.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.object?.get(name).filter(|value| !value.is_null())
    }

    /// Whether the field is there and not `null`.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether the field is written as `null`, which overrules a default in a few places.
    pub fn is_null(&self, name: &str) -> bool {
        self.object.and_then(|object| object.get(name)).is_some_and(Value::is_null)
    }

    /// The object in field `name`; one without fields if it is absent.
    pub fn object(&self, name: &str) -> Result<Fields<'a>> {
        let object = match self.get(name) {
            None => None,
            Some(Value::Object(object)) => Some(object),
            Some(_) => return Err(self.unexpected(name, "an object")),
        };
        Ok(Fields { prefix: format!("{}{name}.", self.prefix), object, ..*self })
    }

    /// A whole number within `range`, or `default` where the field is absent.
    pub fn count(&self, name: &str, default: usize, range: RangeInclusive<usize>) -> Result<usize> {
        Ok(self.optional_count(name, range)?.unwrap_or(default))
    }

    /// A whole number within `range`, if the field is there.
    pub fn optional_count(&self, name: &str, range: RangeInclusive<usize>) -> Result<Option<usize>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
        match count.filter(|count| range.contains(count)) {
            Some(count) => Ok(Some(count)),
            None => {
                let expected = format!("a whole number from {} to {}", range.start(), range.end());
                Err(self.unexpected(name, expected))
            }
        }
    }

    /// A finite number within `range`, or `default` where the field is absent.
    pub fn number(&self, name: &str, default: f64, range: RangeInclusive<f64>) -> Result<f64> {
        Ok(self.optional_number(name, range)?.unwrap_or(default))
    }

    /// A finite number within `range`, if the field is there.
    pub fn optional_number(&self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_f64().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let expected = format!("a number from {:e} to {:e}", range.start(), range.end());
                Err(self.unexpected(name, expected))
            }
        }
    }

    /// `true` or `false`, or `default` where the field is absent.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool> {
        match self.get(name) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.unexpected(name, "true or false")),
        }
    }

    /// The meaning of one of the `spellings`, if the field has one of them.
    pub fn known<T: Copy>(&self, name: &str, spellings: &[(&str, T)]) -> Option<T> {
        let value = self.get(name)?.as_str();
        spellings.iter().find(|(spelling, _)| value == Some(spelling)).map(|(_, meaning)| *meaning)
    }

    /// The meaning of one of the supported `spellings`, or `default` where the field is absent.
    pub fn choice<T: Copy>(&self, name: &str, default: T, spellings: &[(&str, T)]) -> Result<T> {
        if self.has(name) { self.one_of(name, spellings) } else { Ok(default) }
    }

    /// The meaning of one of the supported `spellings`; the field may not be absent.
    pub fn one_of<T: Copy>(&self, name: &str, spellings: &[(&str, T)]) -> Result<T> {
        self.known(name, spellings).ok_or_else(|| {
            let supported: Vec<_> = spellings.iter().map(|(spelling, _)| format!("\"{spelling}\"")).collect();
            self.unexpected(name, supported.join(" or "))
        })
    }

    /// One token id or a list of them, if the field is there.
    pub fn tokens(&self, name: &str) -> Result<Option<Vec<u32>>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let ids = match value {
            Value::Array(ids) => ids.as_slice(),
            single => std::slice::from_ref(single),
        };
        let ids: Option<Vec<_>> =
            ids.iter().map(|id| id.as_u64().and_then(|id| id.try_into().ok())).collect();
        ids.map(Some).ok_or_else(|| self.unexpected(name, "a token id or a list of token ids"))
    }

    /// The error for a field whose value, shown in the message, is not one of the expected.
    pub fn unexpected(&self, name: &str, expected: impl Display) -> Error {
        let found = self.object.and_then(|object| object.get(name)).map_or("nothing".into(), brief);
        self.problem(name, format!("expected {expected}, found {found}"))
    }

    /// An error about the field.
    pub fn problem(&self, name: &str, problem: impl Display) -> Error {
        let spelling = self.spellings.iter().find(|(field, _)| *field == name);
        let name = spelling.map_or(name, |(_, spelling)| spelling);
        Error::model(self.file, format!("{}{name}: {problem}", self.prefix))
    }
}

/// A value as it stands in the file, shortened.
pub(super) fn brief(value: &Value) -> String {
    shorten(&value.to_string())
}
