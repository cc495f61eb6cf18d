//! The real binary: what it prints where, its exit codes, its messages.

use std::{collections::HashMap, fs, path::Path};

use crate::common::tiny::{SIDE, Tiny};
use crate::common::{GOLDENS, golden, golden_json, repository};
use assert_cmd::Command;
use predicates::{prelude::*, str::contains};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::Value;

/// The program, with no hub to ask and none of the user's models at hand.
fn mustdrop() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mustdrop"));
    command.env("HF_HUB_OFFLINE", "1").env("HF_HUB_CACHE", repository("tests/golden/no-such-cache"));
    command
}

fn sample(name: &str) -> String {
    repository("models/picture-book").join(name).display().to_string()
}

/// The command fails with `code`, says all of `parts` on stderr, nothing on stdout, and never panics.
fn assert_refused(command: &mut Command, code: i32, parts: &[&str]) {
    let mut assert = command.assert().code(code).stdout("").stderr(contains("panicked").not());
    for part in parts {
        assert = assert.stderr(contains(*part));
    }
}

#[test]
fn describe_alone_answers_about_the_sample_it_ships_with() {
    mustdrop()
        .args(["describe", "--device", "cpu"])
        .current_dir(std::env::temp_dir())
        .assert()
        .success()
        .stdout(contains("watermelon").and(predicate::str::ends_with("\n")))
        .stderr(contains("device: CPU").and(contains("576 of them vision")));
}

#[test]
fn threads_are_as_many_as_asked_for() {
    for (threads, said) in [("1", "device: CPU, 1 thread,"), ("3", "device: CPU, 3 threads,")] {
        mustdrop()
            .args(["describe", "--device", "cpu", "--threads", threads])
            .assert()
            .success()
            .stdout(contains("watermelon"))
            .stderr(contains(said));
    }
    assert_refused(mustdrop().args(["devices", "--threads", "0"]), 2, &["--threads", "1..=1024"]);
}

#[test]
fn the_example_does_the_same() {
    let example = Path::new(env!("CARGO_BIN_EXE_mustdrop"))
        .with_file_name("examples")
        .join(format!("describe{}", std::env::consts::EXE_SUFFIX));
    assert!(example.exists(), "no {}: run `cargo build --example describe` first", example.display());
    Command::new(example)
        .args(["--device", "cpu"])
        .assert()
        .success()
        .stdout(contains("watermelon"))
        .stderr(contains("device: CPU").and(contains("576 vision tokens")));
}

#[test]
fn describe_names_the_software_adapter_it_was_told_to_use() {
    mustdrop()
        .args(["describe", &sample("sample_1.png"), "is there a spider?", "--device", "gpu"])
        .assert()
        .success()
        .stdout("no\n")
        .stderr(contains("device: ").and(contains("device: CPU").not()));
}

#[test]
fn a_picture_and_a_folder_of_ones_own_work_from_any_place_and_from_stdin() {
    let model = repository("models/picture-book").display().to_string();
    let arguments = ["is there a spider?", "--model", &model, "--device", "cpu"];
    mustdrop().args(["describe", &sample("sample_1.png")]).args(arguments).assert().success().stdout("no\n");
    let bytes = fs::read(sample("sample_1.png")).expect("a sample");
    mustdrop().args(["describe", "-"]).args(arguments).write_stdin(bytes).assert().success().stdout("no\n");
}

#[test]
fn json_is_one_object_on_stdout() {
    let output = mustdrop()
        .args([
            "describe",
            &sample("sample_1.png"),
            "what color is the background?",
            "--json",
            "--device",
            "cpu",
        ])
        .assert()
        .success();
    let json: Value = serde_json::from_slice(&output.get_output().stdout).expect("JSON and nothing else");
    assert_eq!(json["answer"], "pink");
    assert_eq!(json["vision_tokens"], 576);
    assert_eq!(json["stop"], "stop_token");
    assert_eq!(json["device"]["device_type"], "cpu");
    assert_eq!(json["kv_rows_per_layer"].as_array().expect("a list").len(), 12);
    assert!(json["work"].is_null(), "there is no adapter to work");
    assert!(json["times"]["prefill"].as_f64().expect("seconds") > 0.0);
}

#[test]
fn devices_lists_the_cpu_and_an_adapter_with_limits() {
    mustdrop()
        .arg("devices")
        .assert()
        .success()
        .stdout(contains("0: ").and(contains("backend")).and(contains("driver")).and(contains("cpu: CPU")))
        .stdout(contains("largest binding"));
    let output = mustdrop().args(["devices", "--json"]).assert().success();
    let json: Value = serde_json::from_slice(&output.get_output().stdout).expect("JSON");
    let devices = json.as_array().expect("a list");
    assert_eq!(devices.last().expect("the CPU")["device_type"], "cpu");
    assert!(devices[0]["max_binding_bytes"].as_u64().expect("bytes") >= 128 << 20);
}

