//! What a pass over a fixture computes, in the words of the golden files.
//!
//! A fixture is a folder with a checkpoint (`config.json`, `model.safetensors`), a prompt as token ids
//! (`inputs.json`) and pixels (`inputs.safetensors`). No tokenizer and no picture file is involved, so that
//! implementations can be compared number by number.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::{Checkpoint, ModelFiles},
    config::ModelConfig,
    device::{Compute, DeviceSelect},
    drop::{Pruning, prefill::PrefillFilter},
    error::{Error, Result},
    memory::{self, MemoryLimit, ModelShape, Workload},
    model::{LlavaModel, MAX_ROWS},
    prompt::{Piece, PromptLayout},
    sample::most_likely,
    tiling::Tiling,
    weights::WeightFormat,
};

/// Tokens of the greedy continuation.
const GREEDY_TOKENS: usize = 16;

/// The observables of one fixture; fields of the dropping stages are `null` where no stage ran.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Trace {
    /// Windows merged in the vision tower, most similar first.
    pub merged_windows_by_similarity: Option<Vec<usize>>,
    /// Vision tokens after merging.
    pub vision_tokens: Option<usize>,
    /// Protected vision tokens, ascending.
    pub key_token_set: Option<Vec<usize>>,
    /// For each filter, the surviving rows among those alive before it, ascending.
    pub kept_at_each_pruning_layer: Option<Vec<Vec<usize>>>,
    /// Rows of every decoder layer's cache after eviction.
    pub kv_length_per_layer: Option<Vec<usize>>,
    /// Most likely next token with dropping.
    pub next_token: Option<u32>,
    /// Most likely next token without dropping.
    pub dense_next_token: u32,
    /// Greedy continuation without dropping; stop tokens do not end it.
    pub dense_greedy_tokens: Vec<u32>,
    /// Logits of the next token with dropping.
    pub next_token_logits: Option<Vec<f32>>,
    /// Logits of the next token without dropping.
    pub dense_next_token_logits: Vec<f32>,
    /// The device that computed.
    pub device: String,
}

/// A fixture's inputs, checked.
#[derive(Debug, Clone)]
pub struct Fixture {
    /// The prompt, with one place for the picture.
    pub prompt: PromptLayout,
    /// Pixels, `[channels, side, side]`.
    pub pixels: Vec<f32>,
    /// The model's configuration.
    pub config: ModelConfig,
    /// How tokens are dropped, if the fixture says so.
    pub pruning: Option<Pruning>,
}

#[derive(Deserialize)]
struct Inputs {
    input_ids: Vec<u32>,
    image_token_id: u32,
    #[serde(flatten)]
    dropping: Option<Dropping>,
}

/// How tokens are dropped; a fixture without these fields is dense.
#[derive(Deserialize)]
struct Dropping {
    mode: Mode,
    global_threshold: f32,
    individual_threshold: f32,
    merge_threshold: f32,
    window: usize,
    keep_rate: f64,
    pruning_layers: Vec<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// Similarity order, compact positions.
    Reference,
    /// Raster order, original positions.
    Default,
}

impl From<Dropping> for Pruning {
    fn from(dropping: Dropping) -> Self {
        let pruning = match dropping.mode {
            Mode::Reference => Self::reference(),
            Mode::Default => Self::mustdrop(),
        };
        Self {
            window: dropping.window,
            similarity_threshold: dropping.merge_threshold,
            keep_rate: dropping.keep_rate,
            pruning_layers: Some(dropping.pruning_layers),
            ..pruning.thresholds(dropping.global_threshold, dropping.individual_threshold)
        }
    }
}

impl Fixture {
    /// Reads `config.json`, `inputs.json` and `inputs.safetensors` of `folder`.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if one is missing or does not fit the others.
    pub fn open(folder: &Path) -> Result<Self> {
        let files = ModelFiles::folder(folder)?;
        let config = ModelConfig::from_files(&files)?;
        let read = |name: &str| {
            let missing =
                || Error::model(files.path(name), "expected this file in a trace folder, found none");
            files.read(name)?.ok_or_else(missing)
        };
        let path = files.path("inputs.json");
        let inputs: Inputs = serde_json::from_slice(&read("inputs.json")?).map_err(|error| {
            Error::model(&path, format!("expected `input_ids` and `image_token_id`: {error}"))
        })?;
        let vocabulary = config.text.vocab_size;
        let is_text = |id: &&u32| **id != inputs.image_token_id && **id as usize >= vocabulary;
        if let Some(id) = inputs.input_ids.iter().find(is_text) {
            return Err(Error::model(
                &path,
                format!("input_ids: expected ids below the vocabulary of {vocabulary}, found {id}"),
            ));
        }
        let rows = inputs.input_ids.len().saturating_add(config.vision.patches() + GREEDY_TOKENS);
        if rows > MAX_ROWS {
            let problem = format!("input_ids: expected a prompt of at most {MAX_ROWS} rows, found {rows}");
            return Err(Error::model(&path, problem));
        }
        if config.tiling != Tiling::Square {
            let problem = "expected a model that looks at one square, as traces have one";
            return Err(Error::model(files.path("config.json"), problem));
        }
        let prompt = PromptLayout::from_ids(&inputs.input_ids, inputs.image_token_id);
        if prompt.images() != 1 {
            return Err(Error::model(
                &path,
                format!(
                    "input_ids: expected the image token {} exactly once, found it {} times",
                    inputs.image_token_id,
                    prompt.images()
                ),
            ));
        }
        let pixels = pixels(&read("inputs.safetensors")?, &config)
            .map_err(|problem| Error::model(files.path("inputs.safetensors"), problem))?;
        let pruning = inputs.dropping.map(Pruning::from);
        if let Some(pruning) = &pruning {
            pruning
                .validate(config.text.num_hidden_layers)
                .map_err(|error| Error::model(&path, error.to_string()))?;
        }
        Ok(Self { prompt, pixels, config, pruning })
    }
}

