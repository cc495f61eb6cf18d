//! A language model without pictures, from a GGUF file.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::{
    checkpoint::{
        Checkpoint,
        gguf::{Gguf, Value},
    },
    config::TextConfig,
    device::{Compute, DeviceInfo, DeviceSelect},
    error::{Error, Result},
    memory::{self, Stored},
    model::{Decoder, KeyValueCache, MAX_ROWS, load_text},
    sample::most_likely,
    tokenizer::{self, Library},
    weights::{Precision, WeightFormat},
};

/// Rows whose logits are held at a time.
const LOGIT_ROWS: usize = 32;

/// A Llama on a device, out of a GGUF file as llama.cpp's converter writes it for the architecture `llama`.
///
/// It predicts one token after another; there is no chat template and no picture.
///
/// ```no_run
/// use mustdrop::TextModel;
///
/// let model = TextModel::builder("SmolLM2-135M-Instruct.Q4_1.gguf").build()?;
/// let prompt = model.encode("The capital of France is")?;
/// println!("{}", model.decode(&model.generate(&prompt, 16)?)?);
/// # Ok::<(), mustdrop::Error>(())
/// ```
pub struct TextModel {
    decoder: Decoder,
    config: TextConfig,
    tokenizer: Option<Library>,
    end_token: Option<u32>,
    parameters: u64,
    compute: Compute,
    precision: Precision,
    path: PathBuf,
}

impl TextModel {
    /// Starts to load the GGUF file at `path`.
    pub fn builder(path: impl AsRef<Path>) -> TextModelBuilder {
        TextModelBuilder {
            path: path.as_ref().to_path_buf(),
            device: DeviceSelect::Auto,
            weights: WeightFormat::Auto,
        }
    }

    /// The model's sizes.
    pub fn config(&self) -> &TextConfig {
        &self.config
    }

    /// How many numbers the file's tensors hold.
    pub fn parameters(&self) -> u64 {
        self.parameters
    }

    /// The device the model runs on.
    pub fn device(&self) -> &DeviceInfo {
        self.compute.info()
    }

    /// How matrices are held: never `Auto`.
    pub fn weight_format(&self) -> WeightFormat {
        self.precision.format()
    }

    /// The most tokens a sequence may have.
    pub fn context_limit(&self) -> usize {
        self.config.max_position_embeddings.min(MAX_ROWS)
    }

    /// The logits of the token that follows `ids`, one a token of the vocabulary.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if there are no ids, too many, or one is not of the vocabulary; [`Error::Device`] if the
    /// device fails.
    pub fn logits(&self, ids: &[u32]) -> Result<Vec<f32>> {
        self.check(ids, 1, 0)?;
        self.next_logits(ids, &mut self.decoder.new_cache())
    }

    /// What each token but the first costs, given those before it: `-ln p(ids[i + 1] | ids[..= i])`, in nats.
    ///
    /// # Errors
    ///
    /// As [`logits`](Self::logits), and if there is a single id.
    pub fn losses(&self, ids: &[u32]) -> Result<Vec<f64>> {
        self.check(ids, 2, 0)?;
        let (seen, next) = (&ids[..ids.len() - 1], &ids[1..]);
        let positions: Vec<u32> = (0..).take(seen.len()).collect();
        let hidden =
            self.decoder.forward(self.decoder.embed(seen), &positions, &mut self.decoder.new_cache());
        let mut losses = Vec::with_capacity(next.len());
        for (chunk, next) in next.chunks(LOGIT_ROWS).enumerate() {
            let start = chunk * LOGIT_ROWS;
            let logits = self.decoder.logits(hidden.clone().slice([start..start + next.len()]))?;
            let rows = logits.chunks(self.config.vocab_size).zip(next);
            losses.extend(rows.map(|(logits, id)| loss(logits, *id as usize)));
        }
        Ok(losses)
    }

    /// The `count` most likely tokens behind `ids`, each given those before it; fewer if the token follows that the
    /// file names as the end, which is not among them.
    ///
    /// # Errors
    ///
    /// As [`logits`](Self::logits).
    pub fn generate(&self, ids: &[u32], count: usize) -> Result<Vec<u32>> {
        self.check(ids, 1, count)?;
        let mut cache = self.decoder.new_cache();
        let mut generated = Vec::new();
        while generated.len() < count {
            let new = generated.last().map_or(ids, std::slice::from_ref);
            let token = most_likely(&self.next_logits(new, &mut cache)?);
            if self.end_token == Some(token) {
                break;
            }
            generated.push(token);
        }
        Ok(generated)
    }

