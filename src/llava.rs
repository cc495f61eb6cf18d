//! A loaded model: everything a conversation needs.

use std::{fmt, path::Path, sync::Arc};

use crate::{
    checkpoint::{Checkpoint, ModelFiles},
    config::{self, GenerationDefaults, ModelConfig},
    device::{Compute, DeviceInfo, DeviceSelect},
    drop::Pruning,
    error::{Error, Result},
    image::{Fit, Preprocessor},
    kernel::variants::Variants,
    memory::{self, MemoryLimit, MemorySize, ModelShape, Workload},
    model::{LlavaModel, MAX_ROWS},
    tokenizer::Tokenizer,
    weight_cache::WeightCache,
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
///
/// A clone is the same model once more, not its weights: conversations, threads and requests share one.
#[derive(Clone)]
pub struct Llava {
    pub(crate) model: Arc<LlavaModel>,
    pub(crate) config: ModelConfig,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) preprocessor: Preprocessor,
    pub(crate) defaults: GenerationDefaults,
    compute: Compute,
    precision: Precision,
    fingerprint: u64,
    files: ModelFiles,
    options: Options,
}

impl Llava {
    /// Starts to load the model folder at `path`, in the hub's layout.
    pub fn builder(path: impl AsRef<Path>) -> LlavaBuilder {
        LlavaBuilder::new(ModelFiles::folder(path))
    }

    /// Starts to load the model that is compiled into this library (`models/picture-book`), with the feature `embedded`.
    pub fn embedded() -> LlavaBuilder {
        LlavaBuilder::new(ModelFiles::embedded())
    }

    /// A number that tells models apart, whatever folder they lie in.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// A number that tells apart what stands beside the weights: configuration, tokenizer, chat template.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) if they are not there any more.
    #[cfg(feature = "cli")]
    pub(crate) fn texts_fingerprint(&self) -> Result<u64> {
        self.files.texts_fingerprint()
    }

    /// Checks that rules for dropping vision tokens fit this model.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`](crate::Error::Argument) naming the first value outside its range.
    pub fn check(&self, pruning: &Pruning) -> Result<()> {
        pruning.check(&self.config.largest_picture(), self.model.decoder.depth())
    }

    /// The device the model runs on.
    pub fn device(&self) -> &DeviceInfo {
        self.compute.info()
    }

    /// Whether the device went away, as after a driver's reset: everything but [`reload`](Self::reload) fails then.
    pub fn is_device_lost(&self) -> bool {
        self.compute.is_lost()
    }

    /// Loads the same model once more in the same way, on a fresh device if its own was lost.
    ///
    /// # Errors
    ///
    /// As [`LlavaBuilder::build`].
    pub fn reload(&self) -> Result<Self> {
        LlavaBuilder { files: Ok(self.files.clone()), options: self.options.clone() }.build()
    }

    #[doc(hidden)]
    pub fn compute(&self) -> &Compute {
        &self.compute
    }

    /// How matrices are held: never `Auto`.
    pub fn weight_format(&self) -> WeightFormat {
        self.precision.format()
    }

    /// The most tokens prompt and answer may have together.
    pub fn context_limit(&self) -> usize {
        self.config.text.max_position_embeddings.min(MAX_ROWS)
    }

    /// The error for a prompt of so many tokens.
    pub(crate) fn too_long(&self, tokens: usize) -> Error {
        let is_models = self.config.text.max_position_embeddings <= MAX_ROWS;
        let said_by =
            if is_models { "max_position_embeddings in config.json" } else { "this program's limit" };
        Error::Context { tokens, limit: self.context_limit(), said_by }
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
    options: Options,
}

/// What a builder was told, as its methods explain.
#[derive(Debug, Clone)]
struct Options {
    device: DeviceSelect,
    weights: WeightFormat,
    fit: Option<Fit>,
    cache: bool,
    planes: bool,
    memory: Option<u64>,
}

impl LlavaBuilder {
    pub(crate) fn new(files: Result<ModelFiles>) -> Self {
        let options = Options {
            device: DeviceSelect::Auto,
            weights: WeightFormat::Auto,
            fit: None,
            cache: true,
            planes: false,
            memory: None,
        };
        Self { files, options }
    }

