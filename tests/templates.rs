//! Chat templates: what transformers makes of real ones and of their idioms, and what takes too much.

use std::fs;

use crate::common::repository;
use mustdrop::prompt::jinja::{Failure, Jinja};
use serde_json::{Value, json};

/// Renders a case as transformers does.
fn render(case: &Value, made: &Value) -> Result<String, Failure> {
    let folder = repository("tests/golden/templates");
    let source = match case["template"].as_str() {
        Some(file) => fs::read_to_string(folder.join(file)).expect("a template"),
        None => case["source"].as_str().expect("a source").to_owned(),
    };
    let conversation = case["conversation"].as_str().expect("a name");
    let mut variables = json!({
        "messages": made["conversations"][conversation], "tools": null, "documents": null, "add_generation_prompt": true,
    });
    for (name, token) in made["tokens"].as_object().expect("tokens") {
        variables[name] = token.clone();
    }
    Jinja::new(&source)?.render(variables)
}

/// Cases that come out otherwise than in Python, by why.
const KNOWN: [(&str, &[&str]); 6] = [
    ("the same question has the same prompt on every day", &["strftime_now is defined"]),
    (
        "minijinja's own syntax or arithmetic",
        &[
            "2 ** 200",
            "{{ +1 }}",
            "\\N{BULLET}",
            "'\\a\\q'",
            "'a\\\nb'",
            "1 < 'a'",
            "missing in 'abc'",
            "for i in none",
            "ns._x",
        ],
    ),
    (
        "how Python shows what no template shows",
        &[
            "{{ range(3) }}",
            "}.items() }}",
            "}.keys() }}",
            "}.values() }}",
            "[missing]",
            "{'a': missing}",
            "ue000",
        ],
    ),
    ("loops over a string know no length", &["for i in 'abc'"]),
    (
        "rare in templates of conversations",
        &[
            "'%d' % 3.9",
            "'%r'",
            "{:%}",
            "{!r}",
            ".encode(",
            ".translate(",
            "is callable",
            "varargs",
            "dictsort(false",
            "('<' | e) + '<'",
            "urlencode",
            "wordwrap",
            "xmlattr",
            "pprint",
            "lipsum",
            "self is defined",
            "c.current",
        ],
    ),
    (
        "a dump of a message that has an invisible character",
        &["{{ messages[0] }}", "{{ messages[0]['content'] }}", "content.splitlines() }}"],
    ),
];

/// How many cases that is.
const KNOWN_WRONG: usize = 41;