#[test]
fn trace_prints_every_field_of_the_goldens() {
    for name in GOLDENS {
        let output = mustdrop().arg("trace").arg(golden(name)).args(["--device", "cpu"]).assert().success();
        let found: Value = serde_json::from_slice(&output.get_output().stdout).expect("one JSON object");
        let expected = golden_json(name, "expected.json");
        for (field, expected) in expected.as_object().expect("an object") {
            if !field.contains("margin") {
                assert_eq!(&found[field], expected, "{name}: {field}");
            }
        }
        for logits in ["next_token_logits", "dense_next_token_logits"] {
            assert_eq!(found[logits].as_array().expect("numbers").len(), 200);
        }
        assert!(found["device"].as_str().expect("text").starts_with("CPU"));
    }
}

#[test]
fn pixels_writes_a_tensor_and_leaves_nothing_else_behind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = folder.path().join("pixels.safetensors");
    for fit in ["crop", "pad"] {
        mustdrop()
            .args(["pixels", &sample("sample_3.png"), "--fit", fit, "--output"])
            .arg(&output)
            .assert()
            .success()
            .stdout("");
        let bytes = fs::read(&output).expect("a file");
        let file = safetensors::SafeTensors::deserialize(&bytes).expect("valid");
        let tensor = file.tensor("pixel_values").expect("the tensor");
        assert_eq!((tensor.shape(), tensor.dtype()), (&[3, 336, 336][..], safetensors::Dtype::F32));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }
    let mut command = mustdrop();
    command.args(["pixels", &sample("sample_3.png"), "--output", "/dev/null"]);
    assert_refused(&mut command, 2, &["--output", "/dev/null"]);
    let nowhere = folder.path().join("no/such/folder/pixels.safetensors");
    let mut command = mustdrop();
    command.args(["pixels", &sample("sample_3.png"), "--output"]).arg(&nowhere);
    assert_refused(&mut command, 1, &["pixels.safetensors"]);
}

#[test]
fn keep_drops_tokens_reports_it_and_draws_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let overlay = folder.path().join("kept.png");
    let output = mustdrop()
        .args(["describe", &sample("sample_5.png"), "--keep", "64", "--device", "cpu", "--json", "--overlay"])
        .arg(&overlay)
        .assert()
        .success();
    let json: Value = serde_json::from_slice(&output.get_output().stdout).expect("JSON and nothing else");
    let pruning = &json["pruning"];
    assert!((pruning["mean_vision_tokens"].as_f64().expect("a number") - 64.0).abs() <= 1.0);
    assert_eq!(pruning["vision_tokens_per_layer"].as_array().expect("a list").len(), 12);
    assert_eq!(pruning["pictures"][0]["kept"].as_array().expect("a list").len(), 1);
    assert!(mustdrop::Picture::open(&overlay).expect("a picture").width() > 1000);
    let mut alone = mustdrop();
    alone.args(["describe", &sample("sample_5.png"), "--keep", "64", "--device", "cpu", "--json"]);
    let output = alone.args(["--without", "filter"]).assert().success();
    let json: Value = serde_json::from_slice(&output.get_output().stdout).expect("JSON and nothing else");
    assert_eq!(json["pruning"]["mean_vision_tokens"], 64.0, "as many enter as the budget says");
    assert_eq!(json["pruning"]["pictures"][0]["picks"].as_array().expect("a list").len(), 64);

    // As the paper protects them: windows merged, tokens admitted by [CLS], dropped behind four layers.
    let mut by_class = mustdrop();
    let merged = ["--merge", "--without", "evict"];
    let mut by_coverage = mustdrop();
    by_coverage.args(["describe", &sample("sample_5.png"), "--keep", "64", "--device", "cpu", "--json"]);
    let output = by_coverage.args(merged).assert().success();
    let json: Value = serde_json::from_slice(&output.get_output().stdout).expect("JSON and nothing else");
    assert!(!json["pruning"]["pictures"][0]["merged_windows"].as_array().expect("a list").is_empty());
    by_class.args(["describe", &sample("sample_5.png"), "--keep", "64", "--device", "cpu", "--json"]);
    let output = by_class.args(["--admit", "class"]).assert().success();
    let json: Value = serde_json::from_slice(&output.get_output().stdout).expect("JSON and nothing else");
    let picture = &json["pruning"]["pictures"][0];
    assert_eq!(picture["kept"].as_array().expect("a list").len(), 4);
    assert!(!picture["merged_windows"].as_array().expect("a list").is_empty());
    assert_eq!(picture["picks"], Value::Array(Vec::new()));
}

