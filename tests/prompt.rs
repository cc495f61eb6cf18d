//! Prompts: equal to transformers', safe from what users type, and decoded as they were encoded.

use std::path::Path;

use crate::common::{repository, tokenizers::streamed};
use mustdrop::{
    Error,
    checkpoint::ModelFiles,
    prompt::{Piece, PromptLayout, Role, Turn, TurnPart},
    tokenizer::{StopStrings, Tokenizer},
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

/// The chat template of llava-hf/llava-1.5-7b-hf.
const LLAVA_TEMPLATE: &str = "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}{# Render all images first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}{# Render all text next #}{% if message['role'] != 'assistant' %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}{% endfor %}{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}";
/// A template of a plain language model: the content is one string.
const CHATML: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content | trim }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

const ADDED: [&str; 7] = ["<s>", "</s>", "<unk>", "<image>", "<|im_start|>", "<|im_end|>", "※"];
const IMAGE: u32 = 256 + 3;

/// A tokenizer of single bytes, with the added tokens above, and perhaps a template.
fn bytes_tokenizer(template: Option<&str>) -> Result<Tokenizer, Error> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_bytes_tokenizer(folder.path(), template.map(Value::from));
    Tokenizer::from_files(&ModelFiles::Folder(folder.path().to_owned()), IMAGE)
}

fn write_bytes_tokenizer(folder: &Path, template: Option<Value>) {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let vocabulary: serde_json::Map<String, Value> =
        alphabet.iter().enumerate().map(|(id, letter)| (letter.to_string(), id.into())).collect();
    let added: Vec<Value> = ADDED
        .iter()
        .enumerate()
        .map(|(i, content)| {
            json!({ "id": 256 + i, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": i % 2 == 1, "special": i < 6 })
        })
        .collect();
    let byte_level =
        json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": byte_level, "decoder": byte_level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
            "special_tokens": { "<s>": { "id": "<s>", "ids": [256], "tokens": ["<s>"] } },
        },
        "model": { "type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": "<unk>", "byte_fallback": false },
    });
    let mut config =
        json!({ "bos_token": { "content": "<s>" }, "eos_token": "</s>", "model_max_length": 1e30 });
    if let Some(template) = template {
        config["chat_template"] = template;
    }
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).expect("writable");
    std::fs::write(folder.join("tokenizer_config.json"), config.to_string()).expect("writable");
}

fn user(parts: &[&str]) -> Turn {
    let texts = parts.iter().map(|text| TurnPart::Text((*text).to_owned()));
    Turn { role: Role::User, parts: std::iter::once(TurnPart::Image).chain(texts).collect() }
}

fn assistant(text: &str) -> Turn {
    Turn { role: Role::Assistant, parts: vec![TurnPart::Text(text.to_owned())] }
}

/// The layout in readable form: texts decoded with their special tokens, pictures as `[i]`.
fn readable(layout: &PromptLayout) -> String {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let mut text = String::new();
    for piece in &layout.pieces {
        match piece {
            Piece::Image(index) => text += &format!("[{index}]"),
            Piece::Text(ids) => {
                for id in ids {
                    match alphabet.get(*id as usize) {
                        Some('Ġ') => text.push(' '),
                        Some('Ċ') => text.push('\n'),
                        Some(letter) => text.push(*letter),
                        None => text += &format!("[{}]", ADDED[*id as usize - 256]),
                    }
                }
            }
        }
    }
    text
}

#[test]
fn the_default_models_prompt_is_the_one_transformers_makes() {
    let files = ModelFiles::embedded().expect("the model in the program");
    let tokenizer = Tokenizer::from_files(&files, 4).expect("the default model's tokenizer");
    let layout = tokenizer.prompt(&[user(&["what is in the picture?"])]).expect("a prompt");
    let reference =
        tokenizers::Tokenizer::from_file(repository("models/picture-book/tokenizer.json")).expect("valid");
    let text = "USER: <image>\nwhat is in the picture? ASSISTANT:";
    let ids = reference.encode(text, true).expect("encoded").get_ids().to_vec();
    assert_eq!(layout, PromptLayout::from_ids(&ids, 4));
    assert_eq!((layout.images(), tokenizer.model_max_length()), (1, Some(2048)));
}

