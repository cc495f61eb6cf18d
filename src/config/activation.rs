//! The element-wise functions between two linear layers.

use super::fields::Fields;
use crate::error::Result;

/// An activation function, by the name Hugging Face's `ACT2FN` table gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// `x σ(1.702 x)` (`quick_gelu`), OpenAI CLIP's approximation of GELU.
    QuickGelu,
    /// `x Φ(x)` with the exact normal distribution function, through erf (`gelu`).
    Gelu,
    /// `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))` (`gelu_pytorch_tanh`, `gelu_new`).
    GeluTanh,
    /// `x σ(x)` (`silu`, `swish`).
    Silu,
    /// `max(x, 0)` (`relu`).
    Relu,
}

const SPELLINGS: [(&str, Activation); 7] = [
    ("quick_gelu", Activation::QuickGelu),
    ("gelu", Activation::Gelu),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_new", Activation::GeluTanh),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("relu", Activation::Relu),
];

impl Activation {
    pub(super) fn read(fields: &Fields, name: &str, default: Self) -> Result<Self> {
        fields.choice(name, default, &SPELLINGS)
    }
}
