//! What jinja2 reads in a template's source, and minijinja does not.
//!
//! Line ends are line feeds before anything else is read. transformers' own `{% generation %}` marks what to train on, in a
//! scope of its own. `'%s' % x` formats, where the left side is written out. The line break behind `{% raw %}` stays.

/// The filter that stands for `%` behind a string.
pub(super) const FORMAT: &str = "__format";
/// The most words and signs in a tag. Operators in a chain are links of a chain in the engine, too.
pub(super) const LONGEST_TAG: usize = 20_000;
/// How many formats within each other are read; no template that people write has more.
const DEEPEST: usize = 32;

/// `source` as minijinja reads it.
///
/// # Errors
///
/// That a tag is longer than any that people write.
pub(super) fn adapt(source: &str) -> Result<String, String> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut adapted = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(start) = tag_start(rest) {
        let (text, tag) = rest.split_at(start);
        adapted += text;
        let length = match &tag[..2] {
            "{#" => tag[2..].find("#}").map_or(tag.len(), |end| end + 4),
            open => expression_length(&tag[2..], if open == "{{" { "}}" } else { "%}" }) + 2,
        };
        let (tag, after) = tag.split_at(length);
        rest = after;
        if tag.starts_with("{#") {
            adapted += tag;
            continue;
        }
        if words(tag) > LONGEST_TAG {
            return Err(format!(
                "expected tags of at most {LONGEST_TAG} words and signs, found a longer one"
            ));
        }
        match name(tag) {
            "generation" => adapted += &tag.replace("generation", "with"),
            "endgeneration" => adapted += &tag.replace("endgeneration", "endwith"),
            "raw" => {
                adapted += tag;
                if rest.starts_with('\n') && !tag.ends_with("-%}") {
                    // As many as `trim_blocks` takes away.
                    adapted.push('\n');
                }
                let (raw, after) = rest.split_at(raw_length(rest));
                adapted += raw;
                rest = after;
            }
            _ => adapted += &with_formats(tag, 0),
        }
    }
    Ok(adapted + rest)
}

/// How many words and signs a tag has; a string is one.
fn words(tag: &str) -> usize {
    let (mut count, mut at) = (0, 0);
    while let Some(character) = tag[at..].chars().next() {
        at += match character {
            '\'' | '"' => string_length(&tag[at..]),
            _ if is_of_word(character) => word_length(&tag[at..]),
            _ => character.len_utf8(),
        };
        count += usize::from(!character.is_whitespace());
    }
    count
}

/// What words are made of, in Jinja as in Python.
pub(super) fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// How long the word or the number is that `text` begins with.
fn word_length(text: &str) -> usize {
    let length = text.find(|c: char| !is_of_word(c)).unwrap_or(text.len());
    let is_exponent = text.starts_with(|c: char| c.is_ascii_digit()) && text[..length].ends_with(['e', 'E']);
    match text[length..].strip_prefix(['+', '-']).filter(|_| is_exponent) {
        Some(digits) => length + 1 + digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len()),
        None => length,
    }
}

