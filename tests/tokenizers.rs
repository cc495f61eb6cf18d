//! Tokenizers of every kind: the ids are those of the `tokenizers` library, whatever people type and whatever a file has.

use std::fs;

use crate::common::tokenizers::{KINDS, add, asked, id_of, load, tokenizer, vocabulary_size, write};
use mustdrop::{
    Error,
    prompt::{Role, Turn, TurnPart},
};
use serde_json::{Value, json};

#[test]
fn added_tokens_of_every_sort_have_the_library_s_ids() {
    for kind in KINDS {
        for flags in 0..32u32 {
            let flag = |bit: u32| flags >> bit & 1 == 1;
            let sort = json!({
                "special": flag(0), "normalized": flag(1), "lstrip": flag(2), "rstrip": flag(3), "single_word": flag(4),
            });
            let mut file = tokenizer(kind);
            add(&mut file, &[("<image>", sort.clone()), ("yes", sort.clone()), ("<box>", sort.clone())]);
            let folder = write(&file, &json!({}));
            let ours = load(folder.path(), id_of(&file, "<image>")).expect("loads");
            let library = tokenizers::Tokenizer::from_bytes(file.to_string()).expect("the library's");
            for question in
                ["a b", " is it? yes yes", "yesa <box>b", "a <box> b ", "yes\n<box>", "ä 日本 <", "im"]
            {
                // What is special, nobody may say; that has a test of its own.
                if flag(0) && (question.contains("yes") || question.contains("<box>")) {
                    continue;
                }
                let rendered = ours.render(&asked(question)).expect("rendered");
                assert_eq!(rendered.text, format!("U: <image>{question}\nA:"));
                let expected = library.encode(rendered.text.as_str(), true).expect("encoded");
                assert_eq!(rendered.ids, expected.get_ids(), "{kind} {sort} {question:?}");
            }
        }
    }
}

#[test]
fn what_the_template_writes_is_special_and_what_is_typed_is_not() {
    for kind in KINDS {
        for flags in 0..16u32 {
            let flag = |bit: u32| flags >> bit & 1 == 1;
            let sort = json!({ "normalized": flag(0), "lstrip": flag(1), "rstrip": flag(2), "single_word": flag(3) });
            let mut file = tokenizer(kind);
            add(&mut file, &[("<image>", sort.clone()), ("<s>", sort.clone()), ("yes", sort.clone())]);
            let image = id_of(&file, "<image>");
            let folder = write(&file, &json!({ "bos_token": "<s>" }));
            let ours = load(folder.path(), image).expect("loads");
            let special = ["<image>", "<s>", "yes"].map(|content| id_of(&file, content));
            let count = |question: &str| match ours.render(&asked(question)) {
                Ok(rendered) => {
                    assert_eq!(rendered.text, format!("<s>U: <image>{question}\nA:"), "no mark is left");
                    Some(special.map(|id| rendered.ids.iter().filter(|other| **other == id).count()))
                }
                Err(error) => panic!("{kind}: {error}"),
            };
            for question in [" <image> a", "<s><s>", "a yes", "<ima", "ge> b", "a <image"] {
                // The same with nothing special in it, and letters where it has letters.
                let alike = |c: char| match c {
                    _ if c.is_alphanumeric() => 'a',
                    _ if c.is_whitespace() => c,
                    _ => '-',
                };
                let plain =
                    count(&question.chars().map(alike).collect::<String>()).expect("nothing special in it");
                if let Some(found) = count(question) {
                    assert_eq!(found, plain, "{kind} {sort} {question:?}");
                }
            }
        }
    }
}

/// A template that trims what was said, without anything between.
const TRIMMING: &str = "{% for m in messages %}{% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}{{ c.text | trim }}{% endif %}{% endfor %}{% endfor %}";

#[test]
fn nobody_spells_a_special_token_by_halves_in_other_letters_or_by_name() {
    let stop = |sort: Value, normalizer: Value| {
        let mut file = tokenizer("byte-level");
        file["normalizer"] = normalizer;
        add(&mut file, &[("<image>", json!({})), ("</s>", sort)]);
        let folder = write(&file, &json!({ "eos_token": "</s>" }));
        fs::write(folder.path().join("chat_template.jinja"), TRIMMING).expect("writable");
        let ours = load(folder.path(), id_of(&file, "<image>")).expect("loads");
        (ours, id_of(&file, "</s>"), folder)
    };
    let said = |texts: &[&str]| -> Vec<Turn> {
        let parts = texts.iter().map(|text| TurnPart::Text((*text).to_owned()));
        vec![Turn { role: Role::User, parts: std::iter::once(TurnPart::Image).chain(parts).collect() }]
    };
    let nfkc = json!({ "type": "NFKC" });
    for (sort, normalizer, texts) in [
        // Blanks that the template takes away lie between the halves.
        (json!({}), Value::Null, vec!["a < ", " /s> b"]),
        (json!({}), Value::Null, vec!["a </", "s", "> b"]),
        (json!({}), Value::Null, vec!["a </s> b"]),
        // The normalizer makes usual letters of wide ones.
        (json!({ "normalized": true }), nfkc.clone(), vec!["a ＜/s＞ b"]),
        // The configuration names it; the tokenizer's file does not call it special.
        (json!({ "special": false }), Value::Null, vec!["a </s> b"]),
        (json!({ "special": false, "normalized": true }), nfkc, vec!["a ＜/ｓ> b"]),
    ] {
        let (ours, id, _folder) = stop(sort, normalizer);
        let rendered = ours.render(&said(&texts)).expect("rendered");
        assert!(!rendered.ids.contains(&id), "{texts:?}: {:?}", rendered.text);
        assert_eq!(ours.prompt(&said(&texts)).expect("a prompt").images(), 1);
    }
}

