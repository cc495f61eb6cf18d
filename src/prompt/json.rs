//! Values of templates as JSON, as Python's `json.dumps` writes it.

use minijinja::{Error, State, Value, value::ValueKind};

use super::charge::{charge, invalid};

/// How deep lists and dicts may lie in each other.
const DEEPEST: usize = 100;
/// How much is written before it is paid for.
const STEP_BYTES: usize = 4096;

/// The arguments of `json.dumps`.
pub(super) struct Style {
    pub is_ascii: bool,
    pub sort_keys: bool,
    pub indent: Option<String>,
    /// Between items, and between a key and its value.
    pub separators: [String; 2],
}

/// Writes `value` as JSON.
///
/// # Errors
///
/// What Python would raise: an undefined value, or one that JSON has no word for.
pub(super) fn write_json(state: &State, value: &Value, style: &Style) -> Result<String, Error> {
    let mut writer = Writer { state, style, json: String::new(), paid: 0 };
    writer.value(value, 0)?;
    Ok(writer.json)
}

/// A number as Python's `repr` has it.
pub(super) fn float(number: f64) -> String {
    let magnitude = number.abs();
    if number.is_nan() {
        return "nan".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf".into() } else { "-inf".into() };
    }
    if magnitude == 0.0 || (1e-4..1e16).contains(&magnitude) {
        return format!("{number:?}");
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

struct Writer<'a> {
    state: &'a State<'a, 'a>,
    style: &'a Style,
    json: String,
    /// Bytes that fuel was spent for.
    paid: usize,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.state.consume_fuel(1)?;
        if self.json.len() - self.paid > STEP_BYTES {
            charge(self.state, self.json.len() - self.paid)?;
            self.paid = self.json.len();
        }
        if depth > DEEPEST {
            return Err(invalid(format!("tojson: expected at most {DEEPEST} lists within each other")));
        }
        match value.kind() {
            ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                let word = scalar(value).ok_or_else(|| unserialisable(value))?;
                self.json += &word;
            }
            ValueKind::String => self.text(value.as_str().unwrap_or_default()),
            ValueKind::Map => {
                let mut keys: Vec<(String, Value)> = Vec::new();
                for key in value.try_iter()? {
                    let name = match key.as_str() {
                        Some(name) => name.to_owned(),
                        None => scalar(&key).ok_or_else(|| unserialisable(&key))?,
                    };
                    keys.push((name, value.get_item(&key)?));
                }
                if self.style.sort_keys {
                    keys.sort_by(|(a, _), (b, _)| a.cmp(b));
                }
                self.items('{', '}', depth, keys, |writer, (name, value)| {
                    writer.text(&name);
                    writer.json += &writer.style.separators[1];
                    writer.value(&value, depth + 1)
                })?;
            }
            ValueKind::Seq | ValueKind::Iterable => {
                self.items('[', ']', depth, value.try_iter()?, |writer, item| {
                    writer.value(&item, depth + 1)
                })?;
            }
            _ => return Err(unserialisable(value)),
        }
        Ok(())
    }

    fn items<T>(
        &mut self,
        open: char,
        close: char,
        depth: usize,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.json.push(open);
        let mut is_empty = true;
        for (at, item) in items.into_iter().enumerate() {
            is_empty = false;
            if at > 0 {
                self.json += &self.style.separators[0];
            }
            self.new_line(depth + 1)?;
            write(self, item)?;
        }
        if !is_empty {
            self.new_line(depth)?;
        }
        self.json.push(close);
        Ok(())
    }

    fn new_line(&mut self, depth: usize) -> Result<(), Error> {
        if let Some(indent) = &self.style.indent {
            charge(self.state, indent.len().saturating_mul(depth))?;
            self.json.push('\n');
            (0..depth).for_each(|_| self.json += indent);
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.json.push('"');
        for character in text.chars() {
            match character {
                '"' => self.json += "\\\"",
                '\\' => self.json += "\\\\",
                '\n' => self.json += "\\n",
                '\r' => self.json += "\\r",
                '\t' => self.json += "\\t",
                '\u{8}' => self.json += "\\b",
                '\u{c}' => self.json += "\\f",
                _ if character < ' ' || (self.style.is_ascii && character > '~') => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        self.json += &format!("\\u{unit:04x}");
                    }
                }
                _ => self.json.push(character),
            }
        }
        self.json.push('"');
    }
}

/// A value that is no text and holds no others, in JSON's words.
fn scalar(value: &Value) -> Option<String> {
    Some(match value.kind() {
        ValueKind::None => "null".into(),
        ValueKind::Bool => value.is_true().to_string(),
        ValueKind::Number if value.is_integer() => value.to_string(),
        ValueKind::Number => match f64::try_from(value.clone()).ok()? {
            number if number.is_nan() => "NaN".into(),
            number if number.is_infinite() => if number > 0.0 { "Infinity" } else { "-Infinity" }.into(),
            number => float(number),
        },
        _ => return None,
    })
}

fn unserialisable(value: &Value) -> Error {
    invalid(format!("tojson: a value of type {} is not JSON serializable", value.kind()))
}
