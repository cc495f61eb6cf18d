//! What a layer and a step cost the device, counted from outside: a library in front of the Vulkan loader writes down
//! each call of a child process, which writes marks between them.

mod loops;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
    process::Command,
    sync::LazyLock,
};

use burn::tensor::Tensor;
use mustdrop::{
    DeviceSelect, Llava, Part,
    config::ModelConfig,
    device::{Compute, Meter, Work},
    drop::{
        Keep, Pruning,
        prefill::{Candidates, PrefillFilter},
    },
    kernel::{
        self,
        product::{self, Around},
        quantised::QuantisedMatrix,
        tally,
    },
    model::{Decoder, LlavaModel},
    report::AnswerWork,
    tiling::PictureShape,
    weights::Precision,
};

use crate::{
    common::{computes, noise, repository, synthetic},
    repeat,
};

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

/// What the child left behind.
struct Counted {
    /// Calls by mark, as the driver got them.
    outside: BTreeMap<String, Calls>,
    /// The same as the library counts them.
    inside: BTreeMap<String, Calls>,
    /// Every shader that the driver got, as SPIR-V.
    shaders: Vec<Vec<u32>>,
}

/// Runs [`child`] behind the counting library, once for all tests.
static COUNTED: LazyLock<Counted> = LazyLock::new(|| {
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
    let mut counted = Counted { outside: BTreeMap::new(), inside: BTreeMap::new(), shaders: Vec::new() };
    let mut mark = String::new();
    for line in fs::read_to_string(&calls).expect("calls were written down").lines() {
        let calls: &mut Calls = counted.outside.entry(mark.clone()).or_default();
        match line.split(' ').next().unwrap_or_default() {
            "mark" => mark = line["mark ".len()..].to_owned(),
            "dispatch" => calls.dispatches += 1,
            "submit" => calls.submissions += 1,
            "copy" => calls.copies += 1,
            "pipeline" => calls.pipelines += 1,
            "inside" => {
                // To ask for the number of submissions is one.
                calls.submissions -= 1;
                let numbers: Vec<usize> =
                    line.split(' ').skip(1).map(|number| number.parse().expect("a number")).collect();
                let [dispatches, submissions, copies, pipelines] = numbers[..] else { panic!("{line}") };
                let inside = Calls { dispatches, submissions, copies, pipelines };
                counted.inside.insert(mark.clone(), inside);
            }
            _ => panic!("{line}"),
        }
    }
    for entry in fs::read_dir(folder.path()).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension() == Some("spv".as_ref()) {
            counted.shaders.push(bytemuck::pod_collect_to_vec(&fs::read(path).expect("a file")));
        }
    }
    counted
});

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
/// Dispatches of a decoder layer in a step, if it has a sliding window.
const WINDOWED: usize = 8;
/// Dispatches of a filter: the attention that tokens receive, the choice, the rows that go on.
const FILTER: usize = 3;
/// Dispatches and submissions of a whole step of 12 layers, from the token to the next.
const STEP: (usize, usize) = (88, 3);

