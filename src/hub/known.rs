//! Models to begin with.

use crate::config::Shape;

/// A model of the hub whose shape this program knows, and tests.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct KnownModel {
    /// Its name on the hub.
    pub name: &'static str,
    /// What it is built like.
    pub shape: Shape,
    /// The licence that its card names.
    pub licence: &'static str,
}

const fn known(name: &'static str, shape: Shape, licence: &'static str) -> KnownModel {
    KnownModel { name, shape, licence }
}

/// The smallest first.
pub const KNOWN: &[KnownModel] = &[
    known("llava-hf/llava-interleave-qwen-0.5b-hf", Shape::Interleave05b, "tongyi-qianwen-research"),
    known("llava-hf/llava-onevision-qwen2-0.5b-ov-hf", Shape::OneVision05b, "apache-2.0"),
    known("llava-hf/llava-1.5-7b-hf", Shape::Llava7b, "llama2"),
    known("llava-hf/llava-v1.6-vicuna-7b-hf", Shape::NextVicuna7b, "llama2"),
    known("llava-hf/llava-v1.6-mistral-7b-hf", Shape::NextMistral7b, "apache-2.0"),
    known("llava-hf/llava-onevision-qwen2-7b-ov-hf", Shape::OneVision7b, "apache-2.0"),
    known("llava-hf/llava-1.5-13b-hf", Shape::Llava13b, "llama2"),
    known("llava-hf/llava-v1.6-vicuna-13b-hf", Shape::NextVicuna13b, "llama2"),
];
