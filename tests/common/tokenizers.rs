//! Small tokenizers of every kind, in folders of their own.

use std::{fs, path::Path};

use mustdrop::{
    Error,
    checkpoint::ModelFiles,
    prompt::{Role, Turn, TurnPart},
    tokenizer::Tokenizer,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

pub const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}U: {% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}{{ c.text }}{% endif %}{% endfor %}{% endfor %}{{ '\\n' }}A:";

/// How a tokenizer works: byte-level BPE, BPE with byte fallback as Llama's, Unigram, WordPiece, WordLevel.
pub const KINDS: [&str; 5] = ["byte-level", "llama", "unigram", "wordpiece", "wordlevel"];

pub fn word_ids(words: &[&str]) -> serde_json::Map<String, Value> {
    words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), id.into())).collect()
}

/// A tokenizer without added tokens.
pub fn tokenizer(kind: &str) -> Value {
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

pub fn vocabulary_size(tokenizer: &Value) -> usize {
    let vocabulary = &tokenizer["model"]["vocab"];
    vocabulary.as_object().map(serde_json::Map::len).or(vocabulary.as_array().map(Vec::len)).expect("words")
}

/// Adds tokens as `tokenizer.json` has them; those that are words keep their id.
pub fn add(tokenizer: &mut Value, tokens: &[(&str, Value)]) {
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

pub fn write(tokenizer: &Value, config: &Value) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let put = |name: &str, text: String| fs::write(folder.path().join(name), text).expect("writable");
    put("tokenizer.json", tokenizer.to_string());
    put("tokenizer_config.json", config.to_string());
    put("chat_template.jinja", TEMPLATE.to_owned());
    folder
}

pub fn load(folder: &Path, image: u32) -> Result<Tokenizer, Error> {
    Tokenizer::from_files(&ModelFiles::Folder(folder.to_owned()), image)
}

pub fn asked(text: &str) -> [Turn; 1] {
    [Turn { role: Role::User, parts: vec![TurnPart::Image, TurnPart::Text(text.to_owned())] }]
}

/// Tokens as a stream says them, piece by piece.
pub fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut stream = tokenizer.stream();
    let mut streamed = String::new();
    for id in ids {
        streamed += &stream.push(*id).expect("pushed").unwrap_or_default();
    }
    streamed + &stream.finish().expect("finished").unwrap_or_default()
}

/// The id of an added token.
pub fn id_of(tokenizer: &Value, content: &str) -> u32 {
    let added = tokenizer["added_tokens"].as_array().expect("a list");
    added.iter().find(|token| token["content"] == content).expect("added")["id"].as_u64().expect("an id")
        as u32
}
