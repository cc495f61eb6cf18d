//! `mustdrop doctor` on this machine, whose adapter is a software one if need be.

use std::process::{Command, Output};

use serde_json::Value;

fn doctor(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mustdrop"))
        .arg("doctor")
        .args(arguments)
        .env_remove("MUSTDROP_DEVICE")
        .env_remove("XDG_RUNTIME_DIR")
        .env("HF_TOKEN", "secret")
        .env("HF_API_KEY", "secret")
        .env("HF_ENDPOINT", "https://someone:secret@example.com")
        .env("HF_HOME", "somewhere")
        .output()
        .expect("it runs")
}

#[test]
fn it_names_devices_and_folders_and_no_secrets() {
    let output = doctor(&["--json"]);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    let devices = json["devices"].as_array().expect("devices");
    assert_eq!(devices.last().expect("one at least")["device_type"], "cpu");
    assert!(
        devices.iter().all(|device| device["driver"].is_string() && device["max_binding_bytes"].is_u64())
    );
    assert!(json["folders"]["quantised weights"].is_string());
    assert_eq!(json["variables"]["HF_TOKEN"], "(set)");
    assert_eq!(json["variables"]["HF_HOME"], "somewhere");
    assert!(json["selftest"].is_null(), "it is asked for");
    let text = doctor(&[]).stdout;
    let text = String::from_utf8(text).expect("text");
    assert!(
        text.contains("cpu: CPU") && text.contains("HF_TOKEN=(set)") && !text.contains("secret"),
        "{text}"
    );
}

#[test]
fn the_adapter_passes_its_selftest() {
    let output = doctor(&["--selftest", "--device", "gpu", "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(output.status.success(), "{json:#}");
    let stages = json["selftest"]["stages"].as_array().expect("stages");
    let names: Vec<_> = stages.iter().filter_map(|stage| stage["name"].as_str()).collect();
    for name in [
        "vision tower and projector, f32",
        "decoder, f32",
        "head, q4",
        "tokens picked, by coverage",
        "protected tokens, by coverage",
        "merged windows, by class",
        "protected tokens, by class",
        "answer, by class",
    ] {
        assert!(names.contains(&name), "no {name} in {names:?}");
    }
    assert!(stages.iter().all(|stage| stage["passed"] == true), "{json:#}");
    // Two implementations that round the same everywhere would be one.
    assert!(stages.iter().any(|stage| stage["error"].as_f64().is_some_and(|error| error > 0.0)), "{json:#}");
}

#[test]
fn an_adapter_that_is_not_there_ends_it_with_exit_code_4() {
    let output = doctor(&["--selftest", "--device", "no such adapter"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no such adapter"));
}
