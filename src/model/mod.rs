//! LLaVA (arXiv 2304.08485, 2310.03744): a vision tower, a projector and a decoder, on burn.
//!
//! Rows are `[rows, width]` throughout: one sequence at a time, so that every sequence may keep other rows.

mod activation;
mod attention;
mod cache;
mod class_attention;
mod clip;
mod linear;
mod llama;
mod loader;
mod norm;
mod projector;
mod pruned_features;
mod rope;

use burn::tensor::Tensor;

pub use cache::KeyValueCache;
pub use clip::VisionTower;
pub use llama::Decoder;
use loader::Loader;
use projector::Projector;
pub use pruned_features::{EnteredTokens, Merge, PrunedFeatures, TowerFeatures};

use crate::{
    checkpoint::Checkpoint,
    config::ModelConfig,
    device::Compute,
    drop::Pruning,
    error::{Error, Result},
    prompt::{Piece, PromptLayout},
    weights::Precision,
};

/// The most rows of one pass: what a dispatch has workgroups for along an axis, on every adapter.
pub const MAX_ROWS: usize = 65_535;

/// The three networks of a LLaVA checkpoint, on one device.
#[derive(Debug, Clone)]
pub struct LlavaModel {
    /// Picture to features.
    pub vision: VisionTower,
    /// Features to decoder embeddings.
    pub projector: Projector,
    /// Embeddings to logits.
    pub decoder: Decoder,
}

impl LlavaModel {
    /// Loads every tensor the configuration asks for, matrices in the given precision (`true`: float16).
    ///
    /// # Errors
    ///
    /// [`Error::Model`] listing every missing, unused and mis-shaped tensor, before anything is copied;
    /// [`Error::Device`] if the device fails while weights are copied.
    pub fn load(
        checkpoint: &Checkpoint,
        config: &ModelConfig,
        compute: &Compute,
        precision: impl Into<Precision>,
    ) -> Result<Self> {
        let tied = config.tied_head(checkpoint);
        let unused_by_design =
            |name: &str| config.is_beyond_features(name) || (tied && name == "lm_head.weight");
        let check = Loader::checking(checkpoint, compute);
        Self::from_loader(&check, config, tied)?;
        checkpoint.verify(check.into_asked(), unused_by_design)?;
        Self::from_loader(&Loader::loading(checkpoint, compute, precision.into()), config, tied)
    }

    fn from_loader(loader: &Loader, config: &ModelConfig, tied: bool) -> Result<Self> {
        Ok(Self {
            vision: VisionTower::load(loader, config)?,
            projector: Projector::load(loader, config)?,
            decoder: Decoder::load(loader, &config.text, tied)?,
        })
    }

    /// The decoder embeddings of one picture, `[tokens, text width]`, from `[channels, side, side]` pixels.
    pub fn encode_image(&self, pixels: &[f32]) -> Tensor<2> {
        self.projector.forward(self.vision.features(pixels))
    }

    /// As [`encode_image`](Self::encode_image), with alike windows merged and the key token set named; the features
    /// are the decoder's embeddings.
    ///
    /// # Errors
    ///
    /// As [`VisionTower::pruned_features`].
    pub fn encode_image_pruned(&self, pixels: &[f32], pruning: &Pruning) -> Result<PrunedFeatures> {
        self.admit(&self.vision.look(pixels, pruning, self.decoder.depth())?, pruning)
    }

    /// The second half of [`encode_image_pruned`](Self::encode_image_pruned), behind the tower.
    ///
    /// # Errors
    ///
    /// As [`VisionTower::pruned_features`].
    pub fn admit(&self, tower: &TowerFeatures, pruning: &Pruning) -> Result<PrunedFeatures> {
        let mut pruned = self.vision.admit(tower, pruning, self.decoder.depth())?;
        pruned.features = self.projector.forward(pruned.features);
        Ok(pruned)
    }

    /// The decoder's input for a whole prompt: text embeddings with each picture's rows in its place.
    ///
    /// # Errors
    ///
    /// [`Error::Prompt`] if the prompt names a picture that is not among `images`, or is empty.
    pub fn splice(&self, prompt: &PromptLayout, images: &[Tensor<2>]) -> Result<Tensor<2>> {
        let mut rows = Vec::new();
        for piece in &prompt.pieces {
            match piece {
                Piece::Text(ids) if ids.is_empty() => {}
                Piece::Text(ids) => rows.push(self.decoder.embed(ids)),
                Piece::Image(number) => rows.push(images.get(*number).cloned().ok_or_else(|| {
                    Error::Prompt(format!(
                        "the prompt places picture {number}, expected one of the {} given",
                        images.len()
                    ))
                })?),
            }
        }
        if rows.is_empty() {
            return Err(Error::Prompt("the prompt is empty, expected at least one token".into()));
        }
        Ok(Tensor::cat(rows, 0))
    }
}
