//! What jinja2 reads in a template's source, and minijinja does not.
//!
//! Line ends are line feeds before anything else is read. transformers' own `{% generation %}` marks what to train on, in a
//! scope of its own. `'%s' % x` formats, where the left side is written out. The line break behind `{% raw %}` stays.

/// The filter that stands for `%` behind a string.
pub(super) const FORMAT: &str = "__format";

/// `source` as minijinja reads it.
pub(super) fn adapt(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut adapted = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(start) = tag_start(rest) {
        let (text, tag) = rest.split_at(start);
        adapted += text;
        let length = match &tag[..2] {
            "{#" => tag.find("#}").map_or(tag.len(), |end| end + 2),
            open => expression_length(&tag[2..], if open == "{{" { "}}" } else { "%}" }) + 2,
        };
        let (tag, after) = tag.split_at(length);
        rest = after;
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
            _ if tag.starts_with("{#") => adapted += tag,
            _ => adapted += &with_formats(tag),
        }
    }
    adapted + rest
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
    let ends = text.match_indices("{%").map(|(at, _)| at);
    let is_end =
        |at: &usize| text[*at..].find("%}").is_some_and(|end| name(&text[*at..at + end + 2]) == "endraw");
    ends.into_iter().find(is_end).unwrap_or(text.len())
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

/// `expression` with `'…' % operand` as `'…' | __format(operand)`.
fn with_formats(expression: &str) -> String {
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
            '%' if is_behind_string && !rest.starts_with("%}") => {
                let length = operand_length(&rest[1..]);
                let operand = with_formats(rest[1..1 + length].trim());
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
    let word = |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
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
        _ => word(&text[at..]),
    };
    loop {
        let next = at + blank(&text[at..]);
        let rest = &text[next..];
        let length = match rest.chars().next() {
            Some('(' | '[') => bracketed(rest),
            Some('.') => 1 + word(&rest[1..]),
            Some('|') => {
                let filter = 1 + blank(&rest[1..]);
                filter + word(&rest[filter..])
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
            ("{{ 'unfinished", "{{ 'unfinished"),
            ("{% raw", "{% raw"),
            ("{{ '%d' % -3.5 }} 5 % {", "{{ '%d' | __format(-3.5) }} 5 % {"),
        ] {
            assert_eq!(adapt(source), expected);
        }
    }
}
