//! How long a picture and an answer take with and without dropping, beside what the counts promise.
//!
//! Each setting is checked (the budget is hit, the logits are finite) and timed; times are medians. The
//! picture is noise and the prompt arbitrary words, since neither changes what is computed under a budget.

mod memory;
mod selection;
mod step;
mod timing;

use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use serde::Serialize;

pub use step::StepCount;

use crate::{
    config::ModelConfig,
    device::{Compute, Meter},
    drop::{Admit, Keep, Pruning, prefill::PrefillFilter},
    error::{Error, Result},
    llava::Llava,
    model::{KeyValueCache, LlavaModel},
    report::{decoder_flops, seconds, tower_flops},
};

/// Rows of the prompt before and behind the picture's: a system prompt and a question of usual length.
const TEXT: (usize, usize) = (35, 24);
/// The token of every text row: which one makes no difference to what is computed.
const TOKEN: u32 = 1;

/// What is measured.
#[derive(Debug, Clone)]
pub struct Bench<'a> {
    /// The model.
    pub model: &'a LlavaModel,
    /// Its sizes.
    pub config: &'a ModelConfig,
    /// The device it lies on.
    pub compute: &'a Compute,
    /// Timed runs of each setting.
    pub runs: usize,
    /// Decode steps of a run.
    pub steps: usize,
    /// How budgets admit tokens.
    pub admit: Admit,
}

impl Llava {
    /// A bench of this model with so many timed runs a setting, of so many decode steps each.
    pub fn bench(&self, runs: usize, steps: usize) -> Bench<'_> {
        let (model, config, compute) = (&self.model, &self.config, self.compute());
        Bench { model, config, compute, runs, steps, admit: Admit::default() }
    }
}

/// One setting's figures. Times are in seconds.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Measured {
    /// Vision tokens kept, mean over the decoder's layers; `None` where nothing is dropped.
    pub keep: Option<usize>,
    /// What that came to.
    pub mean_vision_tokens: f64,
    /// Rows of the prompt in the first decoder layer.
    pub prompt_rows: usize,
    /// Pixels to decoder embeddings.
    #[serde(serialize_with = "seconds")]
    pub encode: Duration,
    /// Of the prefill, what choosing tokens takes.
    #[serde(serialize_with = "seconds")]
    pub select: Duration,
    /// The prompt through the decoder, selection included.
    #[serde(serialize_with = "seconds")]
    pub prefill: Duration,
    /// From the pixels to the first token.
    #[serde(serialize_with = "seconds")]
    pub first_token: Duration,
    /// Tokens a second after that.
    pub decode_per_second: f64,
    /// Bytes of keys and values behind the prompt.
    pub kv_bytes: u64,
    /// Floating-point operations of tower and prefill.
    pub flops: f64,
    /// Those over the first setting's, which is the dense one as a rule.
    pub flops_ratio: f64,
    /// The time to the first token over the first setting's.
    pub time_ratio: f64,
    /// What a decode step does, by count; `None` on the CPU path.
    pub step: Option<StepCount>,
    /// The most memory the process held, weights included; `None` where the system does not tell.
    pub peak_bytes: Option<u64>,
}

/// The first pass over picture and prompt.
struct Prefilled {
    cache: KeyValueCache,
    /// The first token of the answer.
    token: u32,
    rows: usize,
    encode: Duration,
    prefill: Duration,
    tower_tokens: usize,
    vision_tokens_per_layer: Vec<usize>,
}

