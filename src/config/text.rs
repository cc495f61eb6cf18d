//! The language model: a Llama decoder, or one of its kin.

use serde_json::Value;

use super::{Activation, RopeScaling, fields::Fields, limits, rope};
use crate::error::Result;

/// The shape of a Llama decoder (`text_config`).
///
/// A Mistral decoder is the same, but for a sliding window if that is shorter than the context; Qwen2's has biases in front of
/// the attention, and its window, if any, in some layers only.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TextConfig {
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Width of the MLP's inner layer.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Width of one head; even, because the rotary embedding turns pairs.
    pub head_dim: usize,
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// What RMS norms add to the mean square.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies: `theta^(-2i/head_dim)`.
    pub rope_theta: f64,
    /// How the rotary frequencies are stretched.
    pub rope_scaling: RopeScaling,
    /// Longest sequence, in tokens.
    pub max_position_embeddings: usize,
    /// Whether the language model head is the embedding table.
    pub tie_word_embeddings: TieWordEmbeddings,
    /// Whether the projections to queries, keys and values have a bias.
    pub attention_bias: bool,
    /// Whether the projection behind the attention has a bias.
    pub attention_output_bias: bool,
    /// Whether the three MLP projections have a bias.
    pub mlp_bias: bool,
    /// The MLP's activation function.
    pub hidden_act: Activation,
    /// The attention window in tokens: a token sees itself and those less than so many positions before it.
    pub sliding_window: Option<usize>,
    /// For each layer, whether its attention has that window; empty if there is none.
    pub sliding_layers: Vec<bool>,
}

/// Whether the language model head is the embedding table.
///
/// Configurations written by transformers 4 say `true` at the top level whatever the model does, so that value
/// decides only where no `lm_head.weight` is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TieWordEmbeddings {
    /// The head is a tensor of its own.
    No,
    /// The head is the embedding table; a stored `lm_head.weight` is not used, unless it is another.
    Yes,
    /// The head is the embedding table unless the checkpoint stores `lm_head.weight`.
    UnlessStored,
}

impl TieWordEmbeddings {
    /// The answer for a checkpoint that does or does not store `lm_head.weight`.
    pub fn resolve(self, has_lm_head: bool) -> bool {
        match self {
            Self::No => false,
            Self::Yes => true,
            Self::UnlessStored => !has_lm_head,
        }
    }
}

/// Where `LlamaConfig`, `MistralConfig` and `Qwen2Config` differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Family {
    Llama,
    Mistral,
    Qwen2,
}

/// The decoders, by their `model_type`.
pub(super) const FAMILIES: [(&str, Family); 3] =
    [("llama", Family::Llama), ("mistral", Family::Mistral), ("qwen2", Family::Qwen2)];

/// What a family fills in where `text_config` leaves a field out.
struct Defaults {
    intermediate_size: usize,
    max_position_embeddings: usize,
    vocab_size: usize,
    /// Where the query heads do not decide.
    num_key_value_heads: Option<usize>,
    /// Biases of queries, keys and values, and of the projection behind the attention, where no field says.
    attention_biases: (bool, bool),
}

impl Family {
    fn defaults(self) -> Defaults {
        let llama = Defaults {
            intermediate_size: 11_008,
            max_position_embeddings: 2_048,
            vocab_size: 32_000,
            num_key_value_heads: None,
            attention_biases: (false, false),
        };
        match self {
            Self::Llama => llama,
            Self::Mistral => Defaults {
                intermediate_size: 14_336,
                max_position_embeddings: 131_072,
                num_key_value_heads: Some(8),
                ..llama
            },
            Self::Qwen2 => Defaults {
                intermediate_size: 22_016,
                max_position_embeddings: 32_768,
                vocab_size: 151_936,
                num_key_value_heads: Some(32),
                attention_biases: (true, false),
            },
        }
    }
}

