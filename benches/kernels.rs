//! Kernels by themselves, each checked and then timed beside burn's operations for the same work, in one process and in
//! turns.
//!
//! `cargo bench --bench kernels` takes small matrices and any adapter; `cargo bench --bench kernels -- 7b` those of
//! LLaVA-1.5-7B, for a real GPU. Times are the fastest of several runs; a run repeats the work until it takes a while.

use std::time::{Duration, Instant};

use burn::tensor::{DType, Device, Distribution, Tensor, activation::softmax};
use mustdrop::{
    DeviceSelect,
    device::Compute,
    kernel::{
        attention::attention,
        product::{Around, FEW_ROWS, Operand, product},
        quantised::QuantisedMatrix,
        variants::{Unpack, Variants},
    },
};

/// Timed runs of each, in turns, of which the fastest counts.
const RUNS: usize = 5;
/// What a run takes at least.
const LEAST: Duration = Duration::from_millis(20);

struct Candidate<'a> {
    name: String,
    work: Box<dyn Fn() -> Tensor<2> + 'a>,
}

impl<'a> Candidate<'a> {
    fn new(name: impl Into<String>, work: impl Fn() -> Tensor<2> + 'a) -> Self {
        Self { name: name.into(), work: Box::new(work) }
    }
}

/// Times candidates in turns, after they were found to agree with the first, and prints their rates and how often the first
/// one's time goes into theirs.
fn compare(what: &str, device: &Device, flops: f64, candidates: &[Candidate]) {
    let values =
        |work: &dyn Fn() -> Tensor<2>| -> Vec<f32> { work().into_data().try_to_vec().expect("float32") };
    let expected = values(&candidates[0].work);
    let scale = expected.iter().fold(0.0f32, |scale, value| scale.max(value.abs()));
    for candidate in &candidates[1..] {
        let found = values(&candidate.work);
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
        assert!(worst <= 1e-2 * scale, "{what}, {}: {worst:e} of {scale:e}", candidate.name);
    }
    let time = |candidate: &Candidate, repeats: u32| {
        let start = Instant::now();
        (0..repeats).for_each(|_| drop((candidate.work)()));
        device.sync().expect("a device");
        start.elapsed() / repeats
    };
    let repeats: Vec<u32> = candidates
        .iter()
        .map(|candidate| {
            let once = time(candidate, 1);
            ((LEAST.as_secs_f64() / once.as_secs_f64()).ceil() as u32).clamp(1, 200)
        })
        .collect();
    let mut fastest = vec![Duration::MAX; candidates.len()];
    for _ in 0..RUNS {
        for ((candidate, repeats), fastest) in candidates.iter().zip(&repeats).zip(&mut fastest) {
            *fastest = (*fastest).min(time(candidate, *repeats));
        }
    }
    for (candidate, time) in candidates.iter().zip(&fastest) {
        let seconds = time.as_secs_f64();
        println!(
            "{what:<28} {:<24} {:>10.3} ms {:>9.1} GFLOP/s {:>7.2} x",
            candidate.name,
            seconds * 1e3,
            flops / seconds / 1e9,
            fastest[0].as_secs_f64() / seconds
        );
    }
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), device)
}

fn name_of(unpack: Unpack, rows: usize) -> &'static str {
    match unpack {
        _ if rows <= FEW_ROWS => "vector",
        Unpack::Registers => "registers",
        Unpack::Tile => "tile",
    }
}

/// Products of so many rows with a matrix in every format, beside burn's in the format it has.
fn products(rows: usize, inputs: usize, outputs: usize, device: &Device) {
    let x = random([rows, inputs], device);
    let flops = 2.0 * (rows * inputs * outputs) as f64;
    let unpacks: &[Unpack] = if rows <= FEW_ROWS { &[Unpack::Tile] } else { &Unpack::ALL };
    let what = |format: &str| format!("{rows} x {inputs} x {outputs} {format}");
    for dtype in [DType::F32, DType::F16] {
        let weight = random([outputs, inputs], device).cast(dtype);
        let operand = [Operand::floats(&weight).expect("on an adapter")];
        let burn = || {
            let x = if dtype == DType::F16 { x.clone().cast(dtype) } else { x.clone() };
            x.matmul(weight.clone().transpose()).cast(DType::F32)
        };
        let mut candidates = vec![Candidate::new("burn", burn)];
        candidates.extend(unpacks.iter().map(|unpack| ours(&x, &operand, *unpack)));
        compare(&what(&format!("{dtype:?}")), device, flops, &candidates);
    }
    for bits in [8, 4] {
        let matrix = QuantisedMatrix::arbitrary(inputs, outputs, bits, device, true);
        let operand = [matrix.operand().expect("on an adapter")];
        let candidates: Vec<_> = unpacks.iter().map(|unpack| ours(&x, &operand, *unpack)).collect();
        compare(&what(&format!("q{bits}")), device, flops, &candidates);
    }
}

/// A product by this crate's kernels.
fn ours<'a>(x: &'a Tensor<2>, operand: &'a [Operand], unpack: Unpack) -> Candidate<'a> {
    let variants = Variants { unpack, ..Variants::default() };
    let work = move || product(x, operand, &Around::default(), variants);
    Candidate::new(name_of(unpack, x.dims()[0]), work)
}

/// Attention of every row to every row, beside burn's products around a softmax.
fn attentions(rows: usize, columns: usize, heads: usize, head_dim: usize, device: &Device) {
    let query = random([rows, heads, head_dim], device);
    let (key, value) =
        (random([columns, heads, head_dim], device), random([columns, heads, head_dim], device));
    let burn = || {
        let heads_first = |x: &Tensor<3>| x.clone().swap_dims(0, 1);
        let scores = heads_first(&query).matmul(heads_first(&key).swap_dims(1, 2)) / (head_dim as f64).sqrt();
        let mixed = softmax(scores, 2).matmul(heads_first(&value));
        mixed.swap_dims(0, 1).reshape([rows, heads * head_dim])
    };
    let mut candidates = vec![Candidate::new("burn", burn)];
    for is_tiled in if rows <= FEW_ROWS { &[true][..] } else { &[true, false] } {
        let variants = Variants { attention: *is_tiled, ..Variants::default() };
        let (query, key, value) = (&query, &key, &value);
        candidates.push(Candidate::new(if *is_tiled { "tiles" } else { "rows" }, move || {
            attention(query, key, value, columns, columns, None, variants).output
        }));
    }
    let flops = 4.0 * (rows * columns * heads * head_dim) as f64;
    compare(&format!("attention {rows} x {columns} x {heads} x {head_dim}"), device, flops, &candidates);
}

fn main() {
    let is_large = std::env::args().any(|argument| argument == "7b");
    let compute = Compute::open(&DeviceSelect::Gpu).expect("an adapter");
    println!("{}", compute.info());
    let device = compute.burn();
    let (inputs, outputs, heads, head_dim) =
        if is_large { (4096, 12_288, 32, 128) } else { (576, 1024, 4, 64) };
    for rows in [1, 4, 99, 585] {
        products(rows, inputs, outputs, &device);
    }
    if is_large {
        products(99, 4096, 4096, &device);
        products(585, 11_008, 4096, &device);
    }
    for (rows, columns) in [(1, 640), (99, 99), (585, 585)] {
        attentions(rows, columns, heads, head_dim, &device);
    }
}
