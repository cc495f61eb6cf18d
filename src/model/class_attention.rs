//! What a picture as a whole pays attention to, patch by patch.

use burn::tensor::Tensor;

use super::{linear::Linear, loader::Loader, norm::LayerNorm};
use crate::{
    config::VisionConfig,
    error::Result,
    kernel::{self, variants::Variants},
};

/// The attention of a vision layer that need not be run otherwise.
#[derive(Debug, Clone)]
pub(super) struct ClassAttention {
    norm: LayerNorm,
    query: Linear,
    key: Linear,
    heads: usize,
    variants: Variants,
}

impl ClassAttention {
    pub(super) fn load(loader: &Loader, name: &str, config: &VisionConfig) -> Result<Self> {
        let width = config.hidden_size;
        let projection = |part: &str| loader.linear(&format!("{name}.self_attn.{part}"), width, width, true);
        Ok(Self {
            norm: loader.layer_norm(&format!("{name}.layer_norm1"), width, config.layer_norm_eps)?,
            query: projection("q_proj")?,
            key: projection("k_proj")?,
            heads: config.num_attention_heads,
            variants: loader.variants(),
        })
    }

    pub(super) fn variants(&self) -> Variants {
        self.variants
    }

    /// The attention that each token receives from the class token, given the layer's input; without class tokens
    /// (`classes` is 0), from all tokens on average.
    ///
    /// The attention of a row to token `j` is the mean over heads of its softmax weight, the denominator covering
    /// all rows.
    ///
    /// # Shapes
    ///
    /// `state`: `[classes + tokens, width]`; result: `[tokens]`.
    pub(super) fn forward(&self, state: &Tensor<2>, classes: usize) -> Tensor<1> {
        let [rows, width] = state.dims();
        let asking = if classes > 0 { classes } else { rows };
        let normed = self.norm.forward(state);
        let query = self.query.forward(&normed.clone().slice([0..asking]));
        let query = query.reshape([asking, self.heads, width / self.heads]);
        let key = self.key.forward(&normed).reshape([rows, self.heads, width / self.heads]);
        let log_sum = kernel::attention::log_sum_exp(&query, &key, self.variants);
        let tokens = (classes, rows - classes);
        kernel::prefill::text_attention(&query, &key, &log_sum, 0..asking, tokens, 0, None).sum()
            / asking as f32
    }
}