impl Bench<'_> {
    /// Measures without dropping, if `dense`, then with each budget; `each` hears of a setting when it is done.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for a budget the model cannot keep,
    /// [`Error::Device`] if the device fails.
    pub fn run(
        &self,
        dense: bool,
        budgets: &[usize],
        mut each: impl FnMut(&Measured),
    ) -> Result<Vec<Measured>> {
        for budget in budgets {
            let pruning = self.pruning(*budget);
            pruning.check(&self.config.largest_picture(), self.model.decoder.depth())?;
        }
        let mut found: Vec<Measured> = Vec::new();
        for keep in dense.then_some(None).into_iter().chain(budgets.iter().copied().map(Some)) {
            let mut measured = self.measure(keep)?;
            if let Some(first) = found.first() {
                measured.flops_ratio = measured.flops / first.flops;
                measured.time_ratio = measured.first_token.as_secs_f64() / first.first_token.as_secs_f64();
            }
            each(&measured);
            found.push(measured);
        }
        Ok(found)
    }

    /// One setting alone; its ratios are to itself.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn measure(&self, keep: Option<usize>) -> Result<Measured> {
        let pruning = keep.map(|tokens| self.pruning(tokens));
        memory::reset_peak();
        // The first run builds what pipelines there are to build, and does not count unless it is the only one.
        let mut runs = Vec::new();
        let (mut rates, mut count) = (Vec::new(), None);
        for _ in 0..=self.runs {
            let mut run = self.first_token(pruning.as_ref())?;
            let kv_bytes = run.cache.bytes();
            let (rate, step) = self.decode(&mut run.cache, run.token)?;
            (rates, count) = ([rates, vec![rate]].concat(), step.or(count));
            // One run's rows at a time: together they would be the peak.
            run.cache = self.model.decoder.new_cache();
            runs.push((run, kv_bytes));
        }
        let uncounted = runs.len().min(2) - 1;
        let median = |time: fn(&Prefilled) -> Duration| {
            timing::median(runs[uncounted..].iter().map(|(run, _)| time(run)).collect())
        };
        let select = pruning.as_ref().map_or(Ok(Duration::ZERO), |pruning| selection::time(self, pruning))?;
        let (run, kv_bytes) = &runs[uncounted];
        let (per_layer, tiles) = (&run.vision_tokens_per_layer, self.config.largest_picture().tiles());
        let mean_vision_tokens = per_layer.iter().sum::<usize>() as f64 / per_layer.len().max(1) as f64;
        if let Some(keep) = keep.filter(|keep| (mean_vision_tokens - *keep as f64).abs() > 1.0) {
            let expected = format!("a budget that is hit, as {keep} tokens should be");
            return Err(Error::argument("--keep", expected, format!("{mean_vision_tokens:.1} tokens kept")));
        }
        Ok(Measured {
            keep,
            mean_vision_tokens,
            prompt_rows: run.rows,
            encode: median(|run| run.encode),
            select,
            prefill: median(|run| run.prefill),
            first_token: median(|run| run.encode + run.prefill),
            decode_per_second: timing::median(rates.split_off(uncounted)),
            kv_bytes: *kv_bytes,
            // All tiles are alike.
            flops: tiles as f64 * tower_flops(self.config, run.tower_tokens / tiles)
                + decoder_flops(self.config, per_layer, TEXT.0 + TEXT.1),
            flops_ratio: 1.0,
            time_ratio: 1.0,
            step: count,
            peak_bytes: memory::peak(),
        })
    }

    /// The rules of a budget.
    fn pruning(&self, tokens: usize) -> Pruning {
        let mut pruning = Pruning::mustdrop().keep(Keep::Tokens(tokens));
        pruning.admit = self.admit;
        pruning
    }

    /// Picture and prompt to the first token.
    fn first_token(&self, pruning: Option<&Pruning>) -> Result<Prefilled> {
        let (vision, decoder) = (&self.config.vision, &self.model.decoder);
        let shape = self.config.largest_picture();
        let pixels = timing::pixels(vision.num_channels * vision.image_size * vision.image_size);
        let tiles = vec![pixels.as_slice(); shape.tiles()];

        let start = Instant::now();
        let pruned =
            pruning.map(|pruning| self.model.encode_picture_pruned(&tiles, &shape, pruning)).transpose()?;
        let picture = match &pruned {
            Some(pruned) => pruned.features.clone(),
            None => self.model.encode_picture(&tiles, &shape)?,
        };
        self.compute.wait("measure the tower")?;
        let encode = start.elapsed();

        let start = Instant::now();
        let entered = picture.dims()[0];
        let text = |rows: usize| decoder.embed(&vec![TOKEN; rows]);
        let x = Tensor::cat(vec![text(TEXT.0), picture, text(TEXT.1)], 0);
        let rows = x.dims()[0];
        let positions: Vec<u32> = (0..rows as u32).collect();
        let mut cache = decoder.new_cache();
        let (hidden, steps) = match (pruning, &pruned) {
            (Some(pruning), Some(pruned)) => {
                let mut filter = PrefillFilter::new(pruning);
                filter.add_picture(TEXT.0, &pruned.candidates);
                (decoder.prefill(x, &positions, &mut cache, &mut filter)?, filter.steps)
            }
            _ => (decoder.forward(x, &positions, &mut cache), Vec::new()),
        };
        cache.next_position = rows as u32;
        let last = hidden.dims()[0] - 1;
        let token = decoder.head(hidden.slice([last..last + 1])).most_likely()?;
        let prefill = start.elapsed();

        let computed = |layer: usize| {
            let before = steps.iter().rev().find(|step| step.layer < layer);
            before.and_then(|step| step.kept.first()).map_or(entered, Vec::len)
        };
        Ok(Prefilled {
            cache,
            token,
            rows,
            encode,
            prefill,
            tower_tokens: pruned.as_ref().map_or(shape.patches(), |pruned| pruned.tower_tokens.len()),
            vision_tokens_per_layer: (0..decoder.depth()).map(computed).collect(),
        })
    }

    /// Tokens a second of some decode steps, and what the last of them did.
    fn decode(&self, cache: &mut KeyValueCache, first: u32) -> Result<(f64, Option<StepCount>)> {
        let decoder = &self.model.decoder;
        let (mut token, mut count) = (first, None::<StepCount>);
        let steps = self.steps.max(1);
        let start = Instant::now();
        for step in 1..=steps {
            // Counting submits something of its own, so only the last step is counted.
            let meter = (step == steps).then(|| Meter::start(self.compute)).flatten();
            let position = cache.next_position;
            let hidden = decoder.forward(decoder.embed(&[token]), &[position], cache);
            cache.next_position = position + 1;
            token = decoder.head(hidden).most_likely()?;
            count = meter.and_then(|meter| StepCount::new(meter, self.compute, decoder, cache));
        }
        Ok((steps as f64 / start.elapsed().as_secs_f64(), count))
    }
}
