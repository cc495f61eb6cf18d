//! The memory plan against what a run takes, and the choice of weights by it.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use crate::common::noise;
use crate::common::synthetic;
use assert_cmd::cargo::CommandCargoExt;
use mustdrop::{
    DeviceInfo, DeviceSelect, Error, Pruning, WeightFormat,
    checkpoint::{Checkpoint, ModelFiles},
    config::{ModelConfig, Shape},
    device::{self, Compute},
    drop::Keep,
    memory::{self, MemoryLimit, MemoryPlan, MemorySize, ModelShape, Workload},
    model::LlavaModel,
    weights::Precision,
};
use serde_json::Value;

const PATCHES: usize = 576;
/// Text tokens of the measured prompt, and of its answer.
const TEXT: (usize, usize) = (16, 4);
/// Names what a child process of this test is to run: a folder, a device and a format.
const CHILD: &str = "MUSTDROP_PLAN_CHILD";

fn open(folder: &Path) -> (Checkpoint, ModelConfig) {
    let files = ModelFiles::folder(folder).expect("a folder");
    (Checkpoint::open(&files).expect("weights"), ModelConfig::from_files(&files).expect("a configuration"))
}

/// What a run took, in bytes.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Measured {
    /// The most of the process's memory that was ever in use.
    resident: u64,
    /// What the adapter held right after loading.
    loaded: u64,
    /// The most that the adapter's allocator held at the ends of the stages.
    reserved: u64,
}

/// The process's high-water mark (`VmHWM`).
fn high_water() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a line");
    let kilobytes = line.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
    kilobytes.expect("a number") * 1024
}

/// Loads a model, encodes a picture, prefills a prompt and decodes an answer.
fn run(folder: &Path, device: &DeviceSelect, format: WeightFormat) -> Measured {
    let (checkpoint, config) = open(folder);
    let compute = Compute::open(device).expect("a device");
    let shape = ModelShape::of_checkpoint(&checkpoint, &config).expect("a shape");
    let precision = memory::precision(format, shape.stored, compute.info()).expect("a precision");
    let usage = || compute.burn().memory_pool_usage();
    let reserved = || usage().map_or(0, |usage| usage.bytes_reserved);
    let before = usage().map_or(0, |usage| usage.bytes_in_use);
    let model = LlavaModel::load(&checkpoint, &config, &compute, precision).expect("a model");
    let loaded = usage().map_or(0, |usage| usage.bytes_in_use - before);
    let mut most = reserved();
    let image = model.encode_image(&noise(1, 3 * 336 * 336));
    compute.burn().sync().expect("encoded");
    most = most.max(reserved());
    let text = model.decoder.embed(&vec![1; TEXT.0]);
    let rows = burn::tensor::Tensor::cat(vec![image.clone(), text], 0);
    let positions: Vec<u32> = (0..rows.dims()[0] as u32).collect();
    let mut cache = model.decoder.new_cache();
    let mut hidden = model.decoder.forward(rows, &positions, &mut cache);
    for position in 0..=TEXT.1 {
        let last = hidden.dims()[0];
        model.decoder.logits(hidden.slice([last - 1..last])).expect("logits");
        most = most.max(reserved());
        let at = (PATCHES + TEXT.0 + position) as u32;
        hidden = model.decoder.forward(model.decoder.embed(&[1]), &[at], &mut cache);
    }
    drop(image);
    Measured { resident: high_water(), loaded, reserved: most }
}

/// Runs this test's binary once more, as the child that measures.
fn measure(folder: &Path, device: &str, format: WeightFormat) -> Measured {
    let program = std::env::current_exe().expect("a path");
    let output = Command::new(program)
        .args(["--exact", "plan::child", "--nocapture", "--ignored"])
        .env(CHILD, format!("{}|{device}|{format}", folder.display()))
        // Freed memory goes back to the system at once, and does not count again when it is next used.
        .env("MALLOC_MMAP_THRESHOLD_", "65536")
        .env("MALLOC_TRIM_THRESHOLD_", "65536")
        .output()
        .expect("a child");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let line = stdout.lines().find_map(|line| line.strip_prefix("measured "));
    let line = line.unwrap_or_else(|| panic!("{stdout}{}", String::from_utf8_lossy(&output.stderr)));
    serde_json::from_str(line).expect("JSON")
}

#[test]
#[ignore = "a process of its own, which other tests start"]
fn child() {
    let task = std::env::var(CHILD).expect("started by a test");
    let mut words = task.split('|');
    let mut next = || words.next().expect("three words");
    let (folder, device, format) = (next().to_owned(), next().parse().expect("a device"), next());
    let measured = run(Path::new(&folder), &device, format.parse().expect("a format"));
    println!("\nmeasured {}", serde_json::to_string(&measured).expect("JSON"));
}

