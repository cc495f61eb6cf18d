//! Pictures as a decoder is given them.

use burn::tensor::Tensor;

use crate::{image::Placement, model::PrunedFeatures};

/// A picture as the decoder sees it.
#[derive(Clone)]
pub(crate) struct Shown {
    /// `[tokens, text width]`
    pub embeddings: Tensor<2>,
    /// What stage V found out, where tokens are dropped.
    pub pruned: Option<PrunedFeatures>,
    pub placement: Placement,
}
