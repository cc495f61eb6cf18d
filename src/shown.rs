//! Pictures as decoders are given them.

use burn::tensor::Tensor;

use crate::{
    drop::Pruning,
    image::Placement,
    model::{PrunedFeatures, TowerFeatures},
};

/// A picture as the decoder sees it.
#[derive(Clone)]
pub(crate) struct Shown {
    /// `[tokens, text width]`
    pub embeddings: Tensor<2>,
    /// What stage V found out, where tokens are dropped.
    pub pruned: Option<PrunedFeatures>,
    pub placement: Placement,
    /// What tokens may be admitted from anew, and the rules that admitted those of now; kept where later questions may ask
    /// for others ([`Turns::Requery`](crate::drop::Turns)).
    pub tower: Option<(TowerFeatures, Pruning)>,
}

impl Shown {
    /// Bytes of what it holds on the device, but for flags and scores.
    pub fn bytes(&self) -> u64 {
        let embeddings = self.embeddings.shape().num_elements() * self.embeddings.dtype().size();
        embeddings as u64 + self.tower.as_ref().map_or(0, |(tower, _)| tower.bytes())
    }
}