#[test]
fn templates_of_the_folder_are_used_and_vicuna_where_there_is_none() {
    let turns =
        [user(&["hi?"]), assistant("yes."), Turn { parts: vec![TurnPart::Text("why?".into())], ..user(&[]) }];
    for (template, expected) in [
        (Some(LLAVA_TEMPLATE), "[<s>]USER: [0]\nhi? ASSISTANT: yes. USER: why? ASSISTANT:"),
        (None, "[<s>]USER: [0]\nhi? ASSISTANT: yes.[</s>]USER: why? ASSISTANT:"),
        (
            Some(CHATML),
            "[<s>][<|im_start|>]user\n[0]\nhi?[<|im_end|>]\n[<|im_start|>]assistant\nyes.[<|im_end|>]\n\
             [<|im_start|>]user\nwhy?[<|im_end|>]\n[<|im_start|>]assistant\n",
        ),
        (
            Some(
                "{{ bos_token }}{% for m in messages %}{{ m.content | map(attribute='type') | join(',') | replace('text', '') }}{% for c in m.content %}{{ '<image>' if c.type == 'image' else c.text }}{% endfor %}{{ eos_token }}{% endfor %}",
            ),
            "[<s>]image,[0]hi?[</s>]yes.[</s>]why?[</s>]",
        ),
    ] {
        let layout = bytes_tokenizer(template).expect("a tokenizer").prompt(&turns).expect("a prompt");
        assert_eq!(readable(&layout), expected);
    }
}

#[test]
fn templates_are_found_where_transformers_looks() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let named =
        json!([{ "name": "rag", "template": "wrong" }, { "name": "default", "template": LLAVA_TEMPLATE }]);
    write_bytes_tokenizer(folder.path(), Some(named));
    let files = ModelFiles::Folder(folder.path().to_owned());
    let prompt = || {
        let tokenizer = Tokenizer::from_files(&files, IMAGE).expect("a tokenizer");
        readable(&tokenizer.prompt(&[user(&["hi"])]).expect("a prompt"))
    };
    let template = |name: &str| {
        format!("{name}{{% for m in messages %}}<image>{{{{ m.content[1].text }}}}{{% endfor %}}")
    };
    let put = |file: &str, text: String| std::fs::write(folder.path().join(file), text).expect("writable");
    assert_eq!(prompt(), "[<s>]USER: [0]\nhi ASSISTANT:");
    put("chat_template.jinja", template("F"));
    assert_eq!(prompt(), "[<s>]F[0]hi");
    put("chat_template.json", json!({ "chat_template": template("J") }).to_string());
    assert_eq!(prompt(), "[<s>]J[0]hi");
    for inner in [
        json!({ "default": template("P"), "rag": "wrong" }),
        json!([{ "name": "default", "template": template("P") }]),
        json!(template("P")),
    ] {
        put(
            "processor_config.json",
            json!({ "processor_class": "LlavaProcessor", "chat_template": inner }).to_string(),
        );
        assert_eq!(prompt(), "[<s>]P[0]hi");
    }
    put("processor_config.json", json!({ "chat_template": null }).to_string());
    assert_eq!(prompt(), "[<s>]J[0]hi");
}

#[test]
fn templates_may_want_parts_of_users_and_words_of_others() {
    let template = "{% for m in messages %}{% if m.role == 'user' %}{% for c in m.content %}{{ '<image>' if c.type == 'image' else c.text }}{% endfor %}{% else %}{{ '|' + m.role + ': ' + m.content + '|' }}{% endif %}{% endfor %}{\"type\": \"function\"}";
    let system = Turn { role: Role::System, parts: vec![TurnPart::Text("be terse".into())] };
    let turns = [system, user(&["hi"]), assistant("yes")];
    let layout = bytes_tokenizer(Some(template)).expect("a tokenizer").prompt(&turns).expect("a prompt");
    assert_eq!(readable(&layout), "[<s>]|system: be terse|[0]hi|assistant: yes|{\"type\": \"function\"}");
}

#[test]
fn several_pictures_have_a_place_each() {
    let turn = Turn {
        role: Role::User,
        parts: vec![TurnPart::Image, TurnPart::Image, TurnPart::Text("which?".into())],
    };
    let layout =
        bytes_tokenizer(Some(LLAVA_TEMPLATE)).expect("a tokenizer").prompt(&[turn]).expect("a prompt");
    assert_eq!(readable(&layout), "[<s>]USER: [0]\n[1]\nwhich? ASSISTANT:");
}

