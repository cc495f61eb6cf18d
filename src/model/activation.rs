//! The non-linearities that LLaVA checkpoints name.

use burn::tensor::{Tensor, activation};

use crate::{config::Activation, kernel};

impl Activation {
    /// Applies the function to `gate` and multiplies by `up`.
    pub(super) fn gate(self, gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Silu => kernel::nn::swiglu(&gate, &up),
            _ => self.forward(gate) * up,
        }
    }

    /// Applies the function to every element.
    pub(super) fn forward(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::QuickGelu if !kernel::is_on_adapter(&x) => kernel::nn::swish(&x, 1.702),
            Self::Silu if !kernel::is_on_adapter(&x) => kernel::nn::swish(&x, 1.0),
            Self::QuickGelu => activation::sigmoid(x.clone() * 1.702) * x,
            Self::Gelu => activation::gelu(x),
            Self::GeluTanh => activation::gelu_approximate(x),
            Self::Silu => activation::silu(x),
            Self::Relu => activation::relu(x),
        }
    }
}
