//! Tokenizers of every kind: the ids are those of the `tokenizers` library, whatever people type and whatever a file has.

use std::{fs, path::Path};

use mustdrop::{
    Error,
    checkpoint::ModelFiles,
    prompt::{Role, Turn, TurnPart},
    tokenizer::Tokenizer,
};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}U: {% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}{% endfor %}{% endfor %}{{ '\\n' }}A:";

/// How a tokenizer works: byte-level BPE, BPE with byte fallback as Llama's, Unigram, WordPiece, WordLevel.
const KINDS: [&str; 5] = ["byte-level", "llama", "unigram", "wordpiece", "wordlevel"];

fn word_ids(words: &[&str]) -> serde_json::Map<String, Value> {
    words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), id.into())).collect()
}

/// A tokenizer without added tokens.
fn tokenizer(kind: &str) -> Value {
    let (normalizer, pre_tokenizer, decoder, model) = match kind {
        "byte-level" => {
            let mut alphabet: Vec<String> = ByteLevel::alphabet().into_iter().map(String::from).collect();
            alphabet.sort_unstable();
            alphabet.extend(["ye", "yes", "<im", "image"].map(str::to_owned));
            let words: Vec<&str> = alphabet.iter().map(String::as_str).collect();
            let level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
            let model =
                json!({ "type": "BPE", "vocab": word_ids(&words), "merges": [["y", "e"], ["ye", "s"]] });
            (Value::Null, level.clone(), level, model)
        }
        "llama" => {
            let bytes: Vec<String> = (0..=255).map(|byte: u8| format!("<0x{byte:02X}>")).collect();
            let mut words = vec!["<unk>", "<s>", "</s>"];
            words.extend(bytes.iter().map(String::as_str));
            words.extend(["▁", "y", "e", "s", "a", "b", ":", "U", "A", "<", ">", "ye", "yes", "▁yes"]);
            let model = json!({
                "type": "BPE", "vocab": word_ids(&words), "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
                "merges": [["y", "e"], ["ye", "s"], ["▁", "yes"]],
            });
            let normalizer = json!({ "type": "Sequence", "normalizers": [
                { "type": "Prepend", "prepend": "▁" }, { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
            ] });
            let decoder = json!({ "type": "Sequence", "decoders": [
                { "type": "Replace", "pattern": { "String": "▁" }, "content": " " }, { "type": "ByteFallback" }, { "type": "Fuse" },
                { "type": "Strip", "content": " ", "start": 1, "stop": 0 },
            ] });
            (normalizer, Value::Null, decoder, model)
        }
        "unigram" => {
            let words = [
                "<unk>", "▁", "y", "e", "s", "a", "b", ":", "U", "A", "<", ">", "i", "m", "g", "/", "yes",
                "▁yes", "<s>",
            ];
            let vocabulary: Vec<Value> =
                words.iter().map(|word| json!([word, -(word.len() as f64)])).collect();
            let space =
                json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true });
            let model =
                json!({ "type": "Unigram", "unk_id": 0, "vocab": vocabulary, "byte_fallback": false });
            (Value::Null, space.clone(), space, model)
        }
        "wordpiece" => {
            let words = ["[UNK]", "yes", "##s", "a", "b", "u", ":", "<", ">", "s", "image", "ye", "/"];
            let normalizer = json!({ "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true });
            let model = json!({ "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": word_ids(&words) });
            (
                normalizer,
                json!({ "type": "BertPreTokenizer" }),
                json!({ "type": "WordPiece", "prefix": "##", "cleanup": true }),
                model,
            )
        }
        _ => {
            let words = ["[UNK]", "yes", "a", "b", ":", "U", "A", "<", ">", "s", "image"];
            let model = json!({ "type": "WordLevel", "unk_token": "[UNK]", "vocab": word_ids(&words) });
            (Value::Null, json!({ "type": "Whitespace" }), Value::Null, model)
        }
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": decoder, "model": model,
    })
}

fn vocabulary_size(tokenizer: &Value) -> usize {
    let vocabulary = &tokenizer["model"]["vocab"];
    vocabulary.as_object().map(serde_json::Map::len).or(vocabulary.as_array().map(Vec::len)).expect("words")
}

/// Adds tokens as `tokenizer.json` has them; those that are words keep their id.
fn add(tokenizer: &mut Value, tokens: &[(&str, Value)]) {
    let mut next = vocabulary_size(tokenizer);
    for (content, flags) in tokens {
        let id = tokenizer["model"]["vocab"].get(content).and_then(Value::as_u64).unwrap_or_else(|| {
            next += 1;
            next as u64 - 1
        });
        let mut token = json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true });
        for (name, flag) in flags.as_object().into_iter().flatten() {
            token[name] = flag.clone();
        }
        tokenizer["added_tokens"].as_array_mut().expect("a list").push(token);
    }
}

fn write(tokenizer: &Value, config: &Value) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let put = |name: &str, text: String| fs::write(folder.path().join(name), text).expect("writable");
    put("tokenizer.json", tokenizer.to_string());
    put("tokenizer_config.json", config.to_string());
    put("chat_template.jinja", TEMPLATE.to_owned());
    folder
}

fn load(folder: &Path, image: u32) -> Result<Tokenizer, Error> {
    Tokenizer::from_files(&ModelFiles::Folder(folder.to_owned()), image)
}