#[test]
fn usage_errors_exit_with_2_and_name_what_was_expected() {
    let picture = sample("sample_1.png");
    let cases: &[(&[&str], &[&str])] = &[
        (&["describe", &picture, ""], &["QUESTION", "expected some words"]),
        (&["describe", "no/such/picture.png"], &["no/such/picture.png"]),
        (&["describe", env!("CARGO_MANIFEST_DIR")], &["directory"]),
        (&["describe", file!()], &["tests", "PNG"]),
        (&["describe", "-", "what?", "--image", "-"], &["PICTURE", "one picture from stdin"]),
        (&["describe", &picture, &picture], &["QUESTION", "--image"]),
        (&["describe", "~/photo.png"], &["~/photo.png", "home folder"]),
        (&["chat", &picture, "--show", "ascii"], &["--show", "sixel"]),
        (&["describe", &picture, "--device", ""], &["--device"]),
        (&["describe", &picture, "--turns", "requery"], &["--turns", "--keep"]),
        (&["describe", &picture, "--keep", "64", "--turns", "twice"], &["--turns", "pin, requery"]),
        (&["describe", &picture, "--keep", "64", "--admit", "chance"], &["--admit", "coverage, class"]),
        (&["describe", &picture, "--admit", "class"], &["--keep"]),
        (
            &["describe", &picture, "--keep", "9", "--policy", "pool", "--admit", "class"],
            &["--admit", "pool"],
        ),
        (&["describe", &picture, "--merge", "--keep", "9", "--without", "merge"], &["--merge", "--without"]),
        (&["describe", &picture, "--merge"], &["--keep"]),
        (&["describe", &picture, "--preset", "retain-64", "--admit", "class"], &["--admit", "--preset"]),
        (&["serve", "--keep", "64", "--turns", "requery"], &["--turns", "pin"]),
        (&["describe", &picture, "--weights", "q7"], &["q7", "f16"]),
        (&["describe", &picture, "--fit", "stretch"], &["stretch", "crop"]),
        (&["describe", &picture, "--temperature=-1"], &["temperature", "-1"]),
        (&["describe", &picture, "--temperature", "-1"], &["temperature", "found -1"]),
        (&["describe", &picture, "--top-p", "-0.1"], &["top_p", "found -0.1"]),
        (&["describe", &picture, "--keep", "-5"], &["--keep", "-5"]),
        (&["describe", &picture, "--seed", "-1"], &["--seed", "-1"]),
        (&["describe", &picture, "--temperature", "NaN"], &["temperature", "NaN"]),
        (&["describe", &picture, "--top-p", "1.5"], &["top_p", "1.5"]),
        (&["describe", &picture, "--top-k", "0"], &["top_k"]),
        (&["describe", &picture, "--max-new-tokens", "0"], &["max_new_tokens"]),
        (&["describe", &picture, "--stop", ""], &["stop"]),
        (&["describe", &picture, "--keep", "0"], &["--keep", "from 1 up"]),
        (&["describe", &picture, "--keep", "577"], &["--keep", "from 1 to 576"]),
        (&["describe", &picture, "--keep", "101%"], &["--keep", "101%"]),
        (
            &["describe", &picture, "--keep", "64", "--global-thr", "1", "--individual-thr", "1"],
            &["cannot be used"],
        ),
        (&["describe", &picture, "--global-thr", "0.1"], &["--individual-thr"]),
        (&["describe", &picture, "--global-thr=-1", "--individual-thr", "1"], &["global_threshold", "-1"]),
        (
            &["describe", &picture, "--global-thr", "1", "--individual-thr", "NaN"],
            &["individual_threshold", "NaN"],
        ),
        (&["describe", &picture, "--pruning-layers", "3,12"], &["pruning_layers", "0 to 10"]),
        (&["describe", &picture, "--pruning-layers", "3,2"], &["pruning_layers", "rising"]),
        (&["describe", &picture, "--without", "all"], &["--without", "merge, filter, evict"]),
        (&["describe", &picture, "--policy", "best"], &["--policy", "visionzip"]),
        (&["describe", &picture, "--policy", "random"], &["--keep", "random"]),
        (&["describe", &picture, "--policy", "pool", "--reference"], &["--reference", "mustdrop"]),
        (&["describe", &picture, "--policy", "fastv", "--keep", "10"], &["--keep", "at least 49"]),
        (&["describe", &picture, "--preset", "retain-1"], &["--preset", "retain-192"]),
        (&["describe", &picture, "--overlay", "kept.png"], &["--overlay", "--keep"]),
        (&["describe", &picture, "--keep", "64", "--overlay", &picture], &["--overlay", "is read"]),
        (&["describe", &picture, "a", "b"], &["unexpected argument"]),
        (&["frobnicate"], &["unrecognized subcommand"]),
        (&[], &["Usage"]),
    ];
    for (arguments, parts) in cases {
        assert_refused(mustdrop().args(*arguments).current_dir(repository("")), 2, parts);
    }
}

