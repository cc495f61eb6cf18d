//! The shapes of well-known checkpoints, for measuring and planning without their weights.

use std::{fmt, path::Path, str::FromStr};

use super::ModelConfig;
use crate::error::{Error, Result};

/// A checkpoint whose configuration is known by heart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shape {
    /// `llava-hf/llava-1.5-7b-hf`
    Llava7b,
    /// `llava-hf/llava-1.5-13b-hf`
    Llava13b,
}

const NAMES: [(&str, Shape); 2] = [("llava-1.5-7b", Shape::Llava7b), ("llava-1.5-13b", Shape::Llava13b)];

impl Shape {
    /// Its configuration: transformers' defaults, which are LLaVA-1.5-7B's, but for what the hub's file changes.
    ///
    /// # Errors
    ///
    /// None that these files could give.
    pub fn config(self) -> Result<ModelConfig> {
        let json = match self {
            Self::Llava7b => {
                r#"{"model_type": "llava", "text_config": {"model_type": "llama", "vocab_size": 32064,
                    "max_position_embeddings": 4096, "rms_norm_eps": 1e-5}}"#
            }
            Self::Llava13b => {
                r#"{"model_type": "llava", "text_config": {"model_type": "llama", "vocab_size": 32064,
                    "hidden_size": 5120, "intermediate_size": 13824, "num_attention_heads": 40,
                    "num_hidden_layers": 40, "num_key_value_heads": 40,
                    "max_position_embeddings": 4096, "rms_norm_eps": 1e-5}}"#
            }
        };
        ModelConfig::parse(json.as_bytes(), Path::new(&self.to_string()))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = NAMES.iter().find(|(_, shape)| shape == self);
        f.write_str(known.map_or("", |(name, _)| name))
    }
}

impl FromStr for Shape {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = NAMES.iter().find(|(name, _)| *name == text);
        known.map(|(_, shape)| *shape).ok_or_else(|| {
            let names = NAMES.map(|(name, _)| name).join(" or ");
            Error::argument("--synthetic", names, text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_those_of_the_hub() -> Result<()> {
        for (shape, layers, width, inner, heads) in
            [(Shape::Llava7b, 32, 4096, 11_008, 32), (Shape::Llava13b, 40, 5120, 13_824, 40)]
        {
            let ModelConfig { text, vision, .. } = shape.config()?;
            let found =
                (text.num_hidden_layers, text.hidden_size, text.intermediate_size, text.num_attention_heads);
            assert_eq!(found, (layers, width, inner, heads));
            assert_eq!((text.vocab_size, text.head_dim), (32_064, 128));
            assert_eq!((text.max_position_embeddings, text.rms_norm_eps), (4096, 1e-5));
            assert_eq!((vision.patches(), vision.num_hidden_layers, vision.hidden_size), (576, 24, 1024));
            assert_eq!(shape.to_string().parse::<Shape>()?, shape);
        }
        Ok(())
    }
}
