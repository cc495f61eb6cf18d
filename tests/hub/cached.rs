//! What lies in the cache: quantisations, lists, and what is removed.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use super::{
    WEIGHTS, files, mustdrop, pull, said,
    server::{COMMIT, Server, sha256},
    stdout,
};
use crate::common::repository;

/// Files of a repository with two quantisations, one of them in two parts.
fn gguf_files() -> BTreeMap<String, Vec<u8>> {
    let names = [
        "llava-Q4_K_M.gguf",
        "llava-Q8_0-00001-of-00002.gguf",
        "llava-Q8_0-00002-of-00002.gguf",
        "mmproj-f32.gguf",
        "mmproj-f16.gguf",
        "README.md",
    ];
    names.map(|name| (name.to_owned(), name.repeat(1000).into_bytes())).into()
}

#[test]
fn one_quantisation_is_fetched_of_gguf_files_and_listed_and_refused() {
    let (files, cache) = (gguf_files(), tempfile::tempdir().expect("a folder"));
    let server = Server::start(files.clone(), None);
    let run = |arguments: &[&str]| mustdrop(&server, cache.path(), arguments).output().expect("it runs");
    for name in ["org/model", "org/model:Q5_0"] {
        let (code, stderr) = said(&run(&["pull", name]));
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains("org/model:Q4_K_M, org/model:Q8_0"), "{stderr}");
    }
    let output = run(&["pull", "org/model:q8_0"]);
    assert!(output.status.success(), "{:?}", said(&output));
    let folder = stdout(&output).trim_end().to_owned();
    let mut found: Vec<_> = fs::read_dir(&folder)
        .expect("a folder")
        .flatten()
        .map(|entry| entry.file_name().into_string().expect("a name"))
        .collect();
    found.sort();
    assert_eq!(
        found,
        ["llava-Q8_0-00001-of-00002.gguf", "llava-Q8_0-00002-of-00002.gguf", "mmproj-f16.gguf"]
    );
    assert_eq!(stdout(&run(&["pull", "org/model:Q8_0", "--offline"])).trim_end(), folder);
    let (code, stderr) = said(&run(&["pull", "org/model:Q4_K_M", "--offline"]));
    assert!(code == Some(3) && stderr.contains("mustdrop pull org/model:Q4_K_M"), "{stderr}");

    let listed = run(&["models"]);
    assert!(stdout(&listed).contains("GGUF Q8_0"), "{}", stdout(&listed));
    let before = server.requests().len();
    let file = format!("{folder}/llava-Q8_0-00001-of-00002.gguf");
    for model in ["org/model:Q8_0", &folder, &file] {
        let (code, stderr) = said(&run(&["describe", "--model", model, "--mmproj", "mmproj.gguf"]));
        assert!(code == Some(3) && stderr.contains("GGUF") && stderr.contains("not read yet"), "{stderr}");
    }
    assert_eq!(server.requests().len(), before, "nothing is fetched that cannot be run");
    let book = repository("models/picture-book").display().to_string();
    let (code, stderr) = said(&run(&["describe", "--model", &book, "--mmproj", "mmproj.gguf"]));
    assert!(code == Some(2) && stderr.contains("--mmproj"), "{stderr}");

    // A part that is missing is fetched; other quantisations join those there.
    fs::remove_file(&file).expect("it is there");
    assert_eq!(said(&run(&["pull", "org/model:Q8_0", "--offline"])).0, Some(3));
    assert!(run(&["pull", "org/model:Q8_0"]).status.success());
    assert!(run(&["pull", "org/model:Q4_K_M"]).status.success());
    let there = |name: &str| Path::new(&folder).join(name).exists();
    let removed = run(&["models", "rm", "org/model:Q4_K_M"]);
    assert!(removed.status.success(), "{:?}", said(&removed));
    assert!(!there("llava-Q4_K_M.gguf") && there("mmproj-f16.gguf"), "what others need stays");
    let (code, stderr) = said(&run(&["models", "rm", "org/model:F16"]));
    assert!(code == Some(3) && there("mmproj-f16.gguf"), "a tower is no quantisation: {stderr}");
    // With the last quantisation goes its tower, and a transfer of somebody else's stays.
    let blobs = cache.path().join("hub/models--org--model/blobs");
    fs::write(blobs.join("aaaa.incomplete"), b"half").expect("a file");
    assert!(run(&["models", "rm", "org/model:Q8_0"]).status.success());
    assert!(!Path::new(&folder).exists());
    let left: Vec<_> =
        fs::read_dir(&blobs).expect("a folder").flatten().map(|blob| blob.file_name()).collect();
    assert_eq!(left, ["aaaa.incomplete"]);
}

#[test]
fn gguf_files_do_not_stand_for_a_repositorys_safetensors() {
    let (mut all, cache) = (files(), tempfile::tempdir().expect("a folder"));
    all.extend(gguf_files());
    let server = Server::start(all.clone(), None);
    let run = |arguments: &[&str]| mustdrop(&server, cache.path(), arguments).output().expect("it runs");
    assert!(run(&["pull", "org/model:Q4_K_M"]).status.success());
    let output = run(&["pull", "org/model"]);
    assert!(output.status.success(), "{:?}", said(&output));
    let folder = Path::new(stdout(&output).trim_end());
    for name in ["config.json", WEIGHTS, "llava-Q4_K_M.gguf"] {
        assert!(folder.join(name).is_file(), "{name}");
    }
}

