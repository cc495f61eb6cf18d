//! The projector: two linear layers from the vision tower's width to the decoder's (arXiv 2310.03744).

use burn::tensor::Tensor;

use super::{linear::Linear, loader::Loader};
use crate::{
    config::{Activation, ModelConfig},
    error::Result,
    kernel::product::Around,
};

/// `W2 act(W1 x + b1) + b2`
#[derive(Debug, Clone)]
pub struct Projector {
    linear_1: Linear,
    linear_2: Linear,
    activation: Activation,
}

impl Projector {
    /// Loads the projector; its input holds as many vision states as the checkpoint takes features from.
    pub fn load(loader: &Loader, config: &ModelConfig) -> Result<Self> {
        let inputs = config.vision.hidden_size * config.feature_states().len();
        let (width, bias) = (config.text.hidden_size, config.projector_bias);
        let projector = Self {
            linear_1: loader.linear("multi_modal_projector.linear_1", inputs, width, bias)?,
            linear_2: loader.linear("multi_modal_projector.linear_2", width, width, bias)?,
            activation: config.projector_activation,
        };
        loader.settle()?;
        Ok(projector)
    }

    /// Vision features to decoder embeddings: `[tokens, vision width]` to `[tokens, text width]`.
    pub fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let around = Around { activation: Some(self.activation), ..Around::default() };
        self.linear_2.forward(&self.linear_1.forward_within(&features, &around))
    }
}
