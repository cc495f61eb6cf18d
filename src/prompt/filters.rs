//! Filters and tests that jinja2 or transformers have otherwise than minijinja, or that minijinja has not.

use minijinja::{
    Environment, Error, State, Value,
    formatting::{FormatStyle, format},
    value::{Kwargs, Rest, Tuple, ValueKind, ValueOrKwargs, from_args},
};

use super::{
    charge::{charge, charge_format, invalid},
    dialect,
    json::{Style, write_json},
    python::{lines, padded},
};

/// Adds them.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_filter(dialect::FORMAT, printf);
    environment.add_filter("format", format_filter);
    environment.add_filter("tojson", tojson);
    environment.add_filter("indent", indent);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("escape", escape);
    environment.add_filter("e", escape);
    environment.add_filter("wordcount", |text: String| {
        text.split(|c: char| !dialect::is_of_word(c)).filter(|word| !word.is_empty()).count()
    });
    environment.add_filter("truncate", truncate);
    environment.add_filter("center", |state: &State, text: String, width: Option<i64>| {
        padded(state, &text, width.unwrap_or(80), ' ', "center")
    });
    environment.add_filter("striptags", |text: String| {
        minijinja_contrib::filters::striptags(text).split_whitespace().collect::<Vec<_>>().join(" ")
    });
    environment.add_filter("filesizeformat", minijinja_contrib::filters::filesizeformat);
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    environment.add_function("cycler", |items: Rest<Value>| minijinja_contrib::globals::cycler(items.0));
    environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
    // Whatever can be asked for its length and for an item.
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map | ValueKind::Undefined)
    });
    environment.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
}

/// `text % values`, as Python formats.
fn printf(state: &State, text: &str, values: &Value) -> Result<String, Error> {
    let values = match values.downcast_object_ref::<Tuple>() {
        Some(tuple) => tuple.clone().into_vec(),
        None => vec![values.clone()],
    };
    charge_format(state, text, &values)?;
    format(FormatStyle::Printf, text, &values)
}

/// The filter of that name: `text % values` with the values one by one.
fn format_filter(state: &State, text: &str, values: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let values = values.into_values();
    charge_format(state, text, &values)?;
    format(FormatStyle::Printf, text, &values)
}

/// transformers' own: Python's `json.dumps` without escapes for HTML.
fn tojson(state: &State, value: &Value, rest: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let rest = rest.into_values();
    type Positional = (Option<Value>, Option<Value>, Option<Vec<String>>, Option<Value>, Kwargs);
    let (ensure_ascii, indent, separators, sort_keys, kwargs): Positional = from_args(&rest)?;
    let ensure_ascii = ensure_ascii.or(kwargs.get("ensure_ascii")?);
    let sort_keys = sort_keys.or(kwargs.get("sort_keys")?);
    let indent = indent.or(kwargs.get::<Option<Value>>("indent")?).filter(|indent| !indent.is_none());
    let indent = match indent {
        None => None,
        Some(indent) => Some(match indent.as_str() {
            Some(indent) => indent.to_owned(),
            None => " ".repeat(usize::try_from(indent)?.min(1 << 10)),
        }),
    };
    let separators = separators.or(kwargs.get("separators")?);
    let separators = match separators.as_deref() {
        None if indent.is_some() => [",".to_owned(), ": ".to_owned()],
        None => [", ".to_owned(), ": ".to_owned()],
        Some([item, key]) => [item.clone(), key.clone()],
        Some(_) => return Err(invalid("tojson: expected two separators")),
    };
    let style = Style {
        is_ascii: ensure_ascii.is_some_and(|ensure| ensure.is_true()),
        sort_keys: sort_keys.is_some_and(|sort| sort.is_true()),
        indent,
        separators,
    };
    kwargs.assert_all_used()?;
    write_json(state, value, &style)
}

