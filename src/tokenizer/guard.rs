//! An encoder whose special tokens no user can spell.
//!
//! A prompt is one text, tokenised as a whole, in which the template's `<image>` is a special token and the same
//! seven letters typed by a user are not. The encoder therefore knows every added token only by a private
//! spelling made of Unicode noncharacters. What people said is marked, a noncharacter behind every visible
//! one; in the rendered template, unmarked spellings of added tokens become private ones, and the marks go.

use std::{collections::HashMap, path::Path};

use serde_json::Value;

use super::parse_json;
use crate::error::{Error, Result};

/// Stands behind every character of what people said.
const MARK: char = '\u{FDD0}';
/// Delimiters of a private spelling.
const OPEN: char = '\u{FDD1}';
const CLOSE: char = '\u{FDD2}';
/// Noncharacters that texts from outside may not contain.
const RESERVED: std::ops::RangeInclusive<char> = '\u{FDD0}'..='\u{FDEF}';

/// `text` with a mark behind every character that is not white space, so that none of it, not even together
/// with what a template puts around it, spells an added token.
///
/// White space stays bare for the sake of templates that trim.
pub(super) fn mark(text: &str) -> String {
    let mut marked = String::with_capacity(4 * text.len());
    for character in text.chars() {
        marked.push(if RESERVED.contains(&character) { char::REPLACEMENT_CHARACTER } else { character });
        if !character.is_whitespace() {
            marked.push(MARK);
        }
    }
    marked
}

/// The encoder.
#[derive(Debug)]
pub(super) struct Guard {
    tokenizer: tokenizers::Tokenizer,
    /// Spellings and ids of the added tokens, longest first.
    added: Vec<(String, u32)>,
}

impl Guard {
    /// Makes the encoder from the contents of `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if an added token is malformed or its id is not the one the file says.
    pub fn new(json: &[u8], path: &Path) -> Result<Self> {
        let mut json = parse_json(json, path)?;
        check(&json).map_err(|problem| Error::model(path, problem))?;
        // A prompt is never cut or filled up behind the user's back; transformers resets these too.
        for field in ["truncation", "padding"] {
            json[field] = Value::Null;
        }
        let mut added = Vec::new();
        for token in json.get_mut("added_tokens").and_then(Value::as_array_mut).into_iter().flatten() {
            let id = token.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
            let content = token.get("content").and_then(Value::as_str).filter(|content| !content.is_empty());
            let (Some(id), Some(content)) = (id, content) else {
                return Err(Error::model(
                    path,
                    format!("added_tokens: expected an id and a content, found {token}"),
                ));
            };
            added.push((content.to_owned(), id));
            token["content"] = private(id).into();
            token["normalized"] = false.into();
        }
        let names: HashMap<&str, u32> = added.iter().map(|(content, id)| (content.as_str(), *id)).collect();
        if let Some(model) = json.get_mut("model") {
            rename(model, &names);
        }
        let tokenizer: tokenizers::Tokenizer = serde_json::from_value(json)
            .map_err(|error| Error::model(path, format!("not a valid tokenizer: {error}")))?;
        for (content, id) in &added {
            let found = tokenizer.token_to_id(&private(*id));
            if found != Some(*id) {
                return Err(Error::model(
                    path,
                    format!(
                        "added_tokens: expected the id {id} for {content:?}, found {found:?} in the vocabulary"
                    ),
                ));
            }
        }
        added.sort_by_key(|(content, _)| std::cmp::Reverse(content.len()));
        Ok(Self { tokenizer, added })
    }

    /// How the file spells the added token `id`.
    pub fn content(&self, id: u32) -> Option<&str> {
        self.added.iter().find(|(_, added)| *added == id).map(|(content, _)| content.as_str())
    }

    /// Token ids of a rendered prompt, with the tokenizer's own frame unless `bos` already begins the text.
    ///
    /// # Errors
    ///
    /// [`Error::Prompt`] if the tokenizer fails.
    pub fn encode(&self, rendered: &str, bos: &str) -> Result<Vec<u32>> {
        let framed = !bos.is_empty() && rendered.starts_with(bos);
        let text = self.with_private_spellings(rendered);
        let encoding = self
            .tokenizer
            .encode_fast(text, !framed)
            .map_err(|error| Error::Prompt(format!("encode the prompt: {error}")))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// `rendered` with the template's added tokens in their private spelling, and without marks.
    fn with_private_spellings(&self, rendered: &str) -> String {
        let mut text = String::with_capacity(rendered.len());
        let mut rest = rendered;
        while let Some(character) = rest.chars().next() {
            // Marks inside what people said keep longer spellings from matching; a one-letter token is
            // told from the same letter said by somebody by the mark that follows the latter.
            let token = self.added.iter().find_map(|(content, id)| {
                rest.strip_prefix(content.as_str())
                    .filter(|after| !after.starts_with(MARK))
                    .map(|after| (*id, after))
            });
            match token {
                Some((id, after)) => {
                    text += &private(id);
                    rest = after;
                }
                None => {
                    if character != MARK {
                        text.push(character);
                    }
                    rest = &rest[character.len_utf8()..];
                }
            }
        }
        text
    }
}

/// Refuses what would make the library below panic instead of failing.
fn check(json: &Value) -> Result<(), String> {
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
        Some("TemplateProcessing") => {
            let pieces =
                ["single", "pair"].into_iter().filter_map(|name| json.get(name)?.as_array()).flatten();
            let mut named = pieces.filter_map(|piece| piece.get("SpecialToken")?.get("id")?.as_str());
            let known =
                |name: &&str| json.get("special_tokens").is_some_and(|tokens| tokens.get(*name).is_some());
            if let Some(name) = named.find(|name| !known(name)) {
                return Err(format!(
                    "post_processor: expected {name:?} among its special_tokens, found none"
                ));
            }
        }
        _ => {}
    }
    children.into_iter().try_for_each(check)
}

fn private(id: u32) -> String {
    format!("{OPEN}{id}{CLOSE}")
}

/// Gives added tokens their private spelling wherever the model's own vocabulary has them.
fn rename(model: &mut Value, names: &HashMap<&str, u32>) {
    let spelling = |name: &str| names.get(name).map(|id| private(*id));
    match model.get_mut("vocab") {
        Some(Value::Object(vocabulary)) => {
            let entries = std::mem::take(vocabulary).into_iter();
            *vocabulary = entries.map(|(name, id)| (spelling(&name).unwrap_or(name), id)).collect();
        }
        Some(Value::Array(vocabulary)) => {
            for name in vocabulary.iter_mut().filter_map(|entry| entry.get_mut(0)) {
                if let Some(private) = name.as_str().and_then(spelling) {
                    *name = private.into();
                }
            }
        }
        _ => {}
    }
    if let Some(private) = model.get("unk_token").and_then(Value::as_str).and_then(spelling) {
        model["unk_token"] = private.into();
    }
}
