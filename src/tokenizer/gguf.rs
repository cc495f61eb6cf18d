//! The byte-level BPE tokenizer in a GGUF file's metadata.

use serde_json::{Map, Value as Json, json};

use super::Library;
use crate::{
    checkpoint::gguf::{Gguf, Value},
    error::{Error, Result},
};

const MODEL: &str = "tokenizer.ggml.model";
const SPLIT: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
/// Types of tokens that are found in a text before it is split: control tokens and those added by users.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// The tokenizer, if the file has one of GPT-2's kind that splits text as GPT-2 or SmolLM does.
///
/// # Errors
/// [`Error::Model`] if there is one and it is inconsistent.
pub(crate) fn from_gguf(gguf: &Gguf) -> Result<Option<Library>> {
    let text = |key| match gguf.get(key) {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let byte_level =
        json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let splitters = match (text(MODEL), text(SPLIT)) {
        (Some("gpt2"), Some("gpt-2")) => json!([byte_level]),
        (Some("gpt2"), Some("smollm")) => {
            json!([{ "type": "Digits", "individual_digits": true }, byte_level])
        }
        _ => return Ok(None),
    };
    let invalid = |problem: String| Error::model(gguf.path(), problem);
    let tokens = texts(gguf, TOKENS)?;
    let vocabulary: Map<String, Json> = tokens.iter().cloned().zip((0u32..).map(Json::from)).collect();
    if vocabulary.len() != tokens.len() {
        return Err(invalid(format!("{TOKENS}: expected every token once, found one twice")));
    }
    let merges = texts(gguf, MERGES)?;
    let merges: Option<Vec<_>> = merges.iter().map(|merge| split_merge(merge)).collect();
    let merges = merges.ok_or_else(|| invalid(format!("{MERGES}: expected pairs of tokens")))?;
    let added: Vec<Json> = added_tokens(gguf, &tokens).collect();
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": splitters },
        "decoder": byte_level,
        "model": { "type": "BPE", "vocab": vocabulary, "merges": merges },
    });
    Library::from_json(tokenizer)
        .map(Some)
        .map_err(|problem| invalid(format!("{TOKENS}, {MERGES}: {problem}")))
}

fn texts(gguf: &Gguf, key: &str) -> Result<Vec<String>> {
    let Some(Value::Array(array)) = gguf.get(key) else {
        return Err(Error::model(gguf.path(), format!("{key}: expected an array of strings, found none")));
    };
    let text = |value| if let Value::Text(text) = value { Some(text) } else { None };
    let texts: Option<Vec<_>> = array.values().map(text).collect();
    texts.ok_or_else(|| Error::model(gguf.path(), format!("{key}: expected strings, found other values")))
}

/// Both halves of a merge; the first may not begin with the blank between them.
fn split_merge(merge: &str) -> Option<(&str, &str)> {
    merge.split_once(' ').filter(|(left, right)| !left.is_empty() && !right.is_empty())
}

fn added_tokens<'a>(gguf: &'a Gguf, tokens: &'a [String]) -> impl Iterator<Item = Json> + 'a {
    let types = match gguf.get(TYPES) {
        Some(Value::Array(types)) => Some(types.values()),
        _ => None,
    };
    let typed = tokens.iter().enumerate().zip(types.into_iter().flatten());
    typed.filter_map(|((id, content), kind)| match kind {
        Value::Signed(kind @ (CONTROL | USER_DEFINED)) if !content.is_empty() => Some(json!({
            "id": id, "content": content, "special": kind == CONTROL,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })),
        _ => None,
    })
}