    /// Chooses the device; automatic by default.
    pub fn device(mut self, select: DeviceSelect) -> Self {
        self.options.device = select;
        self
    }

    /// Chooses the precision of weights; automatic by default.
    pub fn weights(mut self, format: WeightFormat) -> Self {
        self.options.weights = format;
        self
    }

    /// The most bytes that the model may need, with one picture and 256 tokens of text; see [`MemoryPlan`].
    ///
    /// By default, automatic weights go by what the device has, as far as that is known ([`MemoryLimit::new`]), and
    /// formats that are named are not checked.
    ///
    /// [`MemoryPlan`]: crate::memory::MemoryPlan
    pub fn memory(mut self, bytes: u64) -> Self {
        self.options.memory = Some(bytes);
        self
    }

    /// Whether quantised weights of large models are kept on disk for the next start; they are by default.
    ///
    /// They lie in `weights` in the program's [cache folder](crate::cache_folder::path), a file for each checkpoint and
    /// format; a file that is damaged, or of weights that changed since, is not used. The files may be deleted at any
    /// time. A disk that is full or read-only is no error.
    pub fn cache(mut self, keep: bool) -> Self {
        self.options.cache = keep;
        self
    }

    /// Holds quantised weights on the CPU path as an adapter does, to be compared with it.
    pub(crate) fn planes(mut self) -> Self {
        self.options.planes = true;
        self
    }

    /// Chooses how pictures that are not square become square; the checkpoint's choice by default. Models that see a picture in
    /// tiles have no other way.
    pub fn fit(mut self, fit: Fit) -> Self {
        self.options.fit = Some(fit);
        self
    }

    /// Loads the model.
    ///
    /// # Errors
    ///
    /// [`Error::Model`](crate::Error::Model) if the folder is missing, incomplete or inconsistent,
    /// [`Error::Device`](crate::Error::Device) if the device cannot be opened or fails,
    /// [`Error::Memory`](crate::Error::Memory) if no allowed format fits the memory.
    pub fn build(self) -> Result<Llava> {
        let Self { files, options } = self;
        let files = files?;
        let config = ModelConfig::from_files(&files)?;
        let tokenizer = Tokenizer::from_files(&files, config.image_token)?.without_videos(config.video_token);
        let mut preprocessor = config::preprocessor(&files, &config)?;
        if let Some(fit) = options.fit {
            preprocessor.fit = config.fit(fit)?;
        }
        let defaults = GenerationDefaults::from_files(&files)?;
        let checkpoint = Checkpoint::open(&files)?;
        let compute = Compute::open(&options.device)?;
        let variants = Variants { planes: options.planes, ..compute.variants() };
        let compute = compute.with_variants(variants);
        let is_folder = matches!(files, ModelFiles::Folder(_));
        let cache = if options.cache && is_folder { WeightCache::standard() } else { None };
        let mut shape = ModelShape::of_checkpoint(&checkpoint, &config)?;
        shape.is_cached = cache.is_some();
        let limit = MemoryLimit::new(options.memory.map(MemorySize), compute.info());
        let precision = memory::choose(options.weights, &shape, compute.info(), &Workload::default(), limit)?;
        let model = LlavaModel::load_cached(&checkpoint, &config, &compute, precision, cache.as_ref())?;
        let fingerprint = checkpoint.fingerprint();
        Ok(Llava {
            model: Arc::new(model),
            config,
            tokenizer: Arc::new(tokenizer),
            preprocessor,
            defaults,
            compute,
            precision,
            fingerprint,
            files,
            options,
        })
    }
}