#[test]
fn a_sign_at_the_end_of_a_text_is_no_fault() {
    // A normalizer that throws noncharacters away: special tokens cannot be kept apart, and nobody spells one here.
    let mut file = tokenizer("wordpiece");
    file["normalizer"] = json!({ "type": "Replace", "pattern": { "Regex": "[^a-zUA<>/: ]" }, "content": "" });
    add(&mut file, &[("<image>", json!({})), ("</s>", json!({ "normalized": true }))]);
    let ours = load(write(&file, &json!({})).path(), id_of(&file, "<image>")).expect("loads");
    assert_eq!(ours.prompt(&asked("is a <")).expect("a prompt").images(), 1);
    let error = ours.prompt(&asked("is a </s>")).expect_err("spelled");
    assert!(matches!(&error, Error::Prompt(message) if message.contains("</s>")), "{error}");
}

#[test]
fn tokens_that_only_the_small_files_have_are_added() {
    let describe = |content: &str| json!({ "content": content, "lstrip": false, "normalized": false, "rstrip": false, "single_word": false, "special": true });
    for kind in KINDS {
        let file = tokenizer(kind);
        let next = vocabulary_size(&file) as u32;
        let image = next.to_string();
        let decoder = json!({ "added_tokens_decoder": { image: describe("<image>"), (next + 1).to_string(): describe("<pad>") } });
        let folder = write(&file, &decoder);
        let ours = load(folder.path(), next).expect("from the configuration");
        assert!(ours.render(&asked("a")).expect("rendered").ids.contains(&next), "{kind}");
        assert_eq!(ours.token(next + 1).as_deref(), Some("<pad>"));

        let folder = write(&file, &json!({ "additional_special_tokens": ["<image>"] }));
        assert!(
            load(folder.path(), next)
                .expect("named")
                .render(&asked("a"))
                .expect("rendered")
                .ids
                .contains(&next)
        );

        let folder = write(&file, &json!({}));
        let legacy = json!({ "<pad>": next + 1, "<image>": next });
        fs::write(folder.path().join("added_tokens.json"), legacy.to_string()).expect("writable");
        assert!(
            load(folder.path(), next)
                .expect("the old file")
                .render(&asked("a"))
                .expect("rendered")
                .ids
                .contains(&next)
        );

        let refused = load(write(&file, &json!({})).path(), next).expect_err("nowhere").to_string();
        assert!(refused.contains("expected an added token"), "{refused}");
    }
}

#[test]
fn files_that_bring_the_library_down_are_the_model_s_fault() {
    let with = |kind: &str, path: &str, value: Value| {
        let mut file = tokenizer(kind);
        add(&mut file, &[("<image>", json!({}))]);
        *file.pointer_mut(path).expect("there") = value;
        file
    };
    let strip = json!({ "type": "Strip", "content": " ", "start": 0, "stop": 1 });
    let fixed = json!({ "type": "FixedLength", "length": 0 });
    let mut prefixed = with("byte-level", "/version", json!("1.0"));
    prefixed["model"]["continuing_subword_prefix"] = "####".into();
    for (file, part) in [
        (prefixed, "continuing_subword_prefix"),
        (with("byte-level", "/pre_tokenizer", fixed), "FixedLength"),
    ] {
        let error = load(write(&file, &json!({})).path(), id_of(&file, "<image>")).expect_err(part);
        assert!(matches!(&error, Error::Model { .. }) && error.to_string().contains(part), "{error}");
        assert_eq!(error.exit_code(), 3);
    }
    let file = with(
        "byte-level",
        "/decoder",
        json!({ "type": "Sequence", "decoders": [{ "type": "Fuse" }, strip] }),
    );
    let ours = load(write(&file, &json!({})).path(), id_of(&file, "<image>")).expect("loads");
    let error = ours.decode(&[id_of(&file, "<image>")]).expect_err("nothing is left to strip");
    assert!(error.to_string().contains("tokenizer.json") && error.exit_code() == 3, "{error}");
}

#[test]
fn a_pointer_in_the_place_of_the_file_is_known() {
    let folder = write(&json!({}), &json!({}));
    fs::write(
        folder.path().join("tokenizer.json"),
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    )
    .expect("writable");
    assert!(load(folder.path(), 1).expect_err("refused").to_string().contains("git lfs pull"));
}