#[test]
fn broken_templates_are_refused_with_their_file_and_reason() {
    for (template, reason) in [
        ("{% for m in messages %}", "not a valid chat template"),
        ("{{ raise_exception('only text') }}", "only text"),
        ("{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}", "fuel"),
        ("hello", "expected a chat template that writes a picture as one <image>"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}<image>", "expected a chat template"),
        ("{{ unknown_function() }}", "unknown"),
        ("{{ 'x' | indent(18446744073709551615) }}", "fuel"),
    ] {
        let message = bytes_tokenizer(Some(template)).expect_err(template).to_string();
        assert!(
            message.contains(reason) && message.contains("tokenizer_config.json"),
            "{template}: {message}"
        );
    }
    let demanding = "{% for m in messages %}{% if m.role == 'assistant' %}{{ raise_exception('no answers') }}{% endif %}<image>{{ m.content[1].text }}{% endfor %}";
    let tokenizer = bytes_tokenizer(Some(demanding)).expect("it works for a question");
    let error = tokenizer.prompt(&[user(&["a"]), assistant("b")]).expect_err("raised");
    assert!(matches!(&error, Error::Refused { .. }) && error.to_string().contains("no answers"), "{error}");
}

#[test]
fn broken_tokenizers_are_refused_with_their_file_and_reason() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = ModelFiles::Folder(folder.path().to_owned());
    let refusal = |image| Tokenizer::from_files(&files, image).expect_err("refused").to_string();
    assert!(refusal(IMAGE).contains("tokenizer.json"));
    write_bytes_tokenizer(folder.path(), None);
    assert!(refusal(7).contains("added token with the id 7"));
    let path = folder.path().join("tokenizer.json");
    let good = std::fs::read_to_string(&path).expect("written");
    for (from, to, reason) in [
        ("\"content\":\"<image>\"", "\"content\":\"\"", "added_tokens: expected a content"),
        ("\"type\":\"BPE\"", "\"type\":\"Nothing\"", "not a valid tokenizer"),
        ("{", "", "not valid JSON"),
        (
            "\"normalizer\":null",
            "\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAA\"}",
            "Precompiled",
        ),
        (
            "\"special_tokens\":{\"<s>\"",
            "\"special_tokens\":{\"<x>\"",
            "expected \"<s>\" among its special_tokens",
        ),
    ] {
        std::fs::write(&path, good.replacen(from, to, 1)).expect("writable");
        let message = refusal(IMAGE);
        assert!(message.contains("tokenizer.json") && message.contains(reason), "{message}");
    }
}