/// The plan of a folder's model for the measured prompt.
fn plan(folder: &Path, device: &str, format: WeightFormat) -> MemoryPlan {
    let (checkpoint, config) = open(folder);
    let shape = ModelShape::of_checkpoint(&checkpoint, &config).expect("a shape");
    let info = device::find(&device.parse().expect("a device")).expect("a device");
    let precision = memory::precision(format, shape.stored, &info).expect("a precision");
    let workload = Workload { picture: None, context: Some(PATCHES + TEXT.0 + TEXT.1), pruning: None };
    MemoryPlan::new(&shape, precision, &info, &workload).expect("a plan")
}

fn assert_close(planned: u64, measured: u64, what: &str) {
    let ratio = measured as f64 / planned as f64;
    assert!((0.9..=1.1).contains(&ratio), "{what}: planned {planned} bytes, measured {measured}: {ratio:.3}");
}

#[test]
#[cfg(target_os = "linux")]
fn the_measured_peak_is_within_a_tenth_of_the_plan() {
    let (model, small) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    synthetic::write(model.path(), &synthetic::config(512, 12, 4_096));
    synthetic::write(small.path(), &synthetic::config(128, 1, 256));
    for format in [WeightFormat::F32, WeightFormat::Q8, WeightFormat::Q4] {
        // The program itself takes memory too: what a small model's run takes beyond its plan is subtracted.
        let [(planned, found), (least, idle)] = [model.path(), small.path()]
            .map(|folder| (plan(folder, "cpu", format).total_bytes, measure(folder, "cpu", format).resident));
        assert_close(planned - least, found - idle, &format!("CPU path, {format}"));
    }
    let (planned, found) =
        (plan(model.path(), "gpu", WeightFormat::Q4), measure(model.path(), "gpu", WeightFormat::Q4));
    assert_eq!(found.loaded, planned.weights_bytes, "weights are planned to the byte");
    assert_close(planned.total_bytes, found.reserved, "adapter, q4");
}

fn shape_7b() -> ModelShape {
    ModelShape::of_config(Shape::Llava7b.config().expect("a configuration")).expect("a shape")
}

fn gibibytes(size: u64) -> Option<MemoryLimit> {
    Some(MemoryLimit { bytes: size << 30, given: true })
}

#[test]
fn automatic_weights_are_the_most_precise_that_fit() {
    let (shape, device) = (shape_7b(), DeviceInfo::cpu());
    let choose = |limit| memory::choose(WeightFormat::Auto, &shape, &device, &Workload::default(), limit);
    let format = |limit| choose(limit).expect("something fits").format();
    let largest = format(gibibytes(64));
    assert_eq!(format(None), largest, "without a limit there is nothing to save");
    assert_eq!(format(gibibytes(10)), WeightFormat::Q8);
    assert_eq!(format(gibibytes(7)), WeightFormat::Q4);
    let error = choose(gibibytes(3)).expect_err("nothing fits");
    assert_eq!(error.exit_code(), 5);
    assert!(error.to_string().contains("q4"), "the smallest plan is named: {error}");
}

/// Without a weight cache, blocks are in memory beside the tiles that the CPU path makes of them.
#[test]
fn blocks_that_are_not_on_disk_are_planned_for() {
    let cached = shape_7b();
    let mut uncached = cached.clone();
    uncached.is_cached = false;
    let bytes = |shape: &ModelShape, format, device: &DeviceInfo| {
        let precision = memory::precision(format, cached.stored, device).expect("a precision");
        MemoryPlan::new(shape, precision, device, &Workload::default()).expect("a plan").weights_bytes
    };
    let cpu = DeviceInfo::cpu();
    // 6.6 and 0.3 billion weights, at 4.5 and 8.5 bits; all are at 8.5 with q8.
    for (format, blocks) in [(WeightFormat::Q4, 4.1e9), (WeightFormat::Q8, 7.5e9)] {
        let more = bytes(&uncached, format, &cpu) - bytes(&cached, format, &cpu);
        assert!((more as f64 / blocks - 1.0).abs() < 0.02, "{format}: {more}");
    }
    assert_eq!(bytes(&uncached, WeightFormat::F16, &cpu), bytes(&cached, WeightFormat::F16, &cpu));
}

#[test]
fn a_named_format_obeys_a_given_limit_alone() {
    let (shape, device) = (shape_7b(), DeviceInfo::cpu());
    let found = MemoryLimit { bytes: 3 << 30, given: false };
    let choose = |limit| memory::choose(WeightFormat::Q4, &shape, &device, &Workload::default(), limit);
    assert_eq!(
        choose(Some(found)).expect("a guess binds automatic weights alone").format(),
        WeightFormat::Q4
    );
    assert_eq!(choose(gibibytes(3)).expect_err("the user's limit").exit_code(), 5);
}

