//! A loaded model: everything a conversation needs.

use std::{fmt, path::Path};

use crate::{
    chat::Chat,
    checkpoint::{Checkpoint, ModelFiles},
    config::{self, GenerationDefaults, ModelConfig},
    device::{Compute, DeviceInfo, DeviceSelect},
    drop::Pruning,
    error::Result,
    image::{Fit, Preprocessor},
    model::{LlavaModel, MAX_ROWS},
    tokenizer::Tokenizer,
    weights::{Precision, WeightFormat},
};

/// A LLaVA checkpoint on a device.
///
/// ```no_run
/// use mustdrop::{Event, Llava, Part};
///
/// let model = Llava::builder("models/picture-book").build()?;
/// let mut chat = model.chat();
/// let mut answer = chat.ask([Part::image_path("photo.jpg")?, Part::text("What is this?")])?;
/// for event in &mut answer {
///     if let Event::Text(piece) = event? {
///         print!("{piece}");
///     }
/// }
/// # Ok::<(), mustdrop::Error>(())
/// ```
pub struct Llava {
    pub(crate) model: LlavaModel,
    pub(crate) config: ModelConfig,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) preprocessor: Preprocessor,
    pub(crate) defaults: GenerationDefaults,
    compute: Compute,
    precision: Precision,
    fingerprint: u64,
}

impl Llava {
    /// Starts to load the model folder at `path`, in the hub's layout.
    pub fn builder(path: impl AsRef<Path>) -> LlavaBuilder {
        LlavaBuilder::new(ModelFiles::folder(path))
    }

    /// Starts to load the model that is compiled into this library (`models/picture-book`).
    pub fn embedded() -> LlavaBuilder {
        LlavaBuilder::new(Ok(ModelFiles::embedded()))
    }

    /// A new conversation.
    pub fn chat(&self) -> Chat<'_> {
        Chat::new(self)
    }

    /// A number that tells models apart, whatever folder they lie in.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Checks that rules for dropping vision tokens fit this model.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`](crate::Error::Argument) naming the first value outside its range.
    pub fn check(&self, pruning: &Pruning) -> Result<()> {
        let (patches, depth) = self.patches_and_depth();
        pruning.validate(depth)?;
        pruning.rules().sizes(patches, patches, depth).map(drop)
    }

    /// Patches of a picture and layers of the decoder: what policies plan by.
    pub(crate) fn patches_and_depth(&self) -> (usize, usize) {
        (self.config.vision.patches(), self.model.decoder.depth())
    }

    /// The device the model runs on.
    pub fn device(&self) -> &DeviceInfo {
        self.compute.info()
    }

    pub(crate) fn compute(&self) -> &Compute {
        &self.compute
    }

    /// How matrices are held: never `Auto`.
    pub fn weight_format(&self) -> WeightFormat {
        self.precision.format()
    }

    /// The most tokens prompt and answer may have together.
    pub fn context_limit(&self) -> usize {
        let tokenizer = self.tokenizer.model_max_length().unwrap_or(usize::MAX);
        self.config.text.max_position_embeddings.min(tokenizer).min(MAX_ROWS)
    }
}

impl fmt::Debug for Llava {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Llava")
            .field("config", &self.config)
            .field("device", self.device())
            .field("weights", &self.weight_format())
            .finish_non_exhaustive()
    }
}

/// How a model is to be loaded.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct LlavaBuilder {
    files: Result<ModelFiles>,
    device: DeviceSelect,
    weights: WeightFormat,
    fit: Option<Fit>,
}

impl LlavaBuilder {
    fn new(files: Result<ModelFiles>) -> Self {
        Self { files, device: DeviceSelect::Auto, weights: WeightFormat::Auto, fit: None }
    }

    /// Chooses the device; automatic by default.
    pub fn device(mut self, select: DeviceSelect) -> Self {
        self.device = select;
        self
    }

    /// Chooses the precision of weights; automatic by default.
    pub fn weights(mut self, format: WeightFormat) -> Self {
        self.weights = format;
        self
    }

    /// Chooses how pictures that are not square become square; the checkpoint's choice by default.
    pub fn fit(mut self, fit: Fit) -> Self {
        self.fit = Some(fit);
        self
    }

    /// Loads the model.
    ///
    /// # Errors
    ///
    /// [`Error::Model`](crate::Error::Model) if the folder is missing, incomplete or inconsistent,
    /// [`Error::Device`](crate::Error::Device) if the device cannot be opened or fails.
    pub fn build(self) -> Result<Llava> {
        let files = self.files?;
        let config = ModelConfig::from_files(&files)?;
        let tokenizer = Tokenizer::from_files(&files, config.image_token)?;
        let mut preprocessor = config::preprocessor(&files, &config.vision)?;
        if let Some(fit) = self.fit {
            preprocessor.fit = fit;
        }
        let defaults = GenerationDefaults::from_files(&files)?;
        let checkpoint = Checkpoint::open(&files)?;
        let compute = Compute::open(&self.device)?;
        let precision = self.weights.resolve(&checkpoint, compute.info())?;
        let model = LlavaModel::load(&checkpoint, &config, &compute, precision)?;
        let fingerprint = checkpoint.fingerprint();
        Ok(Llava { model, config, tokenizer, preprocessor, defaults, compute, precision, fingerprint })
    }
}