/// Every line but the first moved to the right by a number of blanks, or by a text.
fn indent(state: &State, text: String, rest: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let rest = rest.into_values();
    let (width, first, blank, kwargs): (Option<Value>, Option<bool>, Option<bool>, Kwargs) =
        from_args(&rest)?;
    let width = width.or(kwargs.get("width")?).unwrap_or(Value::from(4));
    let first = first.or(kwargs.get("first")?).unwrap_or(false);
    let blank = blank.or(kwargs.get("blank")?).unwrap_or(false);
    kwargs.assert_all_used()?;
    // As jinja2 does, so that a line break at the end stays.
    let text = text + "\n";
    let lines = lines(&text, false);
    let indentation = match width.as_str() {
        Some(indentation) => indentation.to_owned(),
        None => {
            let width = usize::try_from(width)?;
            charge(state, width)?;
            " ".repeat(width)
        }
    };
    charge(state, lines.len().saturating_mul(indentation.len()))?;
    let mut indented = String::new();
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            indented.push('\n');
        }
        if (at == 0 && first) || (at > 0 && (blank || !line.is_empty())) {
            indented += &indentation;
        }
        indented += line;
    }
    Ok(indented)
}

fn int(value: &Value, default: Option<Value>, base: Option<u32>, kwargs: Kwargs) -> Result<Value, Error> {
    let default = default.or(kwargs.get("default")?).unwrap_or(Value::from(0));
    let base = base.or(kwargs.get("base")?).unwrap_or(10);
    kwargs.assert_all_used()?;
    if !(2..=36).contains(&base) {
        return Err(invalid(format!("int: expected a base from 2 to 36, found {base}")));
    }
    let Some(text) = value.as_str() else {
        let number = match value.kind() {
            ValueKind::Bool => Some(i128::from(value.is_true())),
            ValueKind::Number if value.is_integer() => return Ok(value.clone()),
            ValueKind::Number => {
                f64::try_from(value.clone()).ok().filter(|n| n.is_finite()).map(|n| n as i128)
            }
            _ => None,
        };
        return Ok(number.map_or(default, Value::from));
    };
    let text = text.trim().to_lowercase().replace('_', "");
    let prefix = match base {
        2 => "0b",
        8 => "0o",
        16 => "0x",
        _ => "",
    };
    let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
    let digits = digits.strip_prefix(prefix).unwrap_or(digits);
    let whole = i128::from_str_radix(&format!("{sign}{digits}"), base).ok();
    let rounded =
        || text.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number as i128);
    Ok(whole.or_else(rounded).map_or(default, Value::from))
}

fn float(value: &Value, default: Option<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let default = default.or(kwargs.get("default")?).unwrap_or(Value::from(0.0));
    kwargs.assert_all_used()?;
    let number = match value.as_str() {
        Some(text) => text.trim().parse::<f64>().ok(),
        None if value.kind() == ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        None => f64::try_from(value.clone()).ok(),
    };
    Ok(number.map_or(default, Value::from))
}

fn default(
    value: &Value,
    other: Option<Value>,
    boolean: Option<bool>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let other = other.or(kwargs.get("default_value")?).unwrap_or(Value::from(""));
    let boolean = boolean.or(kwargs.get("boolean")?).unwrap_or(false);
    kwargs.assert_all_used()?;
    Ok(if value.is_undefined() || (boolean && !value.is_true()) { other } else { value.clone() })
}

/// markupsafe's escapes.
fn escape(value: &Value) -> Value {
    if value.is_safe() {
        return value.clone();
    }
    let mut escaped = String::new();
    for character in value.to_string().chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&#34;",
            '\'' => escaped += "&#39;",
            _ => escaped.push(character),
        }
    }
    Value::from_safe_string(escaped)
}

/// At most `length` characters of a text, and a few more where it ends there.
fn truncate(text: String, rest: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let rest = rest.into_values();
    let (length, kill_words, end, leeway, kwargs): (
        Option<usize>,
        Option<bool>,
        Option<String>,
        Option<usize>,
        Kwargs,
    ) = from_args(&rest)?;
    let length = length.or(kwargs.get("length")?).unwrap_or(255);
    let kill_words = kill_words.or(kwargs.get("killwords")?).unwrap_or(false);
    let end = end.or(kwargs.get("end")?).unwrap_or("...".to_owned());
    let leeway = leeway.or(kwargs.get("leeway")?).unwrap_or(5);
    kwargs.assert_all_used()?;
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text);
    }
    let kept: String = text.chars().take(length.saturating_sub(end.chars().count())).collect();
    let kept =
        if kill_words { &kept } else { kept.rsplit_once(' ').map_or(kept.as_str(), |(words, _)| words) };
    Ok(format!("{kept}{end}"))
}