/// The tensor `pixel_values` of a safetensors file, if it is what `config` expects.
fn pixels(bytes: &[u8], config: &ModelConfig) -> Result<Vec<f32>, String> {
    let file =
        SafeTensors::deserialize(bytes).map_err(|error| format!("no valid safetensors file: {error}"))?;
    let tensor = file.tensor("pixel_values").map_err(|_| "expected a tensor `pixel_values`".to_owned())?;
    let side = config.vision.image_size;
    let expected = [config.vision.num_channels, side, side];
    if tensor.dtype() != Dtype::F32 || tensor.shape() != expected {
        return Err(format!(
            "pixel_values: expected F32 {expected:?}, found {:?} {:?}",
            tensor.dtype(),
            tensor.shape()
        ));
    }
    let values: Vec<f32> = bytemuck::pod_collect_to_vec(tensor.data());
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(values),
        Some(value) => Err(format!("pixel_values: expected finite numbers, found {value}")),
    }
}

/// Runs the fixture in `folder` on a device, dense and, where the fixture says how, with dropping.
///
/// # Errors
///
/// [`Error::Model`] if the folder is no fixture, [`Error::Device`] if the device fails.
pub fn trace(folder: &Path, device: &DeviceSelect, weights: WeightFormat) -> Result<Trace> {
    let fixture = Fixture::open(folder)?;
    let checkpoint = Checkpoint::open(&ModelFiles::folder(folder)?)?;
    let compute = Compute::open(device)?;
    let shape = ModelShape::of_checkpoint(&checkpoint, &fixture.config)?;
    let limit = MemoryLimit::new(None, compute.info());
    let precision = memory::choose(weights, &shape, compute.info(), &Workload::default(), limit)?;
    let model = LlavaModel::load(&checkpoint, &fixture.config, &compute, precision)?;

    let (dense_greedy_tokens, dense_next_token_logits) = dense(&model, &fixture)?;
    let mut trace = Trace {
        dense_next_token: dense_greedy_tokens[0],
        dense_greedy_tokens,
        dense_next_token_logits,
        device: compute.info().to_string(),
        ..Trace::default()
    };
    if let Some(pruning) = &fixture.pruning {
        drop_tokens(&model, &fixture, pruning, &mut trace)?;
    }
    Ok(trace)
}

/// The greedy continuation without dropping, and the logits it starts from.
fn dense(model: &LlavaModel, fixture: &Fixture) -> Result<(Vec<u32>, Vec<f32>)> {
    let image = model.encode_image(&fixture.pixels);
    let embeddings = model.splice(&fixture.prompt, &[image])?;
    let rows = embeddings.dims()[0];
    let mut cache = model.decoder.new_cache();
    let positions: Vec<u32> = (0..rows as u32).collect();
    let hidden = model.decoder.forward(embeddings, &positions, &mut cache);
    let logits = model.decoder.logits(hidden.slice([rows - 1..rows]))?;

    let mut newest = most_likely(&logits);
    let mut greedy = vec![newest];
    for position in (rows as u32..).take(GREEDY_TOKENS - 1) {
        let hidden = model.decoder.forward(model.decoder.embed(&[newest]), &[position], &mut cache);
        newest = most_likely(&model.decoder.logits(hidden)?);
        greedy.push(newest);
    }
    Ok((greedy, logits))
}

/// One prefill with all three stages.
fn drop_tokens(model: &LlavaModel, fixture: &Fixture, pruning: &Pruning, trace: &mut Trace) -> Result<()> {
    let picture = model.encode_image_pruned(&fixture.pixels, pruning)?;
    let start = fixture
        .prompt
        .pieces
        .iter()
        .map_while(|piece| match piece {
            Piece::Text(ids) => Some(ids.len()),
            Piece::Image(_) => None,
        })
        .sum();
    let mut filter = PrefillFilter::new(pruning);
    filter.add_picture(start, &picture.candidates);
    let embeddings = model.splice(&fixture.prompt, &[picture.features])?;
    let positions: Vec<u32> = (0..embeddings.dims()[0] as u32).collect();
    let mut cache = model.decoder.new_cache();
    let hidden = model.decoder.prefill(embeddings, &positions, &mut cache, &mut filter)?;
    let rows = hidden.dims()[0];
    let logits = model.decoder.logits(hidden.slice([rows - 1..rows]))?;

    trace.key_token_set = filter.admitted.first().map(|admitted| admitted.key_tokens.clone());
    trace.merged_windows_by_similarity = picture.merge.map(|merge| merge.windows);
    trace.vision_tokens = Some(picture.tower_tokens.len());
    trace.kept_at_each_pruning_layer = Some(filter.steps.iter().map(|step| step.kept.concat()).collect());
    trace.kv_length_per_layer = Some(cache.rows_per_layer());
    trace.next_token = Some(most_likely(&logits));
    trace.next_token_logits = Some(logits);
    Ok(())
}
