//! What a later question would have looked at, had earlier ones not dropped it.
//!
//! Layers before the first filter hold every token that entered the decoder. What the rows of a later question attend to there
//! shows whether it asks about what the layers behind no longer hold: then it is worth choosing anew
//! ([`Turns::Requery`](super::Turns)).

use burn::tensor::Tensor;
use serde::Serialize;

use super::prefill::Scores;
use crate::kernel::{self, ReadBack};

/// How much a question misses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Share {
    /// Of the attention that its rows pay to the pictures of earlier questions, the share that goes to dropped tokens.
    pub attention: f64,
    /// The share of dropped tokens among those of them that entered the decoder: what the attention would be if it made no
    /// difference.
    pub tokens: f64,
}

impl Share {
    /// Whether a question attends mainly to what was dropped: with most of its attention, and more than by chance.
    pub fn is_most(&self) -> bool {
        self.attention > self.tokens.max(0.5)
    }
}

/// A picture of an earlier question.
#[derive(Debug, Clone)]
pub struct Earlier {
    /// Its first row in the cache.
    pub start: usize,
    /// Which of its tokens the layers behind the filters do not hold.
    pub dropped: Vec<bool>,
}

/// A look at pictures of earlier questions during a pass.
#[derive(Debug)]
pub struct Missed {
    /// The last layer whose cache holds all tokens.
    layer: usize,
    pictures: Vec<Earlier>,
    /// What each of their tokens receives.
    received: Vec<Tensor<1>>,
    /// The share of it that dropped ones receive, once it was read back.
    pub share: Option<Share>,
}

impl Missed {
    /// A look in `layer`, at pictures some tokens of which are dropped.
    pub fn new(layer: usize, pictures: Vec<Earlier>) -> Self {
        Self { layer, pictures, received: Vec::new(), share: None }
    }

    /// Notes what all rows of the pass attend to, if this is the layer.
    pub fn look(&mut self, layer: usize, scores: &Scores) {
        if layer != self.layer {
            return;
        }
        let Scores { query, keys, log_sum, past, window } = *scores;
        let rows = query.dims()[0];
        let received = |picture: &Earlier| {
            let tokens = (picture.start, picture.dropped.len());
            kernel::prefill::text_attention(query, keys, log_sum, 0..rows, tokens, past, window).sum()
        };
        self.received = self.pictures.iter().map(received).collect();
    }

    /// Has what was noted read back.
    pub(super) fn tell(&self, parts: &mut ReadBack) {
        self.received.iter().for_each(|received| parts.numbers(received));
    }

    /// Takes what was read back.
    pub(super) fn hear(&mut self, mut next: impl FnMut() -> Vec<f32>) {
        let (mut all, mut dropped) = (0.0, 0.0);
        for (picture, _) in self.pictures.iter().zip(&self.received) {
            for (received, is_dropped) in next().into_iter().zip(&picture.dropped) {
                all += f64::from(received);
                dropped += f64::from(received) * f64::from(u8::from(*is_dropped));
            }
        }
        let flags = || self.pictures.iter().flat_map(|picture| &picture.dropped);
        let tokens = flags().filter(|is_dropped| **is_dropped).count() as f64 / flags().count().max(1) as f64;
        // A window may hide all pictures.
        self.share = (all > 0.0).then(|| Share { attention: dropped / all, tokens });
    }
}
