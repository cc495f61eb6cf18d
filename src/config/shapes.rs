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
    /// `llava-hf/llava-interleave-qwen-0.5b-hf`
    Interleave05b,
    /// `llava-hf/llava-v1.6-mistral-7b-hf`
    NextMistral7b,
    /// `llava-hf/llava-v1.6-vicuna-7b-hf`
    NextVicuna7b,
    /// `llava-hf/llava-v1.6-vicuna-13b-hf`
    NextVicuna13b,
    /// `llava-hf/llava-onevision-qwen2-0.5b-ov-hf`
    OneVision05b,
    /// `llava-hf/llava-onevision-qwen2-7b-ov-hf`
    OneVision7b,
}

const NAMES: [(&str, Shape); 8] = [
    ("llava-1.5-7b", Shape::Llava7b),
    ("llava-1.5-13b", Shape::Llava13b),
    ("llava-interleave-qwen-0.5b", Shape::Interleave05b),
    ("llava-v1.6-mistral-7b", Shape::NextMistral7b),
    ("llava-v1.6-vicuna-7b", Shape::NextVicuna7b),
    ("llava-v1.6-vicuna-13b", Shape::NextVicuna13b),
    ("llava-onevision-qwen2-0.5b", Shape::OneVision05b),
    ("llava-onevision-qwen2-7b", Shape::OneVision7b),
];

/// What the files of Vicuna's two sizes have in common.
const VICUNA: &str =
    r#""model_type": "llama", "vocab_size": 32064, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5"#;
const VICUNA_13B: &str = r#""hidden_size": 5120, "intermediate_size": 13824, "num_attention_heads": 40,
    "num_hidden_layers": 40, "num_key_value_heads": 40"#;
const QWEN2_05B: &str = r#""model_type": "qwen2", "vocab_size": 152000, "max_position_embeddings": 32768, "tie_word_embeddings": true,
    "num_hidden_layers": 24, "rope_theta": 1000000.0"#;
/// SigLIP's so400m: 384 pixels, 26 layers, the last of which are the features. OneVision has it by default.
const SIGLIP: &str = r#""vision_feature_layer": -1, "vision_feature_select_strategy": "full",
    "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304,
    "num_hidden_layers": 26, "num_attention_heads": 16, "image_size": 384, "patch_size": 14}"#;

impl Shape {
    /// Its configuration: transformers' defaults, but for what the hub's file changes.
    ///
    /// # Errors
    ///
    /// None that these files could give.
    pub fn config(self) -> Result<ModelConfig> {
        let text =
            |model: &str, text: &str| format!(r#"{{"model_type": "{model}", "text_config": {{{text}}}}}"#);
        let json = match self {
            Self::Llava7b => text("llava", VICUNA),
            Self::Llava13b => text("llava", &format!("{VICUNA}, {VICUNA_13B}")),
            Self::Interleave05b => format!(
                r#"{{"model_type": "llava", {SIGLIP}, "text_config": {{{QWEN2_05B}, "hidden_size": 1024,
                    "intermediate_size": 2816, "num_attention_heads": 16, "num_key_value_heads": 16}}}}"#
            ),
            Self::NextMistral7b => text(
                "llava_next",
                r#""model_type": "mistral", "vocab_size": 32064, "max_position_embeddings": 32768, "rms_norm_eps": 1e-5,
                    "rope_theta": 1000000.0, "sliding_window": null"#,
            ),
            Self::NextVicuna7b => text("llava_next", VICUNA),
            Self::NextVicuna13b => text("llava_next", &format!("{VICUNA}, {VICUNA_13B}")),
            Self::OneVision05b => text(
                "llava_onevision",
                &format!(
                    r#"{QWEN2_05B}, "hidden_size": 896, "intermediate_size": 4864, "num_attention_heads": 14,
                    "num_key_value_heads": 2"#
                ),
            ),
            Self::OneVision7b => text(
                "llava_onevision",
                r#""model_type": "qwen2", "vocab_size": 152128, "max_position_embeddings": 32768, "rope_theta": 1000000.0,
                    "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_hidden_layers": 28,
                    "num_key_value_heads": 4"#,
            ),
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
        // Layers, width, inner width, heads and key heads of the decoder, and the most tokens of a picture.
        for (shape, decoder, head_dim, tokens) in [
            (Shape::Llava7b, [32, 4096, 11_008, 32, 32], 128, 576),
            (Shape::Llava13b, [40, 5120, 13_824, 40, 40], 128, 576),
            (Shape::Interleave05b, [24, 1024, 2_816, 16, 16], 64, 729),
            (Shape::NextMistral7b, [32, 4096, 14_336, 32, 8], 128, 576 + 48 * 49),
            (Shape::NextVicuna7b, [32, 4096, 11_008, 32, 32], 128, 576 + 48 * 49),
            (Shape::NextVicuna13b, [40, 5120, 13_824, 40, 40], 128, 576 + 48 * 49),
            (Shape::OneVision05b, [24, 896, 4_864, 14, 2], 64, 8_765),
            (Shape::OneVision7b, [28, 3584, 18_944, 28, 4], 128, 8_765),
        ] {
            let config = shape.config()?;
            let (text, vision) = (&config.text, &config.vision);
            let found = [
                text.num_hidden_layers,
                text.hidden_size,
                text.intermediate_size,
                text.num_attention_heads,
                text.num_key_value_heads,
            ];
            assert_eq!((found, text.head_dim), (decoder, head_dim), "{shape}");
            assert_eq!(config.largest_picture().tokens(), tokens, "{shape}");
            assert_eq!(vision.grid(), if tokens == 729 || tokens == 8_765 { 27 } else { 24 }, "{shape}");
            assert_eq!(shape.to_string().parse::<Shape>()?, shape);
        }
        let ModelConfig { text, vision, .. } = Shape::Llava7b.config()?;
        assert_eq!((text.vocab_size, text.max_position_embeddings, text.rms_norm_eps), (32_064, 4096, 1e-5));
        assert_eq!((vision.patches(), vision.num_hidden_layers, vision.hidden_size), (576, 24, 1024));
        Ok(())
    }
}
