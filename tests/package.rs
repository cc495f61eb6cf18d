//! What others get of the project: the registry's package, and the library without the program.

use std::{fs, process::Command};

use crate::common::repository;
use sha2::{Digest, Sha256};

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--offline", "--manifest-path"])
        .arg(repository("Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_package_is_small_enough_for_the_registry_and_has_all_that_is_compiled_in() {
    let list = cargo(&["package", "--list", "--allow-dirty"]).replace('\\', "/");
    let sizes = list.lines().filter_map(|name| fs::metadata(repository(name)).ok()).map(|file| file.len());
    let bytes: u64 = sizes.sum();
    assert!((100_000..10_000_000).contains(&bytes), "{bytes} bytes, before they are packed");
    for name in ["build.rs", "src/lib.rs", "shaders/nn/attention.wgsl", "models/picture-book/sample_1.png"] {
        assert!(list.lines().any(|line| line == name), "{name} is left out");
    }
    assert!(!list.contains("model.safetensors"), "the weights are too large");
}

#[test]
fn the_library_alone_brings_nothing_of_the_program() {
    let tree = cargo(&["tree", "--locked", "--no-default-features", "--edges", "normal", "--prefix", "none"]);
    let brought: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(brought.contains(&"burn") && brought.contains(&"wgpu"), "{tree}");
    for name in ["axum", "clap", "ctrlc", "indicatif", "plotters", "rustyline", "tokio", "ureq"] {
        assert!(!brought.contains(&name), "{name}");
    }
}

#[test]
fn the_table_of_the_models_files_is_that_of_its_files() {
    let page = fs::read_to_string(repository("models/README.md")).expect("the page");
    let mut listed: Vec<String> =
        page.lines().filter(|line| line.ends_with("` |")).map(str::to_owned).collect();
    let files = fs::read_dir(repository("models/picture-book")).expect("the model");
    let mut expected: Vec<String> = files
        .map(|entry| entry.expect("a file"))
        .filter(|entry| entry.path().is_file() && entry.file_name() != "MODEL_CARD.md")
        .map(|entry| {
            let bytes = fs::read(entry.path()).expect("readable");
            let name = entry.file_name().into_string().expect("UTF-8");
            format!("| {name} | {} | `{:x}` |", bytes.len(), Sha256::digest(&bytes))
        })
        .collect();
    listed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(listed, expected);
}
