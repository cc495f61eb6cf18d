//! The time that choosing tokens takes: admission by coverage, and the filters.

use std::time::{Duration, Instant};

use burn::tensor::Tensor;

use super::{Bench, TEXT, timing};
use crate::{
    drop::{
        Pruning,
        newlines::Standing,
        prefill::{Candidates, PrefillFilter, Scores},
    },
    error::Result,
    kernel,
};

/// Runs of a selection at least: it is short.
const RUNS: usize = 5;

/// What a filter sees of one layer.
struct Layer {
    number: usize,
    query: Tensor<3>,
    keys: Tensor<3>,
    log_sum: Tensor<2>,
    hidden: Tensor<2>,
}

/// The median time of admission by coverage and of all of a prefill's filters by themselves, on tensors of the same shapes.
pub fn time(bench: &Bench, pruning: &Pruning) -> Result<Duration> {
    let text = &bench.config.text;
    let (picture, depth) = (bench.config.largest_picture(), bench.model.decoder.depth());
    let Some(sizes) = pruning.rules().sizes(&picture, picture.budgeted(), depth)? else {
        return Ok(Duration::ZERO);
    };
    let device = bench.compute.burn();
    let shapes = sizes.iter().zip(pruning.layers(depth));
    let layers: Vec<Layer> = shapes
        .map(|(tokens, number)| {
            let (rows, heads) = (TEXT.0 + tokens + TEXT.1, text.num_attention_heads);
            Layer {
                number,
                query: timing::noise([rows, heads, text.head_dim], &device),
                keys: timing::noise([rows, text.num_key_value_heads, text.head_dim], &device),
                // Attention leaves it behind: the selection has it for nothing.
                log_sum: timing::noise([rows, heads], &device),
                hidden: timing::noise([rows, text.hidden_size], &device),
            }
        })
        .collect();
    let features = timing::noise([picture.patches_of_tile(), bench.config.vision.hidden_size], &device);
    let candidates = Candidates {
        is_key: kernel::integers(vec![0; sizes[0]], [sizes[0]], &device),
        layers: pruning.rules().layers(&picture, depth),
        sizes: Some(sizes[1..].to_vec()),
        rows: None,
        score: None,
        standing: (!picture.is_square()).then(|| vec![Standing::default(); sizes[0]]),
    };
    let select = || -> Result<f64> {
        let start = Instant::now();
        if pruning.admits_by_coverage() {
            for _ in 0..picture.tiles() {
                let likeness = kernel::vision::likeness(&features, bench.compute.variants());
                kernel::vision::coverage_picks(&likeness, sizes[0].div_ceil(picture.tiles()));
            }
        }
        let mut filter = PrefillFilter::new(pruning);
        filter.add_picture(TEXT.0, &candidates);
        for Layer { number, query, keys, log_sum, hidden } in &layers {
            let scores = Scores { query, keys, log_sum, past: 0, window: None };
            if let Some(survivors) = filter.survivors(*number, scores)? {
                // Hidden states and the output of attention.
                kernel::decode::gather_rows(hidden, &survivors.rows);
                kernel::decode::gather_rows(hidden, &survivors.rows);
            }
        }
        filter.finish()?;
        bench.compute.wait("measure the selection")?;
        Ok(start.elapsed().as_secs_f64())
    };
    select()?;
    let times = (0..bench.runs.max(RUNS)).map(|_| select()).collect::<Result<_>>()?;
    Ok(Duration::from_secs_f64(timing::median(times)))
}
