//! Keeps users from spelling special tokens.
//!
//! A prompt is one text, tokenised as a whole, in which the template's `<image>` is a special token and the same seven
//! letters typed by a user are not. Where nobody spells one, the text goes to the tokenizer as it is. Where somebody does,
//! what was said is marked with a Unicode noncharacter inside each such spelling; in the rendered template, spellings without
//! a mark become private ones, the marks go, and the text goes to a second tokenizer, which knows special tokens by their
//! private spellings only.
//!
//! Tokens that are added but not special (`<box>`) may be typed by anybody, as in transformers.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use tokenizers::AddedToken;

use super::library::Library;

/// Stands inside spellings of special tokens in what people said, behind the first letter.
const MARK: char = '\u{FDD0}';
/// Stands at the ends of what people said, where what is beside it may complete a spelling.
const EDGE: char = '\u{FDD3}';
/// Delimiters of a private spelling.
const OPEN: char = '\u{FDD1}';
const CLOSE: char = '\u{FDD2}';
/// The longest part of a spelling that is looked for at the ends of a text, in characters.
const LONGEST_PART: usize = 256;
/// Noncharacters that marked texts may not contain otherwise.
const RESERVED: std::ops::RangeInclusive<char> = '\u{FDD0}'..='\u{FDEF}';

/// The tokens that nobody may say.
#[derive(Debug)]
pub(super) struct Spellings {
    /// Those with the longest spelling first, and their ids.
    tokens: Vec<(AddedToken, u32)>,
    /// What the tokenizer's normalizer makes of those that are found behind it.
    normalized: Vec<String>,
}

/// How a text comes near to special tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spelled {
    Nothing,
    /// It begins or ends with a part, which what stands beside it might complete.
    Part,
    Whole,
}

impl Spellings {
    pub fn new(library: &Library, mut tokens: Vec<(AddedToken, u32)>) -> Self {
        tokens.sort_by_key(|(token, _)| std::cmp::Reverse(token.content.len()));
        let normalized = tokens.iter().filter(|(token, _)| token.normalized);
        let normalized = normalized.filter_map(|(token, _)| library.normalized(&token.content));
        Self { normalized: normalized.filter(|spelling| !spelling.is_empty()).collect(), tokens }
    }

    /// How a text comes near to one of them, also when it is normalized.
    pub fn spelled_in(&self, text: &str, library: &Library) -> Spelled {
        let places = self.places(text);
        let is_hidden = || {
            !self.normalized.is_empty()
                && library
                    .normalized(text)
                    .is_none_or(|text| self.normalized.iter().any(|spelling| text.contains(spelling)))
        };
        let has_whole = places.values().any(|mark| *mark == MARK);
        match places.values().next() {
            _ if has_whole => Spelled::Whole,
            _ if is_hidden() => Spelled::Whole,
            Some(_) => Spelled::Part,
            None => Spelled::Nothing,
        }
    }

    /// `text` with marks, so that no part of it spells a special token, not even together with what stands beside it.
    pub fn mark(&self, text: &str) -> String {
        let places = self.places(text);
        let mut marked = String::with_capacity(text.len() + MARK.len_utf8() * places.len());
        let ends = text.char_indices().map(|(at, character)| (at, Some(character)));
        for (at, character) in ends.chain([(text.len(), None)]) {
            marked.extend(places.get(&at));
            let is_reserved = character.is_some_and(|character| RESERVED.contains(&character));
            marked.extend(if is_reserved { Some(char::REPLACEMENT_CHARACTER) } else { character });
        }
        marked
    }

    /// Which marks go where.
    fn places(&self, text: &str) -> BTreeMap<usize, char> {
        let mut places = BTreeMap::new();
        // Templates trim what was said: its ends are there, too.
        let trimmed = text.trim();
        let start = text.len() - text.trim_start().len();
        let ends = [(0, text), (start, trimmed)];
        for (AddedToken { content: spelling, .. }, _) in &self.tokens {
            let first = spelling.chars().next().map_or(0, char::len_utf8);
            // Spellings may overlap.
            let mut from = 0;
            while let Some(found) = text[from..].find(spelling.as_str()) {
                from += found + first;
                places.insert(from, MARK);
            }
            let cuts = || spelling.char_indices().map(|(at, _)| at).skip(1).take(LONGEST_PART);
            for (start, text) in ends {
                if cuts().any(|cut| text.ends_with(&spelling[..cut])) {
                    places.entry(start + text.len()).or_insert(EDGE);
                }
                if cuts().any(|cut| text.starts_with(&spelling[cut..])) {
                    places.entry(start).or_insert(EDGE);
                }
            }
        }
        places
    }

