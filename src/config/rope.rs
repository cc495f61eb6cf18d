//! Rotary position embeddings, in the old spelling (`rope_theta`, `rope_scaling`) and the new (`rope_parameters`).

use super::{fields::Fields, limits};
use crate::error::Result;

/// How the rotary frequencies are stretched for sequences longer than those of pre-training.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Every frequency is divided by `factor`.
    Linear {
        /// How many times longer.
        factor: f64,
    },
    /// Low frequencies are divided by `factor`, high ones kept, those between blended (Llama 3.1).
    Llama3 {
        /// How many times longer.
        factor: f64,
        /// Wavelengths above `original_max_position_embeddings / low_freq_factor` are scaled fully.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position_embeddings / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Sequence length of pre-training, in tokens.
        original_max_position_embeddings: usize,
    },
}

#[derive(Clone, Copy)]
enum Kind {
    Default,
    Linear,
    Llama3,
}

const KINDS: [(&str, Kind); 3] =
    [("default", Kind::Default), ("linear", Kind::Linear), ("llama3", Kind::Llama3)];

/// transformers' `default_theta`.
const DEFAULT_THETA: f64 = 10_000.0;

/// Base of the rotary frequencies and their scaling, from `text_config`.
///
/// As in transformers, `rope_scaling` overrules `rope_parameters`, and a theta within either overrules
/// `rope_theta` beside it.
pub(super) fn read(text: &Fields, max_position_embeddings: usize) -> Result<(f64, RopeScaling)> {
    // An empty one is none, as in Python.
    let is_scaled = text.get("rope_scaling").is_some_and(|scaling| *scaling != serde_json::json!({}));
    let rope = text.object(if is_scaled { "rope_scaling" } else { "rope_parameters" })?;
    let theta = text.number("rope_theta", DEFAULT_THETA, limits::THETA)?;
    let theta = rope.number("rope_theta", theta, limits::THETA)?;
    for fields in [text, &rope] {
        fields.number("partial_rotary_factor", 1.0, 1.0..=1.0)?;
    }
    Ok((theta, read_scaling(&rope, max_position_embeddings)?))
}

fn read_scaling(rope: &Fields, max_position_embeddings: usize) -> Result<RopeScaling> {
    let name = if rope.has("rope_type") { "rope_type" } else { "type" };
    if !rope.has(name) && rope.has("factor") {
        return Err(rope.unexpected("rope_type", "the kind of scaling that factor belongs to"));
    }
    let factor = || match rope.optional_number("factor", limits::FACTOR)? {
        Some(factor) => Ok(factor),
        None => Err(rope.unexpected("factor", "a number")),
    };
    Ok(match rope.choice(name, Kind::Default, &KINDS)? {
        Kind::Default => RopeScaling::None,
        Kind::Linear => RopeScaling::Linear { factor: factor()? },
        Kind::Llama3 => {
            let low_freq_factor = rope.number("low_freq_factor", 1.0, limits::FACTOR)?;
            let high_freq_factor = rope.number("high_freq_factor", 4.0, limits::FACTOR)?;
            if high_freq_factor <= low_freq_factor {
                let expected = format!("more than low_freq_factor {low_freq_factor}");
                return Err(rope.unexpected("high_freq_factor", expected));
            }
            RopeScaling::Llama3 {
                factor: factor()?,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings: rope.count(
                    "original_max_position_embeddings",
                    max_position_embeddings,
                    1..=limits::POSITIONS,
                )?,
            }
        }
    })
}