#[test]
fn templates_write_what_transformers_writes() {
    let path = repository("tests/golden/templates/expected.json");
    let made: Value = serde_json::from_slice(&fs::read(path).expect("readable")).expect("JSON");
    let cases = made["cases"].as_array().expect("cases");
    let (mut wrong, mut known_wrong) = (Vec::new(), Vec::new());
    for case in cases {
        let found = render(case, &made);
        let is_right = match case["expected"].as_str() {
            Some(expected) => found.as_deref().ok() == Some(expected),
            None => found.is_err(),
        };
        if is_right {
            continue;
        }
        let source = case["source"].as_str().unwrap_or_default();
        let part = KNOWN.iter().flat_map(|(_, parts)| parts.iter()).find(|part| source.contains(**part));
        match part {
            Some(part) => known_wrong.push(*part),
            None => {
                let what = case["template"].as_str().or(case["source"].as_str()).expect("either");
                let expected = case["expected"].as_str().or(case["error"].as_str());
                wrong.push(format!(
                    "{what:?} of {}\n  expected {expected:?}\n  found    {found:?}",
                    case["conversation"]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    // Neither may one come to the others unseen, nor stay here when it is right.
    assert_eq!(known_wrong.len(), KNOWN_WRONG);
    for part in KNOWN.iter().flat_map(|(_, parts)| parts.iter()) {
        assert!(known_wrong.contains(part), "{part} is right");
    }
    assert!(cases.len() > 900);
}

#[test]
fn templates_that_take_too_much_are_stopped() {
    for source in [
        "{% set n = namespace(s='x' * 1000000) %}{% for i in range(40) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
        "{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l | tojson }}",
        "{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l }}",
        "{% set n = namespace(l=[1]) %}{% for i in range(2000) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l | tojson }}",
        "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s.replace('x', 'xx') %}{% endfor %}",
        "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = '%s%s' % (n.s, n.s) %}{% endfor %}",
        "{{ 'x' | indent(18446744073709551615) }}",
        "{{ 'x\ny' | indent(width=9000000000) }}",
        "{{ 'x'.center(9223372036854775807) }}{{ 'x'.zfill(9223372036854775807) }}",
        "{{ 'x'.ljust(4000000000, '🐈') }}",
        "{{ '\t'.expandtabs(18446744073709551615) }}",
        "{{ '%999999999999d' % 1 }}",
        "{{ '{:>4000000000}'.format('x') }}",
        "{{ [1] | tojson(indent=18446744073709551615) ~ ('x' * 9000000000) }}",
        "{{ (range(100000) | list) * 100000 }}",
        "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
        "{% set n = namespace(l=[]) %}{% for a in range(400) %}{% for b in range(400) %}{% set n.l = [n.l] %}{% endfor %}{% endfor %}{{ n.l | length }}{{ 'x' * 99999999 }}",
        "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
        "{% for a in [[[]]] recursive %}{{ loop([a]) }}{% endfor %}",
        "{% set x = 'x' * 10000000 %}{% set y = ('{0}' * 3000).format(x) %}",
        "{% set x = 'x' * 10000000 %}{% set y = ('{a}' * 3000).format(a=x) %}",
        "{% set x = 'x' * 10000000 %}{% set y = ('%s' * 3000) | format(x) %}",
        "{% set x = 'x' * 10000000 %}{% set y = ('%(a)s' * 3000) | format(a=x) %}",
        "{% set x = 'x' * 10000000 %}{% set y = '%s%s%s%s%s%s%s%s%s' % (x, x, x, x, x, x, x, x, x) %}",
        "{{ '% 12000000000d' % 1 }}",
        "{{ '{: 12000000000d}'.format(1) }}",
        "{{ '%.12000000000f' % 1 }}",
        "{{ ('{' * 3000000).format(1) }}",
        "{{ ('%' * 1000001) % 1 }}",
        "{% set x = 'x' * 10000000 %}{% set y = ''.join([x] * 3000) %}",
        "{% set y = ''.join(['a'] * 100000000) %}",
        "{% set x = 'x' * 10000000 %}{{ 'a'.startswith(([x] * 3000)) }}{{ 'a'.startswith(['b'] * 100000000) }}",
        "{{ ([1] * 100000000) | tojson }}",
        "{{ ([1] * 100000000) | list | tojson(indent='x' * 1000000) }}",
        "{% set x = 'x' * 100000 %}{% for i in range(1000) %}{{ ', '.join([x] * 1000) }}{% endfor %}",
    ] {
        let found = Jinja::new(source).map_err(Failure::from).and_then(|jinja| jinja.render(json!({})));
        let failure = found.map(|text| text.len()).expect_err(source);
        assert!(!failure.is_refusal, "{source}: {failure:?}");
    }
}

#[test]
fn long_templates_are_read_to_the_end() {
    let count = 200_000;
    for source in [
        "{% raw %}".to_owned() + &"{%".repeat(count),
        "{{ ".to_owned() + &"'%s' % (".repeat(count),
        "{{ ".to_owned() + &"'%s' % ".repeat(count) + "x }}",
        "{#".repeat(count),
        "{{ '".repeat(count),
        "{% generation %}".repeat(count),
        "{{ x ".to_owned() + &"| upper ".repeat(9_000) + "}}",
        "{{ x ".to_owned() + &"~ x ".repeat(9_000) + "}}",
        "{{ x ".to_owned() + &"| upper ".repeat(count) + "}}",
    ] {
        // Whatever it is: it is found out.
        let _ = Jinja::new(&source).map(|jinja| jinja.render(json!({})));
    }
    let text = "a".repeat(count);
    let rendered = Jinja::new(&format!("{{{{ '%s' % x }}}}{text}"))
        .and_then(|jinja| jinja.render(json!({ "x": "b" })).map_err(|failure| failure.problem));
    assert_eq!(rendered, Ok(format!("b{text}")));
}

#[test]
fn a_template_that_says_no_is_told_from_one_that_fails() {
    let failure = |source: &str| Jinja::new(source).expect("valid").render(json!({})).expect_err(source);
    assert!(failure("{{ raise_exception('roles must alternate') }}").is_refusal);
    assert!(
        failure("{% macro f() %}{{ raise_exception('no') }}{% endmacro %}{{ f() }}").problem.contains("no")
    );
    assert!(!failure("{{ nothing.at.all }}").is_refusal);
}