    /// `rendered` with unmarked spellings made private, and without marks.
    fn made_private(&self, rendered: &str) -> String {
        let mut text = String::with_capacity(rendered.len());
        let mut rest = rendered;
        while let Some(character) = rest.chars().next() {
            let token = self.tokens.iter().find_map(|(token, id)| {
                let after = rest.strip_prefix(token.content.as_str())?;
                // A one-letter token is told from the same letter said by somebody by the mark that follows the latter.
                let is_said = after.starts_with(MARK);
                let is_within_word = token.single_word
                    && (text.ends_with(is_of_words)
                        || after.trim_start_matches([MARK, EDGE]).starts_with(is_of_words));
                (!is_said && !is_within_word).then_some((*id, after))
            });
            match token {
                Some((id, after)) => {
                    text += &private(id);
                    rest = after;
                }
                None => {
                    if ![MARK, EDGE].contains(&character) {
                        text.push(character);
                    }
                    rest = &rest[character.len_utf8()..];
                }
            }
        }
        text
    }
}

/// A rendered prompt as people see it.
pub(super) fn without_marks(rendered: &str) -> String {
    rendered.replace([MARK, EDGE], "")
}

/// The second tokenizer.
#[derive(Debug)]
pub(super) struct Guard(Library);

impl Guard {
    /// Makes it from the first.
    ///
    /// # Errors
    ///
    /// The special token that the tokenizer cannot know by another name.
    pub fn new(plain: &Library, spellings: &Spellings) -> Result<Self, String> {
        let mut json = plain.to_json()?;
        let names = spellings.tokens.iter().map(|(token, id)| (token.content.as_str(), *id));
        let names: HashMap<&str, u32> = names.collect();
        for token in json.get_mut("added_tokens").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(id) = token.get("content").and_then(Value::as_str).and_then(|name| names.get(name)) {
                token["content"] = private(*id).into();
                // Which is seen to where spellings are made private.
                token["single_word"] = false.into();
            }
        }
        if let Some(model) = json.get_mut("model") {
            rename(model, &names);
        }
        let library = Library::from_json(json)?;
        for (AddedToken { content: name, normalized, .. }, id) in &spellings.tokens {
            // A normalizer that leaves of it nothing but the number would find that everywhere.
            let is_itself = !normalized
                || plain.normalized(&private(*id)).is_some_and(|text| text.contains(&private(*id)));
            if !is_itself || library.encode(&private(*id), false)? != [*id] {
                return Err(format!(
                    "somebody spells the special token {name:?}, which cannot be told from the template's"
                ));
            }
        }
        Ok(Self(library))
    }

    /// Token ids of a rendered prompt, in which what was said is marked.
    pub fn encode(
        &self,
        rendered: &str,
        spellings: &Spellings,
        with_frame: bool,
    ) -> Result<Vec<u32>, String> {
        self.0.encode(&spellings.made_private(rendered), with_frame)
    }
}

/// What `\w` matches, nearly.
fn is_of_words(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn private(id: u32) -> String {
    format!("{OPEN}{id}{CLOSE}")
}

/// Gives special tokens their private spelling wherever the model's own vocabulary has them, and lets no merge lead to one.
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
    let prefix =
        model.get("continuing_subword_prefix").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(merges) = model.get_mut("merges").and_then(Value::as_array_mut) {
        merges.retain(|merge| {
            let halves = match merge {
                Value::String(pair) => pair.split_once(' '),
                pair => pair.get(0).and_then(Value::as_str).zip(pair.get(1).and_then(Value::as_str)),
            };
            halves.is_none_or(|(left, right)| {
                let joined = format!("{left}{}", right.strip_prefix(&prefix).unwrap_or(right));
                [left, right, &joined].into_iter().all(|name| !names.contains_key(name))
            })
        });
    }
}
