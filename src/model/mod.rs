//! LLaVA (arXiv 2304.08485, 2310.03744): a vision tower, a projector and a decoder, on burn.
//!
//! Rows are `[rows, width]` throughout: one sequence at a time, so that every sequence may keep other rows.

mod activation;
pub(crate) mod cache;
mod class_attention;
mod clip;
mod linear;
mod llama;
mod loader;
mod logits;
mod norm;
mod packing;
mod positions;
mod projector;
mod pruned_features;
mod rope;
mod tiles;

use burn::tensor::Tensor;

pub use cache::KeyValueCache;
pub use clip::VisionTower;
pub use llama::Decoder;
pub use loader::Asked;
use loader::Loader;
pub use logits::{Candidates, Logits};
pub use positions::{Places, RowPositions};
use projector::Projector;
pub use pruned_features::{EnteredTokens, Merge, PrunedFeatures, TowerFeatures};

use crate::{
    checkpoint::Checkpoint,
    config::{ModelConfig, TextConfig, TieWordEmbeddings},
    device::{Compute, DeviceSelect},
    drop::Pruning,
    error::{Error, Result},
    prompt::{Piece, PromptLayout},
    tiling::{PictureShape, Tiling},
    weight_cache::WeightCache,
    weights::Precision,
};

/// The most rows of one pass: what a dispatch has workgroups for along an axis, on every adapter.
pub const MAX_ROWS: usize = 65_535;

/// The networks of a LLaVA checkpoint, on one device.
#[derive(Debug, Clone)]
pub struct LlavaModel {
    /// Picture to features.
    pub vision: VisionTower,
    /// Features to decoder embeddings.
    pub projector: Projector,
    /// Embeddings to logits.
    pub decoder: Decoder,
    /// What stands behind a row of tokens of a picture in tiles, `[text width]`; models that look at one square have none.
    newline: Option<Tensor<1>>,
}

/// Loads a decoder that a checkpoint holds nothing beside, as [`LlavaModel::load`] does a whole LLaVA.
///
/// # Errors
///
/// As [`LlavaModel::load`].
pub fn load_text(
    checkpoint: &Checkpoint,
    config: &TextConfig,
    compute: &Compute,
    precision: impl Into<Precision>,
) -> Result<Decoder> {
    let tied = config.tie_word_embeddings.resolve(checkpoint.has("lm_head.weight"));
    let has = |name: &str| checkpoint.has(name);
    let check = Loader::checking(&has, compute);
    Decoder::load(&check, config, tied)?;
    let asked = check.into_asked().into_iter().map(|asked| (asked.name, asked.shape));
    checkpoint.verify(asked, |name| tied && name == "lm_head.weight")?;
    Decoder::load(&Loader::loading(checkpoint, compute, precision.into()), config, tied)
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
        Self::load_cached(checkpoint, config, compute, precision.into(), None)
    }

    /// As [`load`](Self::load), with quantised weights taken from `cache` or left there.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load): none from the cache.
    pub fn load_cached(
        checkpoint: &Checkpoint,
        config: &ModelConfig,
        compute: &Compute,
        precision: Precision,
        cache: Option<&WeightCache>,
    ) -> Result<Self> {
        let tied = config.tied_head(checkpoint);
        if !tied && config.text.tie_word_embeddings == TieWordEmbeddings::Yes {
            tracing::warn!(
                "config.json ties the head to the embeddings, but lm_head.weight is stored and another"
            );
        }
        let unused_by_design =
            |name: &str| config.is_beyond_features(name) || (tied && name == "lm_head.weight");
        let asked = Self::asked(&|name| checkpoint.has(name), config, tied)?;
        let expected = asked.iter().map(|asked| (asked.name.clone(), asked.shape.clone()));
        checkpoint.verify(expected, unused_by_design)?;
        let loader = Loader::loading(checkpoint, compute, precision);
        let loader = match cache.filter(|_| precision.bits.is_some()) {
            Some(cache) => loader.cached(cache, &asked),
            None => loader,
        };
        let model = Self::from_loader(&loader, config, tied)?;
        loader.finish();
        Ok(model)
    }

    /// The tensors that the configuration asks for, in the order of their loading, where `has` says which there are.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] if not even the CPU answers.
    pub fn asked(has: &dyn Fn(&str) -> bool, config: &ModelConfig, tied: bool) -> Result<Vec<Asked>> {
        let compute = Compute::open(&DeviceSelect::Cpu)?;
        let check = Loader::checking(has, &compute);
        Self::from_loader(&check, config, tied)?;
        Ok(check.into_asked())
    }

    /// A model of this shape with random weights made on the device, for measuring.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] if the device fails.
    pub fn synthetic(
        config: &ModelConfig,
        compute: &Compute,
        precision: impl Into<Precision>,
    ) -> Result<Self> {
        Self::from_loader(&Loader::synthetic(compute, precision.into()), config, false)
    }

    fn from_loader(loader: &Loader, config: &ModelConfig, tied: bool) -> Result<Self> {
        Ok(Self {
            vision: VisionTower::load(loader, config)?,
            projector: Projector::load(loader, config)?,
            newline: match config.tiling {
                Tiling::Square => None,
                Tiling::AnyResolution(_) => Some(loader.vector("image_newline", config.text.hidden_size)?),
            },
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
        self.encode_picture_pruned(&[pixels], &self.vision.square(), pruning)
    }

    /// As [`encode_picture`](Self::encode_picture), with alike windows merged and key tokens named in every tile.
    ///
    /// # Errors
    ///
    /// As [`VisionTower::pruned_features`].
    pub fn encode_picture_pruned(
        &self,
        tiles: &[&[f32]],
        shape: &PictureShape,
        pruning: &Pruning,
    ) -> Result<PrunedFeatures> {
        self.admit(&self.vision.look(tiles, shape, pruning, self.decoder.depth())?, pruning)
    }

    /// The second half of [`encode_picture_pruned`](Self::encode_picture_pruned), behind the tower.
    ///
    /// # Errors
    ///
    /// As [`VisionTower::pruned_features`].
    pub fn admit(&self, tower: &TowerFeatures, pruning: &Pruning) -> Result<PrunedFeatures> {
        if !tower.shape.is_square() {
            return self.admit_tiles(tower, pruning);
        }
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
