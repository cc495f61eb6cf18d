//! The shape of a Llama from the metadata of a GGUF file.

use serde_json::{Map, Value as Json};

use super::{
    TextConfig, TieWordEmbeddings,
    fields::{Fields, brief},
    text::Family,
};
use crate::{
    checkpoint::gguf::{Gguf, Value},
    error::{Error, Result},
};

const ARCHITECTURE: &str = "general.architecture";
const PREFIX: &str = "llama.";
/// A field of `config.json`, and its key behind [`PREFIX`].
const SPELLINGS: [(&str, &str); 10] = [
    ("hidden_size", "embedding_length"),
    ("intermediate_size", "feed_forward_length"),
    ("num_hidden_layers", "block_count"),
    ("num_attention_heads", "attention.head_count"),
    ("max_position_embeddings", "context_length"),
    ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    ("num_key_value_heads", "attention.head_count_kv"),
    ("head_dim", "attention.key_length"),
    ("rope_theta", "rope.freq_base"),
    ("vocab_size", "vocab_size"),
];
/// How many of the above every file has; without one of the others, the default is the format's.
const REQUIRED: usize = 6;
/// Keys behind [`PREFIX`] that change what is computed, and the values, as JSON, with which they do not.
const UNSUPPORTED: [(&str, &[&str]); 5] = [
    ("rope.scaling.type", &["\"none\""]),
    ("rope.scaling.factor", &["0.0", "1.0"]),
    ("rope.scale_linear", &["0.0", "1.0"]),
    ("attention.sliding_window", &["0"]),
    ("expert_count", &["0"]),
];

impl TextConfig {
    /// Reads the metadata of a GGUF file.
    ///
    /// # Errors
    /// [`Error::Model`] naming the first key whose value is missing, out of range or not supported.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        match gguf.get(ARCHITECTURE) {
            Some(Value::Text(name)) if name == "llama" => {}
            found => {
                let found = found.map_or("nothing".to_owned(), |value| brief(&json(value)));
                let problem = format!("{ARCHITECTURE}: expected \"llama\", found {found}");
                return Err(Error::model(gguf.path(), problem));
            }
        }
        let object = config_json(gguf);
        let fields = Fields::new(&object, gguf.path(), PREFIX.to_owned(), &SPELLINGS);
        for (name, _) in SPELLINGS.iter().take(REQUIRED) {
            if !fields.has(name) {
                return Err(fields.unexpected(name, "a number"));
            }
        }
        let config = Self::read_fields(&fields, &fields, Family::Llama)?;
        refuse_unsupported(gguf, &config, &fields)?;
        Ok(Self { tie_word_embeddings: TieWordEmbeddings::UnlessStored, ..config })
    }
}

/// What a `config.json` would say.
fn config_json(gguf: &Gguf) -> Map<String, Json> {
    let mut object = Map::new();
    for (field, key) in SPELLINGS {
        if let Some(value) = gguf.get(&format!("{PREFIX}{key}")) {
            object.insert(field.to_owned(), json(value));
        }
    }
    if let (false, Some(Value::Array(tokens))) =
        (object.contains_key("vocab_size"), gguf.get("tokenizer.ggml.tokens"))
    {
        object.insert("vocab_size".to_owned(), tokens.len().into());
    }
    object.insert("attention_bias".to_owned(), gguf.has_tensor("blk.0.attn_q.bias").into());
    object.insert("mlp_bias".to_owned(), gguf.has_tensor("blk.0.ffn_gate.bias").into());
    object
}

fn refuse_unsupported(gguf: &Gguf, config: &TextConfig, fields: &Fields) -> Result<()> {
    let head_dim = config.head_dim.to_string();
    let head_dim: &[&str] = &[&head_dim];
    let widths = ["rope.dimension_count", "attention.value_length"].map(|key| (key, head_dim));
    for (key, supported) in UNSUPPORTED.into_iter().chain(widths) {
        let Some(found) = gguf.get(&format!("{PREFIX}{key}")).map(|value| brief(&json(value))) else {
            continue;
        };
        if !supported.contains(&found.as_str()) {
            let supported = supported.join(" or ");
            return Err(fields.problem(key, format!("not supported: expected {supported}, found {found}")));
        }
    }
    Ok(())
}

/// A value as JSON; what JSON cannot express becomes a text, which is never taken for a number.
fn json(value: &Value) -> Json {
    match value {
        Value::Unsigned(number) => (*number).into(),
        Value::Signed(number) => (*number).into(),
        Value::Float(number) if number.is_finite() => (*number).into(),
        Value::Float(number) => number.to_string().into(),
        Value::Bool(flag) => (*flag).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Array(array) => format!("an array of {}", array.len()).into(),
    }
}
