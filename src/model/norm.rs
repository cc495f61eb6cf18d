//! The two normalisations: LayerNorm in the vision tower, RMSNorm in the decoder.

use burn::tensor::Tensor;

use crate::kernel::{self, variants::Variants};

/// `(x - mean) / sqrt(var + eps) * weight + bias`, over the last dimension.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    pub(super) weight: Tensor<1>,
    pub(super) bias: Tensor<1>,
    pub(super) eps: f64,
    pub(super) variants: Variants,
}

impl LayerNorm {
    /// Normalises every row of `x`, `[rows, width]`.
    pub fn forward(&self, x: &Tensor<2>) -> Tensor<2> {
        kernel::nn::layer_norm(x, &self.weight, &self.bias, self.eps as f32, self.variants)
    }
}

/// `x / sqrt(mean(x²) + eps) * weight`, over the last dimension (arXiv 1910.07467).
#[derive(Debug, Clone)]
pub struct RmsNorm {
    pub(super) weight: Tensor<1>,
    pub(super) eps: f64,
    pub(super) variants: Variants,
}

impl RmsNorm {
    /// Normalises every row of `x`, `[rows, width]`.
    pub fn forward(&self, x: &Tensor<2>) -> Tensor<2> {
        kernel::nn::rms_norm(x, &self.weight, self.eps as f32, self.variants)
    }

    /// The same before a product.
    pub fn before(&self) -> Option<(&Tensor<1>, f32)> {
        Some((&self.weight, self.eps as f32))
    }
}