/// Where the next tag begins.
fn tag_start(text: &str) -> Option<usize> {
    text.match_indices('{')
        .map(|(at, _)| at)
        .find(|at| matches!(text.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')))
}

/// What a block's tag is called; nothing for other tags.
fn name(tag: &str) -> &str {
    let inner = tag.strip_prefix("{%").and_then(|tag| tag.strip_suffix("%}")).unwrap_or_default();
    inner.trim_matches(['-', '+', ' ', '\t', '\n'])
}

/// How long the text up to `{% endraw %}` is.
fn raw_length(text: &str) -> usize {
    let mut ends = text.match_indices("{%").map(|(at, _)| at);
    let is_end = |at: &usize| {
        let inner = text[at + 2..].trim_start_matches(['-', '+']).trim_start();
        inner.strip_prefix("endraw").is_some_and(|rest| {
            let rest = rest.trim_start();
            rest.starts_with("%}") || rest.starts_with("-%}")
        })
    };
    ends.find(is_end).unwrap_or(text.len())
}

/// How long an expression is, its `end` included: not one within a string or within brackets.
fn expression_length(text: &str, end: &str) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while let Some(character) = text[at..].chars().next() {
        if depth == 0 && text[at..].starts_with(end) {
            return at + end.len();
        }
        match character {
            '\'' | '"' => at += string_length(&text[at..]),
            _ => {
                match character {
                    '(' | '[' | '{' => depth += 1,
                    ')' | ']' | '}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                at += character.len_utf8();
            }
        }
    }
    text.len()
}

/// How long the string is that `text` begins with, its quotes included.
fn string_length(text: &str) -> usize {
    let mut characters = text.char_indices();
    let Some((_, quote)) = characters.next() else { return 0 };
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            _ if character == quote => return at + quote.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// `expression` with `'…' % operand` as `'…' | __format(operand)`; operands within `depth` others are looked at, too.
fn with_formats(expression: &str, depth: usize) -> String {
    let mut adapted = String::with_capacity(expression.len());
    let mut is_behind_string = false;
    let mut at = 0;
    while let Some(character) = expression[at..].chars().next() {
        let rest = &expression[at..];
        match character {
            '\'' | '"' => {
                let length = string_length(rest);
                adapted += &rest[..length];
                is_behind_string = true;
                at += length;
            }
            '%' if is_behind_string && depth < DEEPEST && !rest.starts_with("%}") => {
                let length = operand_length(&rest[1..]);
                let operand = with_formats(rest[1..1 + length].trim(), depth + 1);
                adapted += &format!("| {FORMAT}({operand})");
                at += 1 + length;
            }
            _ => {
                adapted.push(character);
                is_behind_string &= character.is_whitespace();
                at += character.len_utf8();
            }
        }
    }
    adapted
}

/// How long the operand is that `text` begins with: a value with what is attached to it (`.name`, `[…]`, `(…)`, `| filter`).
fn operand_length(text: &str) -> usize {
    let blank = |text: &str| text.len() - text.trim_start().len();
    let bracketed = |text: &str| match text.chars().next() {
        Some('(') => 1 + expression_length(&text[1..], ")"),
        Some('[') => 1 + expression_length(&text[1..], "]"),
        Some('{') => 1 + expression_length(&text[1..], "}"),
        _ => 0,
    };
    let mut at = blank(text);
    at += text[at..].len() - text[at..].trim_start_matches('-').len();
    at += match text[at..].chars().next() {
        Some('\'' | '"') => string_length(&text[at..]),
        Some('(' | '[' | '{') => bracketed(&text[at..]),
        _ => word_length(&text[at..]),
    };
    loop {
        let next = at + blank(&text[at..]);
        let rest = &text[next..];
        let length = match rest.chars().next() {
            Some('(' | '[') => bracketed(rest),
            Some('.') => 1 + word_length(&rest[1..]),
            Some('|') => {
                let filter = 1 + blank(&rest[1..]);
                filter + word_length(&rest[filter..])
            }
            _ => return at,
        };
        at = next + length;
    }
}

#[cfg(test)]
mod tests {
    use super::adapt;

    #[test]
    fn only_what_minijinja_reads_otherwise_is_changed() {
        for (source, expected) in [
            ("a\r\nb\rc", "a\nb\nc"),
            ("{{ '%s' % x }}", "{{ '%s' | __format(x) }}"),
            (
                "{% set a = '%s-%s' % (b | trim, c[0].d('%}')) ~ 'x' %}",
                "{% set a = '%s-%s' | __format((b | trim, c[0].d('%}'))) ~ 'x' %}",
            ),
            ("{{ '%s' % 'a %s' % b }}", "{{ '%s' | __format('a %s') | __format(b) }}"),
            ("{{ loop.index0 % 2 }}{# '%s' % x #}", "{{ loop.index0 % 2 }}{# '%s' % x #}"),
            ("{{ {'a': {'b': 1}} }}{{ '}}' }}", "{{ {'a': {'b': 1}} }}{{ '}}' }}"),
            ("{%- generation -%}x{%+ endgeneration %}", "{%- with -%}x{%+ endwith %}"),
            ("{% raw %}\n{{ '%s' % x }}{% endraw %}", "{% raw %}\n\n{{ '%s' % x }}{% endraw %}"),
            ("{{ '%s' % x.y[1] | upper + 'z' }}", "{{ '%s' | __format(x.y[1] | upper) + 'z' }}"),
            (
                "{% raw %}{% if %}{%- endraw -%}{{ '%s' % x }}",
                "{% raw %}{% if %}{%- endraw -%}{{ '%s' | __format(x) }}",
            ),
            ("{{ 'unfinished", "{{ 'unfinished"),
            ("{% raw", "{% raw"),
            (
                "{{ '%.6f' % 1e-5 }}{{ '%f' % 1.5E+3|abs }}",
                "{{ '%.6f' | __format(1e-5) }}{{ '%f' | __format(1.5E+3|abs) }}",
            ),
            ("{#}{{ '%s' % x }}#}", "{#}{{ '%s' % x }}#}"),
            ("{{ '%d' % -3.5 }} 5 % {", "{{ '%d' | __format(-3.5) }} 5 % {"),
        ] {
            assert_eq!(adapt(source).as_deref(), Ok(expected));
        }
    }
}
