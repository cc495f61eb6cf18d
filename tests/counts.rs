//! What a layer and a step cost the device, counted from outside: a library in front of the Vulkan loader writes down
//! each call of a child process, which writes marks between them.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
    process::Command,
};

use burn::tensor::Tensor;
use mustdrop::{
    DeviceSelect,
    config::ModelConfig,
    device::Compute,
    drop::{
        Pruning,
        prefill::{Candidates, PrefillFilter},
    },
    kernel,
    model::{Decoder, LlavaModel},
    weights::Precision,
};

use crate::common::{noise, repository, synthetic};

/// Names the file of calls to the child.
const CALLS: &str = "VULKAN_CALLS";
const FORMATS: [(&str, Precision); 4] = [
    ("f32", Precision { half: false, bits: None }),
    ("f16", Precision { half: true, bits: None }),
    ("q8", Precision { half: false, bits: Some(8) }),
    ("q4", Precision { half: false, bits: Some(4) }),
];
const DEPTHS: [usize; 2] = [1, 2];
const ROWS: usize = 70;

/// The calls between a mark and the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Calls {
    dispatches: usize,
    submissions: usize,
    copies: usize,
    pipelines: usize,
}

/// Runs [`child`] behind the counting library, and returns its calls by mark.
fn counted() -> BTreeMap<String, Calls> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (library, calls) = (folder.path().join("vulkan_calls.so"), folder.path().join("calls"));
    // A linker is there wherever Rust is, and `cc` is what Rust calls it by.
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(repository("tests/counts/vulkan_calls.c"))
        .args(["-ldl"])
        .status();
    assert!(built.expect("a C compiler").success());
    let program = std::env::current_exe().expect("a path");
    let done = Command::new(program)
        .args(["--exact", "counts::child", "--nocapture", "--ignored"])
        .env("LD_PRELOAD", &library)
        .env(CALLS, &calls)
        .output()
        .expect("the tests start");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let mut found = BTreeMap::new();
    let mut mark = String::new();
    for line in fs::read_to_string(&calls).expect("calls were written down").lines() {
        let calls: &mut Calls = found.entry(mark.clone()).or_default();
        match line.split(' ').next().unwrap_or_default() {
            "mark" => mark = line["mark ".len()..].to_owned(),
            "dispatch" => calls.dispatches += 1,
            "submit" => calls.submissions += 1,
            "copy" => calls.copies += 1,
            "pipeline" => calls.pipelines += 1,
            _ => panic!("{line}"),
        }
    }
    found
}

/// What the second layer added.
fn of_a_layer(found: &BTreeMap<String, Calls>, what: &str) -> Calls {
    let [one, two] = DEPTHS.map(|depth| found[&format!("{what} {depth}")]);
    Calls {
        dispatches: two.dispatches.saturating_sub(one.dispatches),
        submissions: two.submissions.saturating_sub(one.submissions),
        copies: two.copies.saturating_sub(one.copies),
        pipelines: two.pipelines.saturating_sub(one.pipelines),
    }
}

/// Dispatches that a layer may cost at most, by the format of its weights: of a decoder in a step and in a prefill, and of
/// a tower.
const CEILINGS: [(&str, [usize; 3]); 4] =
    [("f32", [7, 8, 7]), ("f16", [7, 8, 7]), ("q8", [7, 8, 7]), ("q4", [7, 8, 7])];
/// Dispatches of a filter: the attention that tokens receive, the choice, the rows that go on.
const FILTER: usize = 3;
/// Dispatches and submissions of a whole step of 12 layers, from the token to the next.
const STEP: (usize, usize) = (88, 3);

#[test]
fn layers_and_steps_cost_no_more_calls_than_they_may() {
    let found = counted();
    for (format, ceilings) in CEILINGS {
        for (what, ceiling) in ["decode", "prefill", "tower"].into_iter().zip(ceilings) {
            let calls = of_a_layer(&found, &format!("{what} {format}"));
            println!("{what}, {format}: {calls:?}");
            assert!(calls.dispatches <= ceiling, "{what}, {format}: {calls:?}, expected at most {ceiling}");
            assert!(calls.dispatches > 0, "{what}, {format}: nothing was counted");
            assert_eq!(calls.pipelines, 0, "{what}, {format}: pipelines are built once");
        }
    }
    // What the second filter of a prefill costs, with the dispatches that it spares nobody.
    let [one, two] = [1, 2].map(|filters| found[&format!("filters {filters}")]);
    println!("filters: {one:?}, {two:?}");
    assert!(one.dispatches > found["filters 0"].dispatches);
    assert_eq!(two.dispatches - one.dispatches, FILTER, "{one:?}, {two:?}");
    let step = found["step"];
    println!("step: {step:?}");
    assert!((1..=STEP.0).contains(&step.dispatches), "{step:?}");
    assert!((1..=STEP.1).contains(&step.submissions), "{step:?}");
    assert_eq!(step.pipelines, 0, "{step:?}");
}