#[test]
fn dropping_shrinks_the_planned_cache_and_nothing_else_grows() {
    let (shape, device) = (shape_7b(), DeviceInfo::cpu());
    let precision = memory::precision(WeightFormat::Q4, shape.stored, &device).expect("a precision");
    let plan = |pruning| {
        let workload = Workload { picture: None, context: None, pruning };
        MemoryPlan::new(&shape, precision, &device, &workload).expect("a plan")
    };
    let dense = plan(None);
    assert_eq!(dense.cache_bytes, dense.dense_cache_bytes);
    // 32 layers of keys and values, 832 rows in steps of 256, 4,096 float32 each.
    assert_eq!(dense.cache_bytes, 32 * 2 * 1_024 * 4_096 * 4);
    let mut before = dense.clone();
    for keep in [192, 128, 64] {
        let pruned = plan(Some(Pruning::mustdrop().keep(Keep::Tokens(keep))));
        assert_eq!(pruned.dense_cache_bytes, dense.cache_bytes);
        assert!(pruned.cache_bytes <= before.cache_bytes && pruned.cache_bytes < dense.cache_bytes);
        assert!(pruned.evicted_cache_bytes <= pruned.cache_bytes && pruned.total_bytes < dense.total_bytes);
        before = pruned;
    }
}

/// By the plan, which [`the_measured_peak_is_within_a_tenth_of_the_plan`] holds to what is measured.
#[test]
fn the_prefill_of_a_7b_model_needs_little_beside_weights_and_cache() {
    let shape = shape_7b();
    let device = device::find(&DeviceSelect::Gpu).expect("an adapter");
    let precision = memory::precision(WeightFormat::Q4, shape.stored, &device).expect("a precision");
    for pruning in [None, Some(Pruning::mustdrop().keep(Keep::Tokens(64)))] {
        let workload = Workload { picture: None, context: None, pruning };
        let plan = MemoryPlan::new(&shape, precision, &device, &workload).expect("a plan");
        let beside = plan.total_bytes - plan.weights_bytes - plan.cache_bytes;
        // 832 rows: their residual stream and what is made of it, 4,096 wide; gates and what they let through, 11,008 wide.
        let rows_alone = 832 * (4_096 + 2 * 11_008) * 4;
        assert!(beside <= 200_000_000, "{beside} bytes, {workload:?}");
        assert!(workload.pruning.is_some() || beside > rows_alone, "{beside} bytes");
    }
}

#[test]
fn impossible_workloads_are_refused() {
    let (shape, device) = (shape_7b(), DeviceInfo::cpu());
    for context in [0, 576, 4_097, usize::MAX] {
        let workload = Workload { picture: None, context: Some(context), pruning: None };
        let error =
            MemoryPlan::new(&shape, Precision::default(), &device, &workload).expect_err("no such context");
        assert!(matches!(error, Error::Argument { .. }), "{error}");
    }
    let longest = Workload { picture: None, context: Some(4_096), pruning: None };
    MemoryPlan::new(&shape, Precision::default(), &device, &longest).expect("the model's whole context");
    for text in ["", "GB", "-1GB", "inf", "1e9", "0", "nan", "99999999999TB", "1.5.5GB"] {
        assert!(text.parse::<MemorySize>().is_err(), "{text:?} is no size");
    }
    assert_eq!("5.5 GiB".parse::<MemorySize>().expect("a size").0, 5_905_580_032);
    assert_eq!("6GB".parse::<MemorySize>().expect("a size").0, 6_000_000_000);
}

fn mustdrop(arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("mustdrop").expect("the program");
    command
        .args(arguments)
        .env_remove("MUSTDROP_MODEL")
        .env_remove("MUSTDROP_DEVICE")
        .output()
        .expect("it runs")
}

#[test]
fn the_command_prints_every_format_and_takes_one() {
    let arguments =
        ["plan", "--synthetic", "llava-1.5-7b", "--device", "cpu", "--memory", "6GB", "--keep", "64"];
    let output = mustdrop(&[&arguments[..], &["--json"]].concat());
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["takes"], "q4", "{json}");
    let fits: Vec<_> =
        json["plans"].as_array().expect("plans").iter().map(|plan| &plan["fits_memory"]).collect();
    assert_eq!(fits.last(), Some(&&Value::Bool(true)));
    assert!(fits.iter().rev().skip(1).all(|fits| **fits == Value::Bool(false)), "{json}");
    assert!(output.stderr.is_empty());
    let table = String::from_utf8(mustdrop(&arguments).stdout).expect("text");
    assert!(table.contains("q4 is what it takes") && table.contains("| q8"), "{table}");
    let nothing = mustdrop(&["plan", "--synthetic", "llava-1.5-7b", "--device", "cpu", "--memory", "1GB"]);
    assert!(String::from_utf8_lossy(&nothing.stdout).contains("nothing fits"));
    assert!(nothing.status.success(), "to ask is no mistake");
}

#[test]
fn a_model_over_its_memory_ends_with_exit_code_5() {
    let output = mustdrop(&["describe", "tests/data/none.png", "--memory", "lots"]);
    assert_eq!(output.status.code(), Some(2));
    let output = mustdrop(&["bench", "--runs", "0", "--device", "cpu", "--memory", "1MB"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{message}");
    assert!(message.contains("expected a plan of at most 1.0 MB (--memory)"), "{message}");
}
