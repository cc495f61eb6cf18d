//! The plan: every large allocation of a run, from shapes alone.

use std::fmt;

use serde::Serialize;

use super::{
    MemorySize, Stored,
    activations::{Decoder, Packing, Tower},
};
use crate::{
    checkpoint::Checkpoint,
    config::ModelConfig,
    cpu::quantised::BlockMatrix,
    device::{DeviceInfo, DeviceType},
    drop::{PolicyName, Pruning},
    error::{Error, Result},
    model::{Asked, LlavaModel},
    oracle::quantised::QuantisedParams,
    tiling::{PictureShape, Size},
    weight_cache::{self, CachedMatrix},
    weights::{Precision, WeightFormat},
};

/// Bytes of a float32.
pub(super) const FLOAT: usize = 4;

/// What the pools of an adapter's allocator hold beyond what is in use, about the same for models of 40 MB and of 240.
const POOLS: u64 = 20_000_000;

/// What a plan has to know about a model: its configuration, and which tensors it is loaded from.
#[derive(Debug, Clone)]
pub struct ModelShape {
    /// The configuration.
    pub config: ModelConfig,
    /// How the checkpoint stores it.
    pub stored: Stored,
    /// Whether quantised weights are kept on disk if they are large: blocks that the CPU path makes tiles of stay there.
    pub is_cached: bool,
    asked: Vec<Asked>,
}

impl ModelShape {
    /// The shape of an opened checkpoint; no weight is read.
    ///
    /// # Errors
    ///
    /// As [`LlavaModel::asked`].
    pub fn of_checkpoint(checkpoint: &Checkpoint, config: &ModelConfig) -> Result<Self> {
        let asked = LlavaModel::asked(&|name| checkpoint.has(name), config, config.tied_head(checkpoint))?;
        Ok(Self { config: config.clone(), stored: Stored::of(checkpoint), is_cached: true, asked })
    }

    /// The shape of a model whose checkpoint is complete and float16, as the hub's are.
    ///
    /// # Errors
    ///
    /// As [`LlavaModel::asked`].
    pub fn of_config(config: ModelConfig) -> Result<Self> {
        let asked = LlavaModel::asked(&|_| true, &config, config.text.tie_word_embeddings.resolve(true))?;
        let parameters = asked.iter().map(|asked| asked.shape.iter().product::<usize>() as u64).sum();
        Ok(Self { config, stored: Stored { is_half: true, parameters }, is_cached: true, asked })
    }
}

/// What is to be computed: one picture, and a prompt and an answer about it.
#[derive(Debug, Clone, Default)]
pub struct Workload {
    /// The picture's size; by default, one of which the model makes the most tokens.
    pub picture: Option<Size>,
    /// Tokens of prompt and answer together, the picture's before dropping included; by default, the picture's and 256.
    pub context: Option<usize>,
    /// How vision tokens are dropped.
    pub pruning: Option<Pruning>,
}

impl Workload {
    /// Text tokens where no context is named.
    const TEXT: usize = 256;

    /// The shape of the picture.
    pub fn shape(&self, model: &ModelShape) -> PictureShape {
        match self.picture {
            Some(size) => model.config.picture_shape(size, true),
            None => model.config.largest_picture(),
        }
    }

    /// Tokens of prompt and answer together.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if a context is too small for a picture or too large for the model.
    pub fn rows(&self, shape: &ModelShape) -> Result<usize> {
        let (picture, most) = (self.shape(shape).tokens(), shape.config.text.max_position_embeddings);
        let Some(context) = self.context else { return Ok(picture + Self::TEXT) };
        if (picture + 1..=most.max(picture + 1)).contains(&context) {
            return Ok(context);
        }
        let expected =
            format!("from {} tokens, a picture's and one more, to the model's {most}", picture + 1);
        Err(Error::argument("--context", expected, context.to_string()))
    }
}

