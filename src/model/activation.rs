//! The non-linearities that LLaVA checkpoints name.

use burn::tensor::{Tensor, activation};

use crate::config::Activation;

impl Activation {
    /// Applies the function to every element.
    pub(super) fn forward(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::QuickGelu => activation::sigmoid(x.clone() * 1.702) * x,
            Self::Gelu => activation::gelu(x),
            Self::GeluTanh => activation::gelu_approximate(x),
            Self::Silu => activation::silu(x),
            Self::Relu => activation::relu(x),
        }
    }
}
