//! The language model: a Llama decoder.

use super::{Activation, RopeScaling, fields::Fields, limits, rope};
use crate::error::Result;

/// The shape of a Llama decoder (`text_config`).
///
/// A Mistral decoder is the same, but for a sliding window if that is shorter than the context.
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
    /// Whether the four attention projections have a bias.
    pub attention_bias: bool,
    /// Whether the three MLP projections have a bias.
    pub mlp_bias: bool,
    /// The MLP's activation function.
    pub hidden_act: Activation,
    /// Mistral's attention window in tokens: a token sees itself and those less than so many positions before it.
    pub sliding_window: Option<usize>,
}

/// Whether the language model head is the embedding table.
///
/// Configurations written by transformers 4 say `true` at the top level whatever the model does, so that value
/// decides only where no `lm_head.weight` is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TieWordEmbeddings {
    /// The head is a tensor of its own.
    No,
    /// The head is the embedding table; a stored `lm_head.weight` is not used.
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

/// Where the defaults of `LlamaConfig` and `MistralConfig` differ.
#[derive(Clone, Copy)]
enum Family {
    Llama,
    Mistral,
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

    /// The window, if it hides anything.
    pub fn window(&self) -> Option<u32> {
        let window = self.sliding_window.filter(|window| *window < self.max_position_embeddings)?;
        u32::try_from(window).ok()
    }

    /// Reads `text_config` of the whole configuration.
    pub(super) fn read(config: &Fields) -> Result<Self> {
        Self::read_fields(config, &config.object("text_config")?)
    }

    /// Reads `fields`, which stand within `config`.
    pub(super) fn read_fields(config: &Fields, fields: &Fields) -> Result<Self> {
        let families = [("llama", Family::Llama), ("mistral", Family::Mistral)];
        let family = fields.choice("model_type", Family::Llama, &families)?;
        let (intermediate_size, max_positions) = match family {
            Family::Llama => (11_008, 2_048),
            Family::Mistral => (14_336, 131_072),
        };
        let max_position_embeddings =
            fields.count("max_position_embeddings", max_positions, 1..=limits::POSITIONS)?;
        let (rope_theta, rope_scaling) = rope::read(fields, max_position_embeddings)?;
        let hidden_size = fields.count("hidden_size", 4_096, 1..=limits::WIDTH)?;
        let num_attention_heads = fields.count("num_attention_heads", 32, 1..=limits::HEADS)?;
        Ok(Self {
            hidden_size,
            intermediate_size: fields.count(
                "intermediate_size",
                intermediate_size,
                1..=limits::INNER_WIDTH,
            )?,
            num_hidden_layers: fields.count("num_hidden_layers", 32, 1..=limits::LAYERS)?,
            num_attention_heads,
            num_key_value_heads: read_key_value_heads(fields, family, num_attention_heads)?,
            head_dim: read_head_dim(fields, hidden_size, num_attention_heads)?,
            vocab_size: fields.count("vocab_size", 32_000, 1..=limits::VOCABULARY)?,
            rms_norm_eps: fields.number("rms_norm_eps", 1e-6, limits::EPSILON)?,
            rope_theta,
            rope_scaling,
            max_position_embeddings,
            tie_word_embeddings: read_tie(config, fields)?,
            attention_bias: fields.flag("attention_bias", false)?,
            mlp_bias: fields.flag("mlp_bias", false)?,
            hidden_act: Activation::read(fields, "hidden_act", Activation::Silu)?,
            sliding_window: read_sliding_window(fields, family)?,
        })
    }
}

fn read_key_value_heads(fields: &Fields, family: Family, query_heads: usize) -> Result<usize> {
    let name = "num_key_value_heads";
    let default = match family {
        Family::Mistral if !fields.is_null(name) => 8,
        _ => query_heads,
    };
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

fn read_sliding_window(fields: &Fields, family: Family) -> Result<Option<usize>> {
    let name = "sliding_window";
    Ok(match family {
        Family::Mistral if !fields.is_null(name) => Some(fields.count(name, 4_096, 1..=limits::POSITIONS)?),
        _ => None,
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