#[test]
fn a_model_that_is_missing_or_broken_exits_with_3() {
    let picture = sample("sample_1.png");
    let describe = |model: &Path| {
        let mut command = mustdrop();
        command.args(["describe", &picture, "--device", "cpu", "--model"]).arg(model);
        command
    };
    assert_refused(&mut describe(Path::new("no/such/model")), 3, &["no/such/model"]);
    assert_refused(&mut describe(Path::new("llava-hf/llava-1.5-7b-hf")), 3, &["llava-hf/llava-1.5-7b-hf"]);

    let folder = tempfile::tempdir().expect("a temporary folder");
    assert_refused(&mut describe(folder.path()), 3, &["config.json"]);
    Tiny::new().write(folder.path());
    assert_refused(&mut describe(folder.path()), 3, &["tokenizer.json"]);

    let mut trace = mustdrop();
    trace.arg("trace").arg(folder.path());
    assert_refused(&mut trace, 3, &["inputs.json"]);
    let bytes = fs::read(folder.path().join("model.safetensors")).expect("weights");
    fs::write(folder.path().join("model.safetensors"), &bytes[..bytes.len() / 2]).expect("writable");
    fs::write(folder.path().join("inputs.json"), r#"{ "input_ids": [1, 39, 2], "image_token_id": 39 }"#)
        .expect("writable");
    let pixels: Vec<u8> = [0.5f32; 3 * SIDE * SIDE].iter().flat_map(|value| value.to_le_bytes()).collect();
    let tensor = TensorView::new(Dtype::F32, vec![3, SIDE, SIDE], &pixels).expect("a tensor");
    let file = safetensors::serialize([("pixel_values", tensor)], None::<HashMap<String, String>>);
    fs::write(folder.path().join("inputs.safetensors"), file.expect("serialisable")).expect("writable");
    assert_refused(&mut trace, 3, &["cut short"]);
}

#[test]
fn a_device_that_is_not_there_exits_with_4_and_the_list_of_those_that_are() {
    let picture = sample("sample_1.png");
    for device in ["99", "no such adapter"] {
        let mut command = mustdrop();
        command.args(["describe", &picture, "--device", device]);
        assert_refused(&mut command, 4, &[device, "0: ", "cpu"]);
    }
}

#[test]
fn help_shows_examples_and_every_option() {
    mustdrop().arg("--help").assert().success().stdout(contains("describe").and(contains("devices")));
    mustdrop()
        .args(["describe", "--help"])
        .assert()
        .success()
        .stdout(contains("Examples").and(contains("--device")).and(contains("--max-new-tokens")));
    mustdrop().arg("--version").assert().success().stdout(contains(env!("CARGO_PKG_VERSION")));
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let program = env!("CARGO_BIN_EXE_mustdrop");
    for script in [
        format!("{program} describe --device cpu | true; echo ${{PIPESTATUS[0]}}"),
        format!("{program} describe --device cpu 2> >(true) >/dev/null; echo $?"),
    ] {
        Command::new("bash").args(["-c", &script]).assert().success().stdout("0\n");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_exits_with_130() {
    use std::{
        io::{BufRead, BufReader},
        process,
    };
    let mut child = process::Command::new(env!("CARGO_BIN_EXE_mustdrop"))
        .args(["describe", "-"])
        .stdin(process::Stdio::piped())
        .stdout(process::Stdio::null())
        .stderr(process::Stdio::piped())
        .env("MUSTDROP_LOG", "debug")
        .spawn()
        .expect("the program starts");
    let stdin = child.stdin.take(); // held open: waiting for the child would close it
    // It waits for a picture on stdin that never comes; the handler is installed before that.
    let stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut lines = stderr.lines().map(|line| line.expect("text"));
    assert!(lines.any(|line| line.contains("ready")), "the program says when it can be interrupted");
    let killed = process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill runs").success());
    assert_eq!(child.wait().expect("the program ends").code(), Some(130));
    drop(stdin);
}

#[test]
fn a_log_in_a_file_has_no_colours() {
    mustdrop()
        .args(["pixels", &sample("sample_1.png"), "--output"])
        .arg(tempfile::tempdir().expect("a folder").path().join("pixels.safetensors"))
        .env("MUSTDROP_LOG", "mustdrop=debug")
        .assert()
        .stderr(contains("ready").and(contains("\u{1b}").not()));
}