    /// Token ids of a text; control tokens that are spelled in it count as such.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if the file has no tokenizer that is supported: byte-level BPE (`gpt2`) that splits text as
    /// GPT-2 or SmolLM does.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer()?.encode(text, false).map_err(|problem| Error::model(&self.path, problem))
    }

    /// The text of tokens, control tokens left out.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.tokenizer()?.decode(ids).map_err(|problem| Error::model(&self.path, problem))
    }

    fn tokenizer(&self) -> Result<&Library> {
        self.tokenizer.as_ref().ok_or_else(|| {
            let problem = "expected a tokenizer of the model gpt2 with the splitting gpt-2 or smollm, found none; \
                           give token ids instead of texts";
            Error::model(&self.path, problem)
        })
    }

    /// Runs `ids` behind what is cached, and returns the logits of the last.
    fn next_logits(&self, ids: &[u32], cache: &mut KeyValueCache) -> Result<Vec<f32>> {
        let positions: Vec<u32> = (cache.next_position..).take(ids.len()).collect();
        let hidden = self.decoder.forward(self.decoder.embed(ids), &positions, cache);
        cache.next_position += ids.len() as u32;
        self.decoder.logits(hidden.slice([ids.len() - 1..ids.len()]))
    }

    /// Checks that ids can be embedded, and leave room for `more`.
    fn check(&self, ids: &[u32], least: usize, more: usize) -> Result<()> {
        let vocabulary = self.config.vocab_size;
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocabulary) {
            return Err(Error::argument("ids", format!("ids below {vocabulary}"), id.to_string()));
        }
        let most = self.context_limit();
        if ids.len() < least || ids.len().saturating_add(more) > most {
            let found =
                if more == 0 { ids.len().to_string() } else { format!("{} and {more} to come", ids.len()) };
            return Err(Error::argument("ids", format!("{least} to {most} ids"), found));
        }
        Ok(())
    }
}

impl fmt::Debug for TextModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextModel")
            .field("config", &self.config)
            .field("device", self.device())
            .field("weights", &self.weight_format())
            .finish_non_exhaustive()
    }
}

/// `-ln softmax(logits)[token]`.
fn loss(logits: &[f32], token: usize) -> f64 {
    let highest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let mass: f64 = logits.iter().map(|logit| (f64::from(*logit) - highest).exp()).sum();
    mass.ln() + highest - f64::from(logits[token])
}

/// How a text model is to be loaded.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct TextModelBuilder {
    path: PathBuf,
    device: DeviceSelect,
    weights: WeightFormat,
}

impl TextModelBuilder {
    /// Chooses the device; automatic by default.
    pub fn device(mut self, select: DeviceSelect) -> Self {
        self.device = select;
        self
    }

    /// Chooses how matrices are held on the device, whatever they are stored in; automatic by default.
    pub fn weights(mut self, format: WeightFormat) -> Self {
        self.weights = format;
        self
    }

    /// Loads the model.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if the file is missing, damaged or no Llama that is supported, [`Error::Device`] if the
    /// device cannot be opened or fails.
    pub fn build(self) -> Result<TextModel> {
        let gguf = Gguf::open(&self.path)?;
        let config = TextConfig::from_gguf(&gguf)?;
        let tokenizer = tokenizer::from_gguf(&gguf)?;
        let end_token = match gguf.get("tokenizer.ggml.eos_token_id") {
            Some(Value::Unsigned(id)) => u32::try_from(*id).ok(),
            _ => None,
        };
        let checkpoint = Checkpoint::from_gguf(gguf, config.head_dim)?;
        let compute = Compute::open(&self.device)?;
        let precision = memory::precision(self.weights, Stored::of(&checkpoint), compute.info())?;
        let decoder = load_text(&checkpoint, &config, &compute, precision)?;
        let (parameters, path) = (checkpoint.parameters(), self.path);
        Ok(TextModel { decoder, config, tokenizer, end_token, parameters, compute, precision, path })
    }
}
