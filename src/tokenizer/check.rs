//! What of a tokenizer's file would make the `tokenizers` crate panic.

use serde_json::Value;

/// Refuses what would.
///
/// # Errors
///
/// The part of the file that would, what was expected there, and what was found.
pub(super) fn check(json: &Value) -> Result<(), String> {
    let children: Vec<&Value> = match json {
        Value::Object(fields) => fields.values().collect(),
        Value::Array(items) => items.iter().collect(),
        _ => return Ok(()),
    };
    match json.get("type").and_then(Value::as_str) {
        Some("Precompiled") => {
            return Err(
                "normalizer: `Precompiled` is not supported, expected one as Llama tokenizers have".into()
            );
        }
        Some("TemplateProcessing") => check_template(json)?,
        Some("FixedLength") if json.get("length").and_then(Value::as_u64) == Some(0) => {
            return Err("pre_tokenizer: FixedLength: expected a length of at least 1, found 0".into());
        }
        _ => {}
    }
    if let Some(token) = json.get("added_tokens").and_then(Value::as_array).and_then(|tokens| {
        tokens.iter().find(|token| token.get("content").and_then(Value::as_str).is_none_or(str::is_empty))
    }) {
        return Err(format!("added_tokens: expected a content for each, found {token}"));
    }
    if let Some(prefix) = json.get("continuing_subword_prefix").and_then(Value::as_str) {
        check_merges(json, prefix)?;
    }
    children.into_iter().try_for_each(check)
}

/// What a frame puts around a text has to be among its tokens.
fn check_template(json: &Value) -> Result<(), String> {
    let pieces = ["single", "pair"].into_iter().filter_map(|name| json.get(name)?.as_array()).flatten();
    let mut named = pieces.filter_map(|piece| piece.get("SpecialToken")?.get("id")?.as_str());
    let known = |name: &&str| json.get("special_tokens").is_some_and(|tokens| tokens.get(*name).is_some());
    match named.find(|name| !known(name)) {
        Some(name) => Err(format!("post_processor: expected {name:?} among its special_tokens, found none")),
        None => Ok(()),
    }
}

/// Where words go on with a prefix, the right half of each merge has it: it is cut off.
fn check_merges(model: &Value, prefix: &str) -> Result<(), String> {
    let merges = model.get("merges").and_then(Value::as_array).into_iter().flatten();
    let right = |merge: &Value| match merge {
        Value::String(pair) => pair.rsplit_once(' ').map(|(_, right)| right.to_owned()),
        pair => pair.get(1).and_then(Value::as_str).map(str::to_owned),
    };
    match merges.filter_map(right).find(|right| !right.is_char_boundary(prefix.len())) {
        Some(right) => Err(format!(
            "model: expected merges with words that go on with the continuing_subword_prefix {prefix:?}, found {right:?}"
        )),
        None => Ok(()),
    }
}