/// Bytes that a model needs at its peak.
///
/// `total = weights + max(loading, cache + max(vision, prefill)) + pools`: what loading leaves over is free again before
/// the first picture, and what the tower computes with is free before the prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MemoryPlan {
    /// How weights are held.
    pub weights: WeightFormat,
    /// All weights on the device: exactly, but for tiles that the CPU path makes of blocks, which depend on the processor.
    pub weights_bytes: u64,
    /// What converting weights takes beyond all of them: nothing, unless one matrix is a large part of the model.
    pub loading_bytes: u64,
    /// The vision tower's activations, or what admission compares its tokens with.
    pub vision_bytes: u64,
    /// The key-value cache at the end of the prefill.
    pub cache_bytes: u64,
    /// The cache when it is cut to what stage D keeps; as `cache_bytes` where nothing is evicted.
    pub evicted_cache_bytes: u64,
    /// The cache if nothing were dropped.
    pub dense_cache_bytes: u64,
    /// The decoder's activations of the whole prompt at once.
    pub prefill_bytes: u64,
    /// What the adapter's allocator holds in reserve; none on the CPU path.
    pub pool_bytes: u64,
    /// The peak.
    pub total_bytes: u64,
    /// The largest single tensor that is not cut into parts for the adapter.
    pub largest_tensor_bytes: u64,
}

impl MemoryPlan {
    /// The plan for a model held in `precision` on `device`.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a budget that a policy cannot hit, or a context that the model cannot hold.
    pub fn new(
        shape: &ModelShape,
        precision: Precision,
        device: &DeviceInfo,
        workload: &Workload,
    ) -> Result<Self> {
        let rows = Rows::new(shape, workload)?;
        let is_cpu = device.device_type == DeviceType::Cpu;
        let (weights, loading_peak) = weights(shape, precision, is_cpu);
        let picture = workload.shape(shape);
        let (tower, decoder) = (Tower::new(shape, &picture), Decoder::new(shape, &picture, &rows));
        let admission = workload.pruning.as_ref().map_or(0, |pruning| admission(shape, &picture, pruning));
        let packing = Packing::new(shape, &picture, workload.pruning.is_some());
        let vision = tower.bytes().max(admission).max(packing.bytes());
        let prefill = decoder.bytes();
        let cache = |rows: &[usize]| rows.iter().map(|rows| 2 * decoder.storage(*rows)).sum::<u64>();
        let cache_bytes = cache(&rows.prefill);
        let loading = loading_peak.saturating_sub(weights);
        let pools = if is_cpu { 0 } else { POOLS };
        let longest = rows.prefill.iter().copied().max().unwrap_or(0);
        Ok(Self {
            weights: precision.format(),
            weights_bytes: weights,
            loading_bytes: loading,
            vision_bytes: vision,
            cache_bytes,
            evicted_cache_bytes: cache(&rows.evicted),
            dense_cache_bytes: cache(&vec![rows.dense; rows.prefill.len()]),
            prefill_bytes: prefill,
            pool_bytes: pools,
            total_bytes: weights + loading.max(cache_bytes + vision.max(prefill)) + pools,
            largest_tensor_bytes: tower
                .largest()
                .max(packing.largest())
                .max(decoder.largest())
                .max(decoder.storage(longest)),
        })
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [total, weights, cache] =
            [self.total_bytes, self.weights_bytes, self.cache_bytes].map(MemorySize);
        let activations = MemorySize(self.vision_bytes.max(self.prefill_bytes));
        write!(f, "{}: {total} (weights {weights}, cache {cache}, activations {activations}", self.weights)?;
        if self.loading_bytes > 0 {
            write!(f, ", while loading {} more than the weights", MemorySize(self.loading_bytes))?;
        }
        f.write_str(")")
    }
}

/// Bytes of what coverage admits tokens by: features, those without their mean, unit rows, and the likeness of each two.
///
/// Tiles are compared one after the other, and the features of all stay.
fn admission(shape: &ModelShape, picture: &PictureShape, pruning: &Pruning) -> u64 {
    let (patches, width) = (picture.patches_of_tile() as u64, shape.config.vision.hidden_size as u64);
    let matrices = match pruning.policy {
        // One for the host, which forms the means.
        PolicyName::CoverageMeans => 2,
        PolicyName::Coverage => 1,
        _ if pruning.admits_by_coverage() => 1,
        _ => return 0,
    };
    let others = match picture.is_square() {
        true => 0,
        // Features and what class attention sees of every tile, and all features once more.
        false => 3 * picture.tiles() as u64 * patches * width,
    };
    4 * (patches * (3 * width + matrices * patches) + others)
}