/// The process that is counted.
#[test]
#[ignore = "run by layers_and_steps_cost_no_more_calls_than_they_may"]
fn child() {
    let Some(calls) = std::env::var_os(CALLS) else { return };
    let compute = Compute::open(&DeviceSelect::Gpu).expect("an adapter");
    let mark = |name: &str| {
        // What was queued before belongs to the mark before.
        compute.burn().sync().expect("a device");
        let file = OpenOptions::new().append(true).open(Path::new(&calls));
        writeln!(file.expect("a file"), "mark {name}").expect("a writable file");
    };
    for (format, precision) in FORMATS {
        for depth in DEPTHS {
            let mut config = synthetic::config(256, depth, 512);
            config["vision_config"]["num_hidden_layers"] = (depth + 2).into();
            let config = ModelConfig::parse(config.to_string().as_bytes(), Path::new("config.json"))
                .expect("a configuration");
            let model = LlavaModel::synthetic(&config, &compute, precision).expect("a model");
            let pixels = noise(1, 3 * 336 * 336);
            let rows = model.decoder.embed(&[3; ROWS]);
            let positions: Vec<u32> = (0..=ROWS as u32).collect();
            // Kernels are built in the first round.
            for round in ["first", "second"] {
                let mark = |what: &str| {
                    mark(&format!("{what} {format} {depth}{}", if round == "first" { " first" } else { "" }))
                };
                mark("tower");
                drop(model.vision.features(&pixels));
                mark("prefill");
                let mut cache = model.decoder.new_cache();
                drop(model.decoder.forward(rows.clone(), &positions[..ROWS], &mut cache));
                mark("decode");
                let row: Tensor<2> = model.decoder.embed(&[5]);
                drop(model.decoder.forward(row, &positions[ROWS..], &mut cache));
                mark("else");
            }
        }
    }
    for filters in 0..3 {
        let config = synthetic::config(256, 4, 512);
        let config = ModelConfig::parse(config.to_string().as_bytes(), Path::new("config.json"));
        let decoder = Decoder::synthetic(&config.expect("a configuration").text, &compute, FORMATS[3].1);
        let decoder = decoder.expect("a decoder");
        let mut pruning = Pruning::mustdrop();
        pruning.evict = false;
        pruning.pruning_layers = Some((0..filters).collect());
        let sizes = (0..filters).map(|filter| 40 - 10 * filter).collect();
        let is_key = kernel::integers(vec![0; 50], [50], &compute.burn());
        let candidates = Candidates { is_key, sizes: Some(sizes), rows: None, class_attention: None };
        let rows = decoder.embed(&[3; ROWS]);
        let positions: Vec<u32> = (0..ROWS as u32).collect();
        for round in [" first", ""] {
            let mut filter = PrefillFilter::new(&pruning, 50, 4);
            filter.add_picture(10, &candidates);
            mark(&format!("filters {filters}{round}"));
            let mut cache = decoder.new_cache();
            drop(decoder.prefill(rows.clone(), &positions, &mut cache, &mut filter).expect("a pass"));
            mark("else");
            assert_eq!(cache.rows_per_layer()[3], if filters == 2 { 50 } else { ROWS - 10 * filters });
        }
    }
    let config = synthetic::config(256, 12, 512);
    let config = ModelConfig::parse(config.to_string().as_bytes(), Path::new("config.json"));
    let decoder = Decoder::synthetic(&config.expect("a configuration").text, &compute, FORMATS[3].1);
    let decoder = decoder.expect("a decoder");
    let mut cache = decoder.new_cache();
    let mut step = |token, position: usize| {
        let hidden = decoder.forward(decoder.embed(&[token]), &[position as u32], &mut cache);
        decoder.head(hidden).most_likely().expect("a token")
    };
    let token = (0..40).fold(1, &mut step);
    mark("step");
    step(token, 40);
    mark("else");
}