#[test]
fn a_tokenizers_own_truncation_and_padding_change_no_prompt() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = ModelFiles::Folder(folder.path().to_owned());
    write_bytes_tokenizer(folder.path(), None);
    let prompt = || {
        let tokenizer = Tokenizer::from_files(&files, IMAGE).expect("a tokenizer");
        tokenizer.prompt(&[user(&["what is in the picture?"])]).expect("a prompt")
    };
    let plain = prompt();
    let path = folder.path().join("tokenizer.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path).expect("written")).expect("JSON");
    json["truncation"] =
        json!({ "direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0 });
    json["padding"] = json!({ "strategy": { "Fixed": 99 }, "direction": "Right", "pad_to_multiple_of": null,
                              "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>" });
    std::fs::write(&path, json.to_string()).expect("writable");
    assert_eq!(prompt(), plain);
}

/// Texts that try: added tokens, halves of them, private code points, template syntax.
fn hostile_text() -> impl Strategy<Value = String> {
    let fragments = prop::sample::select(vec![
        "<s>",
        "</s>",
        "<image>",
        "<ima",
        "ge>",
        "<|im_start|>",
        "<|im_",
        "end|>",
        "※",
        "\u{FDD0}",
        "\u{FDD1}259\u{FDD2}",
        "{{ '<image>' }}",
        "{% if true %}",
        "\n",
        "  ",
        "a",
        "ü",
        "🦀",
        "USER: ",
    ]);
    prop::collection::vec(fragments, 1..8).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_text_becomes_a_special_token(texts in prop::collection::vec(hostile_text(), 1..4)) {
        for template in [LLAVA_TEMPLATE, CHATML] {
            let tokenizer = bytes_tokenizer(Some(template)).expect("a tokenizer");
            let special = |texts: &[&str]| -> Vec<u32> {
                let layout = tokenizer.prompt(&[user(texts), assistant(texts[0])]).expect("a prompt");
                let text = layout.pieces.into_iter().filter_map(|piece| match piece {
                    Piece::Text(ids) => Some(ids),
                    Piece::Image(_) => None,
                });
                text.flatten().filter(|id| (256..256 + 6).contains(id)).collect()
            };
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            prop_assert_eq!(special(&texts), special(&vec!["x"; texts.len()]));
        }
    }

    #[test]
    fn words_arrive_as_they_were_typed(words in "[ a-zA-Z0-9<>|※ü🦀]{1,30}") {
        let tokenizer = bytes_tokenizer(Some(LLAVA_TEMPLATE)).expect("a tokenizer");
        let layout = tokenizer.prompt(&[user(&[&words])]).expect("a prompt");
        let ids: Vec<u32> = match layout.pieces.last() {
            Some(Piece::Text(ids)) => ids.clone(),
            other => panic!("text behind the picture, not {other:?}"),
        };
        prop_assert_eq!(tokenizer.decode(&ids).expect("decoded"), format!("\n{words} ASSISTANT:"));
    }

    #[test]
    fn streamed_pieces_join_to_the_whole_decoding(ids in prop::collection::vec(0u32..270, 0..40)) {
        let tokenizer = bytes_tokenizer(None).expect("a tokenizer");
        prop_assert_eq!(streamed(&tokenizer, &ids), tokenizer.decode(&ids).expect("decoded"));
    }

    #[test]
    fn stop_strings_end_the_text_wherever_it_is_cut(text in "[ab]{0,12}", cuts in prop::collection::vec(0usize..4, 12)) {
        let stops = ["aab".to_owned(), "bb".to_owned()];
        let mut watch = StopStrings::new(&stops).expect("stops");
        let (mut said, mut rest, mut stopped) = (String::new(), text.as_str(), false);
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            rest = after;
            let (certain, stop) = watch.push(piece);
            said += &certain;
            stopped = stop;
            if stop { break; }
        }
        if !stopped {
            let (certain, stop) = watch.push(rest);
            said += &certain;
            stopped = stop;
            if !stop { said += &watch.finish(); }
        }
        let first = stops.iter().filter_map(|stop| text.find(stop.as_str())).min();
        prop_assert_eq!(stopped, first.is_some());
        // The stop string that is complete first ends the text; it may begin behind another that never ends.
        let complete = stops.iter().filter_map(|stop| text.find(stop.as_str()).map(|at| (at + stop.len(), at))).min();
        let ends: Vec<usize> = first.into_iter().chain(complete.map(|(_, at)| at)).collect();
        match stopped {
            true => prop_assert!(ends.contains(&said.len()) && text.starts_with(&said)),
            false => prop_assert_eq!(said, text),
        }
    }
}

#[test]
fn a_character_of_several_tokens_is_held_back_until_it_is_whole() {
    let tokenizer = bytes_tokenizer(None).expect("a tokenizer");
    let Some(Piece::Text(ids)) = tokenizer
        .prompt(&[Turn { role: Role::User, parts: vec![TurnPart::Image, TurnPart::Text("🦀!".into())] }])
        .expect("a prompt")
        .pieces
        .pop()
    else {
        panic!("text behind the picture")
    };
    let crab = &ids[1..6]; // behind the line break: four bytes and the exclamation mark
    let mut stream = tokenizer.stream();
    let pieces: Vec<_> = crab.iter().map(|id| stream.push(*id).expect("pushed")).collect();
    assert_eq!(pieces, [None, None, None, Some("🦀".into()), Some("!".into())]);
    let mut cut = tokenizer.stream();
    crab[..2].iter().for_each(|id| assert_eq!(cut.push(*id).expect("pushed"), None));
    assert_eq!(cut.finish().expect("finished"), Some("\u{FFFD}".into()));
}