/// Bytes of all weights, and the most that are in memory while they are loaded: a matrix is quantised from all its
/// numbers as float32, by way of a code of 36 bytes for each block of 32.
fn weights(shape: &ModelShape, precision: Precision, is_cpu: bool) -> (u64, u64) {
    let sizes = shape.asked.iter().map(|asked| {
        let (rows, width) = (asked.shape[0], asked.shape.iter().skip(1).product::<usize>());
        let bits = precision.bits_of(&asked.name, width).filter(|_| asked.is_matrix);
        let quantised = bits.map(|bits| CachedMatrix {
            params: QuantisedParams { rows: 0, inputs: width as u32, outputs: rows as u32, bits },
            is_ggml: is_cpu && BlockMatrix::fits(width, rows),
        });
        (asked, rows, width, quantised)
    });
    let kept: u64 = sizes.clone().filter_map(|(.., quantised)| quantised).map(|matrix| matrix.bytes()).sum();
    let is_on_disk = shape.is_cached && kept >= weight_cache::LEAST_BYTES;
    let is_tied = !shape.asked.iter().any(|asked| asked.name.starts_with("lm_head."));
    let (mut held, mut peak) = (0, 0);
    for (asked, rows, width, quantised) in sizes {
        let numbers = rows * width;
        held += match quantised {
            Some(matrix) if matrix.is_ggml => {
                // Products are computed from tiles of the blocks, which are left on disk if they are kept there at all.
                let is_multiplied = is_tied || !asked.name.ends_with(".embed_tokens.weight");
                let tiles = BlockMatrix::tile_bytes(width, rows, matrix.params.bits);
                (if is_multiplied { tiles } else { 0 }) + if is_on_disk { 0 } else { matrix.bytes() }
            }
            Some(matrix) => matrix.bytes(),
            None if asked.is_matrix => precision.float_bytes(numbers),
            None => (numbers * FLOAT) as u64,
        };
        let converted = if quantised.is_some() { numbers * FLOAT + numbers / 32 * 36 } else { 0 };
        peak = peak.max(held + converted as u64);
    }
    (held, peak)
}

/// Rows that each layer of the decoder computes and holds.
pub(super) struct Rows {
    /// Without dropping.
    pub dense: usize,
    /// Held by each layer at the end of the prefill.
    pub prefill: Vec<usize>,
    /// Held by each layer when caches were cut.
    evicted: Vec<usize>,
}

impl Rows {
    fn new(shape: &ModelShape, workload: &Workload) -> Result<Self> {
        let (picture, depth) = (workload.shape(shape), shape.config.text.num_hidden_layers);
        let tokens = picture.budgeted();
        let dense = workload.rows(shape)?;
        let mut prefill = vec![dense; depth];
        let mut evicted = prefill.clone();
        if let Some(pruning) = &workload.pruning {
            pruning.validate(depth)?;
            let rules = pruning.rules();
            // Thresholds keep what they keep: everything, for all that is known.
            if let Some(sizes) = rules.sizes(&picture, tokens, depth)? {
                let layers = rules.layers(&picture, depth);
                let text = dense - tokens;
                let behind = |layer: usize| layers.iter().take_while(|filter| **filter < layer).count();
                let size =
                    |filters: usize| sizes.get(filters).or(sizes.last()).map_or(dense, |size| text + size);
                prefill = (0..depth).map(|layer| size(behind(layer))).collect();
                evicted.clone_from(&prefill);
                if let (true, Some(first), Some(last)) = (rules.evicts(), layers.first(), layers.last()) {
                    evicted[*first..=*last].fill(size(layers.len()));
                }
            }
        }
        Ok(Self { dense, prefill, evicted })
    }
}