#[test]
fn layers_and_steps_cost_no_more_calls_than_they_may() {
    let found = &COUNTED.outside;
    for (format, ceilings) in CEILINGS {
        for (what, ceiling) in ["decode", "prefill", "tower"].into_iter().zip(ceilings) {
            let calls = of_a_layer(found, &format!("{what} {format}"));
            println!("{what}, {format}: {calls:?}");
            assert!(calls.dispatches <= ceiling, "{what}, {format}: {calls:?}, expected at most {ceiling}");
            assert!(calls.dispatches > 0, "{what}, {format}: nothing was counted");
            assert_eq!(calls.pipelines, 0, "{what}, {format}: pipelines are built once");
            assert_eq!(
                calls.copies, 0,
                "{what}, {format}: a layer brings nothing to the device, and copies no cache"
            );
        }
    }
    let window = of_a_layer(found, "window");
    println!("decode with a window: {window:?}");
    assert!((1..=WINDOWED).contains(&window.dispatches), "{window:?}");
    assert_eq!(window.copies, 0, "{window:?}");
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

/// What reports say of a device's work is what the driver was asked to do.
#[test]
fn the_library_counts_what_the_driver_gets() {
    let Counted { outside, inside, .. } = &*COUNTED;
    let mut pipelines = 0;
    // With quantised weights all of it is this crate's kernels, but in the tower: burn joins the class token, adds positions
    // and cuts the patches out. Rows of float embeddings are gathered by burn.
    for (what, of_burn) in [("tower", 3), ("prefill", 0), ("decode", 0)] {
        for format in ["q8", "q4"] {
            for (depth, round) in DEPTHS.into_iter().flat_map(|depth| [(depth, ""), (depth, " first")]) {
                let mark = format!("{what} {format} {depth}{round}");
                let (outside, inside) = (outside[&mark], inside[&mark]);
                println!("{mark}: {outside:?} outside, {inside:?} inside");
                let expected = Calls { dispatches: inside.dispatches + of_burn, ..inside };
                // Kernels of burn's are built in the first round, too.
                let outside =
                    if round.is_empty() { outside } else { Calls { pipelines: inside.pipelines, ..outside } };
                assert_eq!(outside, expected, "{mark}");
                pipelines += inside.pipelines;
            }
        }
    }
    assert_eq!(outside["step"], inside["step"]);
    // Of a whole answer, burn runs a few kernels, each with parameters of its own; the child compares the same counts with
    // the answer's report.
    let (all, own) = (outside["answer"], inside["answer"]);
    println!("answer: {all:?} outside, {own:?} inside");
    assert_eq!(all.submissions, own.submissions);
    let of_burn = all.dispatches - own.dispatches;
    assert!(of_burn < own.dispatches / 10, "{of_burn} dispatches");
    assert!((own.copies..=own.copies + of_burn).contains(&all.copies), "{of_burn} dispatches of burn");
    assert!(pipelines > 5, "kernels are built in the first round: {pipelines}");
    assert!(inside["step"].copies > 2, "{:?}", inside["step"]);
}

/// The process that is counted.
#[test]
#[ignore = "run by the other tests of this file"]
fn child() {
    let Some(calls) = std::env::var_os(CALLS) else { return };
    let compute = Compute::open(&DeviceSelect::Gpu).expect("an adapter");
    let meter = RefCell::new(None::<Meter>);
    let mark = |name: &str| {
        // What was queued before belongs to the mark before.
        compute.wait("count calls").expect("a device");
        let file = OpenOptions::new().append(true).open(Path::new(&calls));
        let mut file = file.expect("a file");
        let lap = meter.take().and_then(|meter| meter.lap(&compute));
        if let Some((Work { tally, submissions, .. }, _)) = lap {
            let copies = tally.host_writes + tally.read_backs;
            let (dispatches, pipelines) = (tally.dispatches, tally.pipelines);
            writeln!(file, "inside {dispatches} {submissions} {copies} {pipelines}")
                .expect("a writable file");
        }
        meter.replace(lap.map(|(_, next)| next).or_else(|| Meter::start(&compute)));
        writeln!(file, "mark {name}").expect("a writable file");
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
        let candidates = Candidates {
            is_key,
            layers: pruning.rules().layers(&PictureShape::square(7, 0), 4),
            sizes: Some(sizes),
            rows: None,
            score: None,
            standing: None,
        };
        let rows = decoder.embed(&[3; ROWS]);
        let positions: Vec<u32> = (0..ROWS as u32).collect();
        for round in [" first", ""] {
            let mut filter = PrefillFilter::new(&pruning);
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
    // A decoder whose window is outgrown writes the positions of rows, too.
    for depth in DEPTHS {
        let mut config = synthetic::config(256, depth, 512);
        config["text_config"]["model_type"] = "mistral".into();
        config["text_config"]["num_key_value_heads"] = 4.into();
        config["text_config"]["sliding_window"] = 50.into();
        let config = ModelConfig::parse(config.to_string().as_bytes(), Path::new("config.json"));
        let decoder = Decoder::synthetic(&config.expect("a configuration").text, &compute, FORMATS[3].1);
        let decoder = decoder.expect("a decoder");
        let mut cache = decoder.new_cache();
        let positions: Vec<u32> = (0..2 + ROWS as u32).collect();
        drop(decoder.forward(decoder.embed(&[3; ROWS]), &positions[..ROWS], &mut cache));
        drop(decoder.forward(decoder.embed(&[5]), &positions[ROWS..ROWS + 1], &mut cache));
        mark(&format!("window {depth}"));
        drop(decoder.forward(decoder.embed(&[5]), &positions[ROWS + 1..], &mut cache));
        mark("else");
    }
    // A whole answer, with what its report says.
    let llava = Llava::embedded().device(DeviceSelect::Gpu).build().expect("the default model");
    let picture = Part::image_path(repository("models/picture-book/sample_1.png")).expect("a picture");
    let mut chat = llava.chat().pruning(Pruning::mustdrop().keep(Keep::Tokens(64)));
    mark("answer");
    let (before, whole) = (tally::so_far(), Meter::start(&compute).expect("an adapter"));
    let mut answer = chat.ask([picture, Part::text("what is in the picture?")]).expect("an answer");
    answer.complete().expect("a complete answer");
    let AnswerWork { prompt, decode, .. } = answer.report().work.expect("an adapter");
    let mut reported = prompt.tally;
    reported += decode.tally;
    assert_eq!(reported, tally::so_far() - before);
    // The report asks for the number of submissions three times.
    let submissions = whole.submissions(reported, &compute).expect("an adapter");
    assert_eq!(prompt.submissions + decode.submissions + 3, submissions);
    mark("else");
    // Whatever else there is: kernels for GPUs with tiles and without, merged windows, quantised rows.
    for compute in &computes()[1..] {
        let model = repeat::model(compute, None);
        repeat::pass(&model, &repeat::pruning());
        let all = kernel::integers(vec![1; 3], [3], &compute.burn());
        drop(kernel::prefill::compact(&all, &all, 3, 0));
        let matrix = QuantisedMatrix::arbitrary(32, 32, 4, &compute.burn(), true);
        let (x, matrix) = (Tensor::ones([1, 32], &compute.burn()), matrix.operand().expect("on an adapter"));
        drop(product::product(&x, &[matrix], &Around::default(), compute.variants()));
    }
    mark("end");
}