#[test]
#[cfg(unix)]
fn models_are_removed_with_what_nothing_else_needs() {
    let (files, cache) = (files(), tempfile::tempdir().expect("a folder"));
    let server = Server::start(files.clone(), None);
    let run = |arguments: &[&str]| mustdrop(&server, cache.path(), arguments).output().expect("it runs");
    assert!(run(&["pull", "org/model"]).status.success());
    let model = cache.path().join("hub/models--org--model");
    // A second commit, with the same weights and another configuration, as the hub's tools lay it down.
    let other = model.join("snapshots/fedcba9876543210fedcba9876543210fedcba98");
    fs::create_dir_all(&other).expect("a folder");
    let weights = model.join("blobs").join(sha256(&files[WEIGHTS]));
    fs::write(model.join("blobs/aaaa"), b"{}").expect("a blob");
    use std::os::unix::fs::symlink;
    for (blob, name) in [(sha256(&files[WEIGHTS]), WEIGHTS), ("aaaa".to_owned(), "config.json")] {
        symlink(format!("../../blobs/{blob}"), other.join(name)).expect("a link");
    }
    // What lies in folders counts, in what goes and in what stays.
    for (snapshot, blob) in [(&other, "bbbb"), (&model.join("snapshots").join(COMMIT), "cccc")] {
        fs::write(model.join("blobs").join(blob), b"{}").expect("a blob");
        fs::create_dir_all(snapshot.join("onnx")).expect("a folder");
        symlink(format!("../../../blobs/{blob}"), snapshot.join("onnx/model.onnx")).expect("a link");
    }
    for (name, commit) in [("v2", "fedcba9876543210fedcba9876543210fedcba98"), ("v1", COMMIT)] {
        fs::write(model.join("refs").join(name), commit).expect("a reference");
    }
    let removed = run(&["models", "rm", "org/model@v1"]);
    assert!(removed.status.success(), "{:?}", said(&removed));
    assert!(!model.join("refs/v1").exists() && model.join("refs/main").exists());
    assert!(run(&["pull", "org/model", "--offline"]).status.success(), "another name leads to that commit");
    let removed = run(&["models", "rm", "org/model@v2"]);
    assert!(removed.status.success(), "{:?}", said(&removed));
    assert!(!other.exists() && !model.join("refs/v2").exists());
    assert!(!model.join("blobs/aaaa").exists() && !model.join("blobs/bbbb").exists());
    assert!(weights.is_file() && model.join("blobs/cccc").is_file(), "the other commit needs them");
    assert!(run(&["pull", "org/model", "--offline"]).status.success());
    let removed = run(&["models", "rm", "org/model"]);
    let (code, stderr) = said(&removed);
    assert!(code == Some(0) && stderr.contains("3.0 MB"), "{stderr}");
    assert!(!model.exists());
    let (code, stderr) = said(&run(&["models", "rm", "org/model"]));
    assert!(code == Some(3) && stderr.contains("mustdrop models"), "{stderr}");
    assert_eq!(said(&run(&["models", "rm", "../model"])).0, Some(2));
}

#[test]
#[cfg(unix)]
fn a_link_to_a_blob_that_is_gone_is_said() {
    let (server, cache) = (Server::start(files(), None), tempfile::tempdir().expect("a folder"));
    let folder = pull(&server, cache.path()).expect("a model");
    for name in ["config.json", WEIGHTS] {
        let link = folder.join(name);
        fs::remove_file(fs::canonicalize(&link).expect("a blob")).expect("it is there");
    }
    let model = folder.display().to_string();
    let output = mustdrop(&server, cache.path(), &["describe", "--model", &model]).output().expect("it runs");
    let (code, stderr) = said(&output);
    assert!(code == Some(3) && stderr.contains("a link to") && stderr.contains("mustdrop pull"), "{stderr}");
}

#[test]
fn what_other_kinds_are_is_listed_with_the_reason() {
    let (server, cache) = (Server::start(files(), None), tempfile::tempdir().expect("a folder"));
    for (name, config) in [("models--x--bert", "{\"model_type\": \"bert\"}"), ("models--gpt2", "{")] {
        let folder = cache.path().join("hub").join(name).join("snapshots/aaaa");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("config.json"), config).expect("a file");
    }
    let output = mustdrop(&server, cache.path(), &["models"]).output().expect("it runs");
    let table = stdout(&output);
    let line = |name: &str| table.lines().find(|line| line.contains(name)).expect("a line").to_owned();
    assert!(
        line("x/bert").contains("| bert ") && line("x/bert").contains("no: model_type: expected"),
        "{table}"
    );
    assert!(line("gpt2").contains("| unknown "), "{table}");
}

/// The table of the README is what the program prints.
#[test]
fn known_models_have_sizes_and_licences() {
    let output = Command::new(env!("CARGO_BIN_EXE_mustdrop")).args(["models", "--known"]).output();
    let output = output.expect("it runs");
    let table = stdout(&output);
    assert!(table.lines().count() == 2 + mustdrop::hub::KNOWN.len(), "{table}");
    let line = table.lines().find(|line| line.contains("llava-1.5-7b-hf")).expect("a line");
    assert!(line.contains("14.1 GB") && line.contains("llama2"), "{line}");
    let readme = fs::read_to_string(repository("README.md")).expect("a file");
    for line in table.lines() {
        assert!(readme.contains(line), "not in README.md: {line}");
    }
}
