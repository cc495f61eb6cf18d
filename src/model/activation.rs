//! The non-linearities that LLaVA checkpoints name, on the CPU path; products on an adapter apply them themselves.

use burn::tensor::{Tensor, activation};

use crate::{config::Activation, kernel};

impl Activation {
    /// Applies the function to the first half of each row, and multiplies by the second.
    pub(super) fn gate(self, x: Tensor<2>) -> Tensor<2> {
        if self == Self::Silu {
            return kernel::nn::swiglu(&x);
        }
        let inner = x.dims()[1] / 2;
        self.forward(x.clone().narrow(1, 0, inner)) * x.narrow(1, inner, inner)
    }

    /// Applies the function to every element.
    pub(super) fn forward(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::QuickGelu => kernel::nn::swish(&x, 1.702),
            Self::Silu => kernel::nn::swish(&x, 1.0),
            Self::Gelu => activation::gelu(x),
            Self::GeluTanh => activation::gelu_approximate(x),
            Self::Relu => activation::relu(x),
        }
    }
}
