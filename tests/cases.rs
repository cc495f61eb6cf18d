//! Inputs of public reports about programs of this kind, each as a whole, through the program.
//!
//! A folder of `tests/golden/cases` holds the files that differ from `models/picture-book`.

use std::{fs, path::Path};

use crate::common::repository;
use assert_cmd::Command;
use predicates::{prelude::*, str::contains};
use serde_json::{Value, json};
use tempfile::TempDir;

fn mustdrop() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mustdrop"));
    command.env("HF_HUB_OFFLINE", "1").env_remove("MUSTDROP_MODEL").env_remove("MUSTDROP_DEVICE");
    command
}

fn case(name: &str) -> std::path::PathBuf {
    repository("tests/golden/cases").join(name)
}

fn sample() -> String {
    repository("models/picture-book/sample_1.png").display().to_string()
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
        }
    }
}

/// The model inside the program as a folder, with the files of a case over it.
fn model(name: Option<&str>) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    copy(&repository("models/picture-book"), folder.path());
    if let Some(name) = name {
        copy(&case(name), folder.path());
    }
    folder
}

fn prompt(folder: &TempDir, words: &[&str]) -> Value {
    let output =
        mustdrop().arg("prompt").args(words).arg("--model").arg(folder.path()).arg("--json").output();
    let output = output.expect("it ran");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn answer(folder: &TempDir, words: &[&str]) -> String {
    let output = mustdrop()
        .arg("describe")
        .args(words)
        .arg("--model")
        .arg(folder.path())
        .args(["--device", "cpu"])
        .output();
    let output = output.expect("it ran");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn refused(folder: &TempDir, code: i32, parts: &[&str]) {
    let mut assert = mustdrop()
        .args(["describe", &sample(), "--device", "cpu", "--model"])
        .arg(folder.path())
        .assert()
        .code(code);
    for part in parts {
        assert = assert.stderr(contains(*part));
    }
}

#[test]
fn pictures_are_whole_or_refused_and_upright() {
    for (file, parts) in [
        ("guitar_cut.jpg", ["cut short", "72 % of the picture are missing"]),
        ("real.heic", ["HEIC", "heif-convert"]),
    ] {
        let mut command = mustdrop();
        command
            .args(["describe", "--device", "cpu"])
            .arg(case(file))
            .assert()
            .code(2)
            .stderr(contains(parts[0]).and(contains(parts[1])));
    }
    let whole = fs::read(case("trunc_eoi.jpg")).expect("readable");
    let ended =
        mustdrop::Picture::decode(&[whole.as_slice(), &[0xFF, 0xD9]].concat(), "ended").expect("a picture");
    let cut = mustdrop::Picture::open(case("trunc_eoi.jpg")).expect("nothing but its end is missing");
    assert_eq!(cut.rgb(), ended.rgb());
    let turned = mustdrop::Picture::open(case("exif6_long.jpg")).expect("a picture");
    let bytes = fs::read(case("exif6_long.jpg")).expect("readable");
    let stored = image::load_from_memory(&bytes).expect("a picture");
    assert_eq!((turned.width() as u32, turned.height() as u32), (stored.height(), stored.width()));
    let expected = stored.rotate90().into_rgb8();
    assert_eq!(turned.rgb(), expected.as_raw().as_slice(), "orientation 6: a quarter to the right");
}

#[test]
fn templates_see_what_they_see_in_transformers() {
    for (name, question, expected) in [
        ("template-tools-none", "what is shown?", "user: <image>what is shown? assistant:"),
        ("template-tojson", "what's shown?", "user: <image>\"what's shown?\" assistant:"),
        ("template-in-processor-config", "what?", "no no no no no user: <image>what? assistant:"),
    ] {
        assert_eq!(prompt(&model(Some(name)), &[&sample(), question])["text"], expected, "{name}");
    }
    let folder = model(Some("template-crlf"));
    let source = fs::read_to_string(folder.path().join("chat_template.jinja")).expect("text");
    assert!(source.contains("\r\n"), "the case is about these");
    let text = prompt(&folder, &[&sample(), "what?"])["text"].as_str().expect("text").to_owned();
    assert!(!text.contains('\r') && text.contains("<image>\n"), "{text:?}");
}

#[test]
fn added_tokens_that_are_words_load_and_small_files_count() {
    let edit = |file: &str, change: &dyn Fn(&mut Value)| {
        let folder = model(None);
        let path = folder.path().join(file);
        let mut json: Value = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
        change(&mut json);
        fs::write(&path, json.to_string()).expect("writable");
        folder
    };
    let plain = prompt(&model(None), &[&sample(), "is there a dog? yes"]);
    // A word of the vocabulary, added as `add_tokens` does.
    let folder = edit("tokenizer.json", &|json| {
        let id = json["model"]["vocab"]["yes"].clone();
        let token = json!({ "id": id, "content": "yes", "single_word": false, "lstrip": false, "rstrip": false, "normalized": true, "special": false });
        json["added_tokens"].as_array_mut().expect("a list").push(token);
    });
    assert_eq!(prompt(&folder, &[&sample(), "is there a dog? yes"])["ids"], plain["ids"]);

    // `<image>` only in the configuration.
    let without_image = |json: &mut Value| {
        json["added_tokens"].as_array_mut().expect("a list").retain(|token| token["content"] != "<image>");
    };
    let folder = edit("tokenizer.json", &without_image);
    let described = json!({ "4": { "content": "<image>", "lstrip": false, "normalized": false, "rstrip": false, "single_word": false, "special": true } });
    for (file, json) in [
        ("tokenizer_config.json", json!({ "bos_token": "<s>", "added_tokens_decoder": described })),
        ("added_tokens.json", json!({ "<image>": 4 })),
    ] {
        let old = folder.path().join("tokenizer_config.json");
        fs::write(&old, json!({ "bos_token": "<s>" }).to_string()).expect("writable");
        fs::write(folder.path().join(file), json.to_string()).expect("writable");
        assert_eq!(prompt(&folder, &[&sample(), "is there a dog? yes"])["ids"], plain["ids"], "{file}");
    }
}

#[test]
fn a_tokenizer_of_another_model_is_the_model_s_fault() {
    let folder = model(None);
    let path = folder.path().join("tokenizer.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
    json["model"]["vocab"]["picture"] = 100_000.into();
    fs::write(&path, json.to_string()).expect("writable");
    refused(&folder, 3, &["tokenizer.json: makes the token 100000", "of another model"]);
}

#[test]
fn hints_are_no_limits_and_edge_values_mean_what_they_mean_elsewhere() {
    let greedy = answer(&model(None), &[&sample(), "describe the picture."]);
    assert_eq!(answer(&model(Some("model-max-length-512")), &[&sample(), "describe the picture."]), greedy);
    for seed in ["1", "2", "3"] {
        let sampled =
            answer(&model(Some("top-p-zero")), &[&sample(), "describe the picture.", "--seed", seed]);
        assert_eq!(sampled, greedy, "of nothing but the likeliest token");
    }
}

#[test]
fn what_is_wrong_with_a_model_is_said_when_it_is_loaded() {
    let folder = model(Some("preprocessor-without-size"));
    refused(&folder, 3, &["/preprocessor_config.json", "size: expected at least 336"]);
    fs::remove_file(folder.path().join("processor_config.json")).expect("removed");
    refused(&folder, 3, &["/preprocessor_config.json", "size: expected at least 336"]);
    let folder = model(None);
    for name in ["tokenizer.json", "model.safetensors"] {
        let path = folder.path().join(name);
        let whole = fs::read(&path).expect("readable");
        fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
            .expect("writable");
        refused(&folder, 3, &[name, "git lfs pull"]);
        fs::write(&path, whole).expect("writable");
    }
}

#[test]
fn a_prompt_is_shown_without_the_weights() {
    let folder = model(None);
    fs::remove_file(folder.path().join("model.safetensors")).expect("removed");
    let shown = prompt(&folder, &[&sample(), &sample(), "which\tone <image>?", "--system", "Be terse."]);
    assert_eq!(
        shown["text"],
        "ASSISTANT: Be terse.</s>USER: <image>\n<image>\nwhich\tone <image>? ASSISTANT:"
    );
    let ids = shown["ids"].as_array().expect("ids");
    let pictures = shown["pictures"].as_array().expect("pictures");
    assert_eq!((ids.len(), pictures.len()), (shown["tokens"].as_array().expect("tokens").len(), 2));
    for picture in pictures {
        let (first, tokens) = (
            picture["first"].as_u64().expect("a place") as usize,
            picture["tokens"].as_u64().expect("a number") as usize,
        );
        assert_eq!(tokens, 576);
        assert!(ids[first..first + tokens].iter().all(|id| *id == 4));
        assert_eq!(picture["picture"], sample());
    }
    assert_eq!(ids.iter().filter(|id| **id == 4).count(), 2 * 576, "nobody can say a picture");

    let run =
        |words: &[&str]| mustdrop().arg("prompt").args(words).arg("--model").arg(folder.path()).assert();
    let line = run(&["hi", "--ids"]).success();
    let line = String::from_utf8(line.get_output().stdout.clone()).expect("text");
    assert!(
        line.trim_end().split(' ').all(|id| id.parse::<u32>().is_ok()) && line.ends_with('\n'),
        "{line:?}"
    );
    run(&[&sample(), "what  now?"])
        .success()
        .stdout(contains("USER:·<image>⏎").and(contains("what··now?·")).and(contains("<image> x 576")));
    run(&["missing.png"]).code(2).stderr(contains("missing.png"));
    run(&[&sample(), "  "]).code(2).stderr(contains("QUESTION"));
    run(&["hi"]).success().stdout(contains("chat_template.jinja"));
}

#[test]
fn variables_that_are_empty_are_unset() {
    mustdrop()
        .args(["describe", &sample()])
        .env("MUSTDROP_DEVICE", "")
        .env("MUSTDROP_MODEL", "")
        .args(["--device", "cpu"])
        .assert()
        .success();
    mustdrop().args(["prompt", "hi"]).env("MUSTDROP_MODEL", "").assert().success();
}

#[test]
fn words_in_the_place_of_a_picture_are_understood() {
    for (word, hint) in [
        ("What is this?", "the picture comes before it"),
        ("https://example.org/cat.jpg", "download it first"),
        ("/dev/stdin", "`-` reads a picture from stdin"),
    ] {
        mustdrop().args(["describe", word]).assert().code(2).stderr(contains(hint));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_named() {
    let full = fs::File::options().write(true).open("/dev/full").expect("it is there");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_mustdrop"))
        .args(["prompt", "hi"])
        .stdout(full)
        .output();
    let output = output.expect("it ran");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && message.contains("<stdout>: No space left"), "{message}");
}

/// An answer reaches a terminal with its control characters shown, and a pipe as it is.
#[test]
#[cfg(target_os = "linux")]
fn control_characters_are_shown_on_a_terminal_alone() {
    // A token that the model says, which now spells what a terminal would obey.
    let folder = model(None);
    let path = folder.path().join("tokenizer.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
    let vocabulary = json["model"]["vocab"].as_object_mut().expect("words");
    let spider = vocabulary.remove("no").or(vocabulary.remove("▁no")).expect("a word");
    vocabulary.insert("\u{1b}[31mno".into(), spider);
    fs::write(&path, json.to_string()).expect("writable");
    let words = [&sample(), "is there a dog?"];
    let raw = answer(&folder, &words);
    assert!(raw.contains('\u{1b}'), "{raw:?}");
    let command = format!(
        "{} describe {} '{}' --device cpu --model {}",
        env!("CARGO_BIN_EXE_mustdrop"),
        words[0],
        words[1],
        folder.path().display()
    );
    let shown = std::process::Command::new("script").args(["-qec", &command, "/dev/null"]).output();
    let shown = String::from_utf8_lossy(&shown.expect("script, of util-linux").stdout).into_owned();
    assert!(shown.contains("\u{241b}[31mno") && !shown.contains("\u{1b}[31m"), "{shown:?}");
}
