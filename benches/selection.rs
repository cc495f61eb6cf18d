//! What dropping costs and what it pays: the share of the selection's kernels in a prefill, and the prefill's time
//! with dropping over its time without, beside the ratio of their FLOPs.
//!
//! `cargo bench --bench selection -- [default|7b] [cpu|gpu] [LAYERS]` takes random weights in the shape of the default
//! model or of LLaVA-1.5-7B (a stack of LAYERS layers, 8 unless told), and medians over several runs.

use std::{path::Path, time::Instant};

use burn::tensor::{Device, Distribution, Tensor};
use mustdrop::{
    DeviceSelect, Pruning,
    config::ModelConfig,
    device::Compute,
    drop::{
        Keep,
        prefill::{Candidates, PrefillFilter},
    },
    kernel,
    model::Decoder,
    report::layer_flops,
};

/// Rows before and behind the picture's.
const TEXT: (usize, usize) = (35, 24);
const PATCHES: usize = 576;

/// Of as many runs as fit into four seconds, three at least.
fn median(mut run: impl FnMut()) -> f64 {
    let begin = Instant::now();
    let mut seconds: Vec<f64> = (0..50)
        .take_while(|run| *run < 3 || begin.elapsed().as_secs() < 4)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn noise<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), device)
}

/// A picture of which the first of `sizes` tokens entered the decoder.
fn picture(sizes: &[usize], device: &Device) -> Candidates {
    let is_key = kernel::integers(vec![0; sizes[0]], [sizes[0]], device);
    Candidates { is_key, sizes: Some(sizes[1..].to_vec()), rows: None, class_attention: None }
}

fn main() {
    // cargo passes `--bench` on.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let word = |index: usize, default: &str| words.get(index).cloned().unwrap_or(default.to_owned());
    let is_default = match word(0, "default").as_str() {
        "default" => true,
        "7b" => false,
        other => panic!("expected default or 7b, found {other}"),
    };
    let device: DeviceSelect = word(1, "cpu").parse().expect("a device");
    let compute = Compute::open(&device).expect("a device");
    let json = if is_default {
        include_str!("../models/picture-book/config.json")
    } else {
        r#"{"model_type": "llava"}"#
    };
    let mut config =
        ModelConfig::parse(json.as_bytes(), Path::new("config.json")).expect("a configuration").text;
    if !is_default {
        config.num_hidden_layers = word(2, "8").parse().expect("a number of layers");
    }
    let decoder = Decoder::synthetic(&config, &compute, false).expect("a decoder");
    let (depth, width) = (decoder.depth(), config.hidden_size);
    println!("{}: {depth} layers of width {width}, {} text rows", compute.info(), TEXT.0 + TEXT.1);

    let pass = |tokens: usize, filter: Option<&mut PrefillFilter>| {
        let rows = TEXT.0 + tokens + TEXT.1;
        let positions: Vec<u32> = (0..rows as u32).collect();
        let (x, mut cache) = (noise([rows, width], &compute.burn()), decoder.new_cache());
        let hidden = match filter {
            Some(filter) => decoder.prefill(x, &positions, &mut cache, filter).expect("a pass"),
            None => decoder.forward(x, &positions, &mut cache),
        };
        // Reading a value waits for the device.
        let value: f32 = hidden.slice([0..1, 0..1]).into_scalar();
        assert!(value.is_finite());
    };
    let flops = |tokens: usize| layer_flops(TEXT.0 + tokens + TEXT.1, width, 3 * config.intermediate_size);

    pass(PATCHES, None); // compiles what is not compiled yet
    let dense = median(|| pass(PATCHES, None));
    println!("dense     {:8.1} ms", dense * 1e3);
    for budget in [192, 128, 64] {
        let pruning = Pruning::mustdrop().keep(Keep::Tokens(budget));
        let sizes = pruning.rules().sizes(PATCHES, PATCHES, depth).expect("a schedule").expect("a budget");
        let layers = pruning.layers(depth);
        let filter = || {
            let mut filter = PrefillFilter::new(&pruning, PATCHES, depth);
            filter.add_picture(TEXT.0, &picture(&sizes, &compute.burn()));
            filter
        };
        // Check, then time: what is computed is what the budget says.
        let mut checked = filter();
        pass(sizes[0], Some(&mut checked));
        assert!(checked.steps.iter().map(|step| step.kept[0].len()).eq(sizes[1..].iter().copied()));
        let pruned = median(|| pass(sizes[0], Some(&mut filter())));

        // The same selection by itself, on queries and keys of the same shapes.
        let inputs: Vec<_> = sizes[..layers.len()]
            .iter()
            .map(|tokens| {
                let (rows, device) = (TEXT.0 + tokens + TEXT.1, compute.burn());
                let heads = |heads| noise([rows, heads, config.head_dim], &device);
                (
                    heads(config.num_attention_heads),
                    heads(config.num_key_value_heads),
                    noise([rows, width], &device),
                )
            })
            .collect();
        let select = || {
            let mut filter = filter();
            for (layer, (query, keys, x)) in layers.iter().zip(&inputs) {
                let survivors =
                    filter.survivors(*layer, query, keys).expect("a device").expect("text behind");
                kernel::decode::gather_rows(x, &survivors.rows);
                kernel::decode::gather_rows(x, &survivors.rows);
            }
            filter.finish().expect("a device");
        };
        select();
        let selection = median(select);

        let computed = |layer: usize| sizes[layers.iter().filter(|pruning| **pruning < layer).count()];
        let flop_ratio =
            (0..depth).map(|layer| flops(computed(layer))).sum::<f64>() / (flops(PATCHES) * depth as f64);
        let time_ratio = pruned / dense;
        println!(
            "keep {budget:4} {:8.1} ms, {:.3} of dense; FLOPs {flop_ratio:.3} of dense: {:.2} x their ratio; \
             selection {:.2} ms, {:.1} % of it; sizes {sizes:?}",
            pruned * 1e3,
            time_ratio,
            time_ratio / flop_ratio,
            selection * 1e3,
            100.0 * selection / pruned,
        );
    }
}
