//! Pictures as decoders are given them.

use std::sync::Arc;

use burn::tensor::Tensor;

use crate::{
    drop::Pruning,
    image::{Picture, Placement},
    model::{PrunedFeatures, TowerFeatures},
    tiling::PictureShape,
};

/// A picture as the decoder sees it.
#[derive(Clone)]
pub(crate) struct Shown {
    /// `[tokens, text width]`
    pub embeddings: Tensor<2>,
    /// What stage V found out, where tokens are dropped.
    pub pruned: Option<PrunedFeatures>,
    /// What it was looked at as.
    pub shape: PictureShape,
    /// Where each of its squares lies in the picture.
    pub placements: Vec<Placement>,
    /// What it takes to look at it in another way once others join it, where that changes something.
    pub alone: Option<Arc<Alone>>,
    /// What tokens may be admitted from anew, and the rules that admitted those of now; kept where later questions may ask
    /// for others ([`Turns::Requery`](crate::drop::Turns)).
    pub tower: Option<(TowerFeatures, Pruning)>,
}

/// A picture that is the only one so far.
pub(crate) struct Alone {
    pub picture: Picture,
    /// The rules that looked at it.
    pub pruning: Option<Pruning>,
}

impl Shown {
    /// Bytes of what it holds on the device, but for flags and scores.
    pub fn bytes(&self) -> u64 {
        let embeddings = self.embeddings.shape().num_elements() * self.embeddings.dtype().size();
        embeddings as u64 + self.tower.as_ref().map_or(0, |(tower, _)| tower.bytes())
    }
}