impl TextConfig {
    /// Width of all query heads together: `num_attention_heads × head_dim`.
    pub fn query_size(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Width of all key (or value) heads together: `num_key_value_heads × head_dim`.
    pub fn key_value_size(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// The window, if it hides anything in any layer.
    pub fn window(&self) -> Option<u32> {
        let window = self.sliding_window.filter(|window| *window < self.max_position_embeddings)?;
        u32::try_from(window).ok().filter(|_| self.sliding_layers.contains(&true))
    }

    /// Reads `text_config` of the whole configuration.
    pub(super) fn read(config: &Fields, default: Family) -> Result<Self> {
        Self::read_fields(config, &config.object("text_config")?, default)
    }

    /// Reads `fields`, which stand within `config`; where they name no decoder, it is `default`.
    pub(super) fn read_fields(config: &Fields, fields: &Fields, default: Family) -> Result<Self> {
        let family = fields.choice("model_type", default, &FAMILIES)?;
        let default = family.defaults();
        let max_position_embeddings = fields.count(
            "max_position_embeddings",
            default.max_position_embeddings,
            1..=limits::POSITIONS,
        )?;
        let (rope_theta, rope_scaling) = rope::read(fields, max_position_embeddings)?;
        let hidden_size = fields.count("hidden_size", 4_096, 1..=limits::WIDTH)?;
        let num_attention_heads = fields.count("num_attention_heads", 32, 1..=limits::HEADS)?;
        let num_hidden_layers = fields.count("num_hidden_layers", 32, 1..=limits::LAYERS)?;
        let (sliding_window, sliding_layers) = read_window(fields, family, num_hidden_layers)?;
        // Qwen2 has no such field, and ignores one that stands there.
        let attention_biases = match family {
            Family::Qwen2 => default.attention_biases,
            _ => [fields.flag("attention_bias", default.attention_biases.0)?; 2].into(),
        };
        Ok(Self {
            hidden_size,
            intermediate_size: fields.count(
                "intermediate_size",
                default.intermediate_size,
                1..=limits::INNER_WIDTH,
            )?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: read_key_value_heads(
                fields,
                default.num_key_value_heads,
                num_attention_heads,
            )?,
            head_dim: read_head_dim(fields, hidden_size, num_attention_heads)?,
            vocab_size: fields.count("vocab_size", default.vocab_size, 1..=limits::VOCABULARY)?,
            rms_norm_eps: fields.number("rms_norm_eps", 1e-6, limits::EPSILON)?,
            rope_theta,
            rope_scaling,
            max_position_embeddings,
            tie_word_embeddings: read_tie(config, fields)?,
            attention_bias: attention_biases.0,
            attention_output_bias: attention_biases.1,
            mlp_bias: fields.flag("mlp_bias", false)?,
            hidden_act: Activation::read(fields, "hidden_act", Activation::Silu)?,
            sliding_window,
            sliding_layers,
        })
    }
}

fn read_key_value_heads(fields: &Fields, default: Option<usize>, query_heads: usize) -> Result<usize> {
    let name = "num_key_value_heads";
    let default = default.filter(|_| !fields.is_null(name)).unwrap_or(query_heads);
    let heads = fields.count(name, default, 1..=limits::HEADS)?;
    if !query_heads.is_multiple_of(heads) {
        let problem = format!("{heads} heads do not divide num_attention_heads {query_heads}");
        return Err(fields.problem(name, problem));
    }
    Ok(heads)
}

fn read_head_dim(fields: &Fields, hidden_size: usize, heads: usize) -> Result<usize> {
    let head_dim = match fields.optional_count("head_dim", 1..=limits::HEAD_WIDTH)? {
        Some(head_dim) => head_dim,
        None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
        None => {
            let problem = format!("{heads} heads do not divide hidden_size {hidden_size}");
            return Err(fields.problem("num_attention_heads", problem));
        }
    };
    if !head_dim.is_multiple_of(2) || head_dim > limits::HEAD_WIDTH {
        let problem = format!("expected an even number up to {}, found {head_dim}", limits::HEAD_WIDTH);
        return Err(fields.problem("head_dim", problem));
    }
    Ok(head_dim)
}

/// The window, and for each layer whether it has it.
fn read_window(fields: &Fields, family: Family, layers: usize) -> Result<(Option<usize>, Vec<bool>)> {
    let name = "sliding_window";
    let has_window = match family {
        Family::Llama => false,
        Family::Mistral => !fields.is_null(name),
        Family::Qwen2 => !fields.is_null(name) && fields.flag("use_sliding_window", false)?,
    };
    if !has_window {
        return Ok((None, Vec::new()));
    }
    let window = fields.count(name, 4_096, 1..=limits::POSITIONS)?;
    let sliding_layers = match family {
        Family::Qwen2 => read_sliding_layers(fields, layers)?,
        _ => vec![true; layers],
    };
    Ok((Some(window), sliding_layers))
}

/// Qwen2's layers with a window: those that `layer_types` names, or else those from `max_window_layers` on.
fn read_sliding_layers(fields: &Fields, layers: usize) -> Result<Vec<bool>> {
    let name = "layer_types";
    let Some(types) = fields.get(name) else {
        let full = fields.count("max_window_layers", 28, 0..=limits::LAYERS)?;
        return Ok((0..layers).map(|layer| layer >= full).collect());
    };
    let slides = |kind: &Value| match kind.as_str() {
        Some("sliding_attention") => Some(true),
        Some("full_attention") => Some(false),
        _ => None,
    };
    let slides = types.as_array().and_then(|types| types.iter().map(slides).collect::<Option<Vec<_>>>());
    slides.filter(|slides| slides.len() == layers).ok_or_else(|| {
        let expected = format!("\"full_attention\" or \"sliding_attention\" for each of {layers} layers");
        fields.unexpected(name, expected)
    })
}

fn read_tie(config: &Fields, text: &Fields) -> Result<TieWordEmbeddings> {
    let name = "tie_word_embeddings";
    Ok(if text.flag(name, false)? {
        TieWordEmbeddings::Yes
    } else if config.flag(name, false)? {
        TieWordEmbeddings::UnlessStored
    } else {
        TieWordEmbeddings::No
    })
}