fn asked(text: &str) -> [Turn; 1] {
    [Turn { role: Role::User, parts: vec![TurnPart::Image, TurnPart::Text(text.to_owned())] }]
}

/// The id of an added token.
fn id_of(tokenizer: &Value, content: &str) -> u32 {
    let added = tokenizer["added_tokens"].as_array().expect("a list");
    added.iter().find(|token| token["content"] == content).expect("added")["id"].as_u64().expect("an id")
        as u32
}

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
                // BERT's normalizer throws noncharacters away: then nobody may spell what it would have to tell apart.
                Err(error) => {
                    assert!(kind == "wordpiece" && error.to_string().contains("cannot be told"), "{error}");
                    None
                }
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

/// A number, text or list in place of something in the file, or something gone.
fn mutate(json: &mut Value, generator: &mut ChaCha8Rng) {
    let deeper = match json {
        _ if generator.next_u32().is_multiple_of(4) => None,
        Value::Object(fields) if !fields.is_empty() => {
            let chosen = generator.next_u32() as usize % fields.len();
            fields.values_mut().nth(chosen)
        }
        Value::Array(items) if !items.is_empty() => {
            let chosen = generator.next_u32() as usize % items.len();
            items.get_mut(chosen)
        }
        _ => None,
    };
    if let Some(deeper) = deeper {
        return mutate(deeper, generator);
    }
    *json = match generator.next_u32() % 12 {
        0 => Value::Null,
        1 => json!(0),
        2 => json!(-1),
        3 => json!(u64::MAX),
        4 => json!(1e300),
        5 => json!(""),
        6 => json!("####"),
        7 => json!(["a", "b"]),
        8 => json!({ "type": "FixedLength", "length": 1 }),
        9 => json!({ "type": "Strip", "content": "s", "start": 1, "stop": 3 }),
        10 => json!({ "type": "Replace", "pattern": { "Regex": "(a*)*b|" }, "content": "yes" }),
        _ => json!(true),
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_damage_to_a_tokenizer_is_a_panic(kind in prop::sample::select(KINDS.to_vec()), seed in any::<u64>(), times in 1usize..4) {
        let mut file = tokenizer(kind);
        add(&mut file, &[("<image>", json!({})), ("<s>", json!({ "normalized": true })), ("yes", json!({ "special": false }))]);
        let image = id_of(&file, "<image>");
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        (0..times).for_each(|_| mutate(&mut file, &mut generator));
        let folder = write(&file, &json!({ "bos_token": "<s>" }));
        let ours = match load(folder.path(), image) {
            Ok(ours) => ours,
            Err(error) => {
                prop_assert_eq!(error.exit_code(), 3, "{}", error);
                return Ok(());
            }
        };
        for question in ["is it? yes ab", "<image> ä", ""] {
            if let Err(error) = ours.prompt(&asked(question)) {
                prop_assert!(matches!(error, Error::Model { .. } | Error::Prompt(_)), "{}", error);
            }
        }
        let mut stream = ours.stream();
        for id in [0, 1, 4, 7, image, 5, 300, u32::MAX] {
            stream.push(id).expect("held back at worst");
        }
        if let Err(error) = stream.finish() {
            prop_assert_eq!(error.exit_code(), 3, "{}", error);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn streamed_pieces_join_to_the_whole_decoding(kind in prop::sample::select(KINDS.to_vec()), ids in prop::collection::vec(0u32..290, 0..24)) {
        let mut file = tokenizer(kind);
        add(&mut file, &[("<image>", json!({})), ("</s>", json!({}))]);
        let ours = load(write(&file, &json!({})).path(), id_of(&file, "<image>")).expect("loads");
        let mut stream = ours.stream();
        let mut streamed = String::new();
        for id in &ids {
            streamed += &stream.push(*id).expect("pushed").unwrap_or_default();
        }
        streamed += &stream.finish().expect("finished").unwrap_or_default();
        prop_assert_eq!(streamed, ours.decode(&ids).expect("decoded"));
    }
}

#[test]
fn a_broken_character_loses_nothing_behind_it() {
    let mut file = tokenizer("llama");
    add(&mut file, &[("<image>", json!({}))]);
    let ours = load(write(&file, &json!({})).path(), id_of(&file, "<image>")).expect("loads");
    let id = |token: &str| file["model"]["vocab"][token].as_u64().expect("a word") as u32;
    let tokens = ["A", "<0xC3>", "<0xA9>", "<0xC3>", "yes", "▁", "a", "b"].map(id);
    let mut stream = ours.stream();
    let pieces: Vec<Option<String>> = tokens.iter().map(|id| stream.push(*id).expect("pushed")).collect();
    assert_eq!(pieces[..4], [Some("A".into()), None, None, None]);
    assert_eq!(pieces[4], Some("\u{FFFD}\u{FFFD}\u{FFFD}yes".into()));
    let rest: String = pieces[5..].iter().flatten().map(String::as_str).collect();
    assert_eq!(rest + &stream.finish().expect("finished").unwrap_or_default(), " ab");
    let mut whole = ours.stream();
    let pieces: Vec<Option<String>> =
        ["<0xC3>", "<0xA9>", "s"].map(id).iter().map(|id| whole.push(*id).expect("pushed")).collect();
    assert_eq!(pieces, [None, None, Some("és".into())]);
}
