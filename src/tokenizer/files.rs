//! The files of a tokenizer: `tokenizer.json`, and what stands of tokens in those beside it.

use std::{collections::HashSet, path::PathBuf};

use serde_json::{Value, json};
use tokenizers::AddedToken;

use super::{check::check, library::Library};
use crate::{
    checkpoint::ModelFiles,
    config::parse_json,
    error::{Error, Result},
};

const FILE: &str = "tokenizer.json";
const CONFIG_FILE: &str = "tokenizer_config.json";
const MAP_FILE: &str = "special_tokens_map.json";
const ADDED_FILE: &str = "added_tokens.json";

/// Tokens that a configuration names, all of them special.
const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Lengths above this mean "no limit": transformers writes 1e30 there.
const LARGEST_LENGTH: f64 = 1e9;

/// What the files of a tokenizer say, besides the chat template.
pub(super) struct TokenizerFiles {
    pub library: Library,
    pub path: PathBuf,
    config: Value,
    map: Value,
}

impl TokenizerFiles {
    /// Reads them, and adds the tokens that only the smaller ones have, as transformers' `AutoTokenizer` does.
    pub fn read(files: &ModelFiles) -> Result<Self> {
        let path = files.path(FILE);
        let invalid = |problem: String| Error::model(&path, problem);
        let Some(bytes) = files.read(FILE)? else {
            return Err(invalid(
                "no such file; expected the fast tokenizer of the model (for an old folder with only tokenizer.model, \
                 `AutoTokenizer.from_pretrained(folder).save_pretrained(folder)` in transformers writes it)"
                    .into(),
            ));
        };
        let json = parse_json(&bytes, &path)?;
        check(&json).map_err(invalid)?;
        let mut library = Library::from_json(json).map_err(invalid)?;
        let (config, map) = (read_json(files, CONFIG_FILE)?, read_json(files, MAP_FILE)?);
        let mut tokens = decoder_tokens(&config);
        if config.get("added_tokens_decoder").is_none() {
            tokens = legacy_tokens(&read_json(files, ADDED_FILE)?, &config, &map);
        }
        let mut known: HashSet<String> =
            library.added().into_iter().map(|(_, token)| token.content).collect();
        known.extend(tokens.iter().map(|token| token.content.clone()));
        tokens
            .extend(named_tokens(&config, &map).into_iter().filter(|token| !known.contains(&token.content)));
        library.add_tokens(&tokens).map_err(invalid)?;
        Ok(Self { library, path, config, map })
    }

    /// The content of a token that is named in one of the files; an empty text if it is not.
    pub fn named(&self, name: &str) -> String {
        let token = self.config.get(name).and_then(content).or(self.map.get(name).and_then(content));
        token.unwrap_or_default().to_owned()
    }

    /// The contents of the tokens that have a name, such as `eos_token`.
    pub fn named_tokens(&self) -> Vec<String> {
        named_tokens(&self.config, &self.map).into_iter().map(|token| token.content).collect()
    }

    /// `model_max_length`, where it means one.
    pub fn model_max_length(&self) -> Option<usize> {
        let length = self.config.get("model_max_length").and_then(Value::as_f64)?;
        (1.0..LARGEST_LENGTH).contains(&length).then_some(length as usize)
    }
}

/// A token that is written as its content or as an object with its content.
fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}

/// A token as an object describes it; flags that it leaves out are those of transformers' `AddedToken`.
fn token(value: &Value, is_special: bool) -> Option<AddedToken> {
    let flag = |name: &str| value.get(name).and_then(Value::as_bool);
    let is_special = is_special || flag("special").unwrap_or(false);
    let token = AddedToken::from(content(value)?, is_special)
        .lstrip(flag("lstrip").unwrap_or(false))
        .rstrip(flag("rstrip").unwrap_or(false))
        .single_word(flag("single_word").unwrap_or(false))
        .normalized(flag("normalized").unwrap_or(!is_special));
    Some(token)
}

/// `added_tokens_decoder` of the configuration, in the order of its ids.
fn decoder_tokens(config: &Value) -> Vec<AddedToken> {
    let entries = config.get("added_tokens_decoder").and_then(Value::as_object).into_iter().flatten();
    let mut tokens: Vec<(u64, AddedToken)> =
        entries.filter_map(|(id, value)| Some((id.parse().ok()?, token(value, false)?))).collect();
    tokens.sort_by_key(|(id, _)| *id);
    tokens.into_iter().map(|(_, token)| token).collect()
}

/// `added_tokens.json` of old folders: contents and ids. Those that the configuration names are special.
fn legacy_tokens(added: &Value, config: &Value, map: &Value) -> Vec<AddedToken> {
    let special: Vec<String> = named_tokens(config, map).into_iter().map(|token| token.content).collect();
    let entries = added.as_object().into_iter().flatten();
    let mut tokens: Vec<(u64, &String)> =
        entries.filter_map(|(content, id)| Some((id.as_u64()?, content))).collect();
    tokens.sort_unstable();
    tokens.into_iter().map(|(_, content)| AddedToken::from(content, special.contains(content))).collect()
}

/// The tokens that the configuration, or the map of old folders, has a name for, and its further special ones.
fn named_tokens(config: &Value, map: &Value) -> Vec<AddedToken> {
    let named = NAMED.iter().filter_map(|name| config.get(name).or(map.get(name)));
    let further = ["additional_special_tokens", "extra_special_tokens"].into_iter().flat_map(|name| {
        match config.get(name).or(map.get(name)) {
            Some(Value::Array(tokens)) => tokens.iter().collect(),
            Some(Value::Object(tokens)) => tokens.values().collect(),
            _ => Vec::new(),
        }
    });
    named.chain(further).filter_map(|value| token(value, true)).collect()
}

/// The JSON of an optional file; an empty object if there is none.
fn read_json(files: &ModelFiles, name: &str) -> Result<Value> {
    files.read(name)?.map_or(Ok(json!({})), |bytes| parse_json(&bytes, &files.path(name)))
}
