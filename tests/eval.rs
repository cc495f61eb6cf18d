//! `mustdrop eval` on the sample pictures: figures that can be recomputed, runs that go on, input that is refused.

use std::{fs, path::Path};

use crate::common::repository;
use assert_cmd::Command;
use mustdrop::{
    drop::PolicyName,
    eval::{
        Cost, Setting,
        questions::{Question, by_picture, read},
        records::{Record, Records},
        score::is_right,
    },
};
use predicates::{prelude::*, str::contains};
use serde_json::{Value, json};

fn eval(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mustdrop"));
    command.args(["eval", "--device", "cpu", "--images"]).arg(repository("models/picture-book"));
    command.arg("--data").arg(data);
    command
}

/// Questions about the first two sample pictures: as a file's text, with transformers' answers.
fn questions() -> (String, Vec<(Question, String)>) {
    let bytes = fs::read(repository("models/picture-book/samples.json")).expect("in the repository");
    let samples: Value = serde_json::from_slice(&bytes).expect("JSON");
    let mut lines = String::new();
    let mut answered = Vec::new();
    for sample in samples["samples"].as_array().expect("a list").iter().take(2) {
        for asked in sample["questions"].as_array().expect("a list") {
            let line = json!({
                "image": sample["image"], "question": asked["question"], "answers": [asked["answer"]],
                "type": asked["type"],
            });
            lines += &format!("{line}\n");
            let answer = asked["model_answer"].as_str().expect("text").to_owned();
            answered.push((serde_json::from_value(line).expect("a question"), answer));
        }
    }
    (lines, answered)
}

fn output(command: &mut Command) -> Value {
    let assert = command.arg("--json").assert().success();
    serde_json::from_slice(&assert.get_output().stdout).expect("JSON and nothing else")
}

#[test]
fn figures_are_those_of_the_answers_and_a_second_run_finds_them() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [data, results, plot] =
        ["questions.jsonl", "results.jsonl", "plot.svg"].map(|name| folder.path().join(name));
    let (lines, answered) = questions();
    fs::write(&data, &lines).expect("writable");

    let run = || {
        let mut command = eval(&data);
        command.args(["--policies", "mustdrop,none,random", "--keep", "64,12%", "--results"]).arg(&results);
        command.arg("--plot").arg(&plot);
        output(&mut command)
    };
    let first = run();
    let settings = first["settings"].as_array().expect("a list");
    let names: Vec<_> =
        settings.iter().map(|s| (s["policy"].as_str().expect("a name"), s["keep"].as_str())).collect();
    assert_eq!(
        names,
        [
            ("none", None),
            ("mustdrop", Some("64")),
            ("mustdrop", Some("12%")),
            ("random", Some("64")),
            ("random", Some("12%")),
        ]
    );
    let right = answered.iter().filter(|(question, answer)| is_right(question, answer)).count();
    let dense = &settings[0];
    assert_eq!(dense["total"], json!({ "questions": answered.len(), "right": right }));
    assert_eq!((&dense["of_dense"], &dense["vision_tokens"]), (&json!(1.0), &json!(576.0)));
    let kinds: u64 = dense["by_type"]
        .as_object()
        .expect("types")
        .values()
        .map(|tally| tally["questions"].as_u64().expect("a number"))
        .sum();
    assert_eq!(kinds as usize, answered.len());
    for pruned in &settings[1..] {
        let tokens = pruned["vision_tokens"].as_f64().expect("a number");
        assert!((tokens - 64.0).abs() <= 6.0, "64 tokens, or 12 % of 576, or less where merging leaves less");
        assert!(pruned["kv_bytes"].as_f64() < dense["kv_bytes"].as_f64());
    }
    let svg = fs::read_to_string(&plot).expect("drawn");
    assert!(svg.starts_with("<svg") && svg.contains("mustdrop") && svg.contains("random"));

    let recorded = fs::read_to_string(&results).expect("recorded");
    assert_eq!(recorded.lines().count(), 1 + 5 * answered.len());
    assert_eq!(run(), first, "nothing is left to do, times included");
    assert_eq!(fs::read_to_string(&results).expect("recorded"), recorded);

    // The last answers are lost, as after a stop: they come out the same again.
    let cut = recorded.lines().count() - 4;
    let kept: Vec<&str> = recorded.lines().take(cut).collect();
    fs::write(&results, kept.join("\n") + "\n{\"setting\": \"rand").expect("writable");
    let again = run();
    for (again, first) in again["settings"].as_array().expect("a list").iter().zip(settings) {
        assert_eq!((&again["total"], &again["by_type"]), (&first["total"], &first["by_type"]));
    }

    let mut other = eval(&data);
    other.args(["--seed", "1", "--results"]).arg(&results);
    other.assert().code(2).stderr(contains("--results"));
}

#[test]
fn the_table_has_a_row_a_setting_and_heeds_the_limit() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("questions.jsonl");
    fs::write(&data, questions().0).expect("writable");
    let assert = eval(&data)
        .args(["--policies", "none,fastv,pool", "--keep", "64,32", "--limit", "2"])
        .assert()
        .success()
        .stderr(contains("fastv 32 is left out").and(contains("at least 49")));
    let table = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 2 + 4, "{table}");
    assert!(rows[0].contains("of dense") && rows[2].contains("none") && rows[5].contains("pool"), "{table}");
}

#[test]
fn questions_that_are_none_are_refused_with_their_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("questions.jsonl");
    let good = r#"{"image": "sample_1.png", "question": "what?", "answers": ["x"], "type": "t"}"#;
    for (text, expected) in [
        ("", "at least one question"),
        ("not JSON", ":1:"),
        (&*format!("{good}\n\n{{\"image\": 3}}"), ":3:"),
        (&*good.replace("sample_1.png", "../config.json"), "not inside"),
        (&*good.replace("sample_1.png", "sample_99.png"), "--images"),
        (&*good.replace("[\"x\"]", "[]"), "no answer"),
        (&*good.replace("what?", " "), "empty question"),
    ] {
        fs::write(&data, text).expect("writable");
        eval(&data).assert().code(2).stdout("").stderr(contains(expected).and(contains("panicked").not()));
    }
    fs::write(&data, [b'{', 0xff]).expect("writable");
    eval(&data).assert().code(1).stderr(contains("questions.jsonl"));
    fs::write(&data, good).expect("writable");
    eval(&data).args(["--keep", "0"]).assert().code(2).stderr(contains("--keep"));
    eval(&data).args(["--keep", "577"]).assert().code(2).stderr(contains("from 1 to 576"));
    eval(&data).args(["--policies", "best"]).assert().code(2).stderr(contains("visionzip"));
    eval(&data).args(["--limit", "0"]).assert().code(2).stderr(contains("--limit"));
    eval(&folder.path().join("none.jsonl")).assert().code(1).stderr(contains("none.jsonl"));
}

#[test]
fn pictures_keep_the_order_of_their_first_question() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("questions.jsonl");
    let lines =
        ["b", "a", "b"].map(|image| json!({ "image": image, "question": "?", "answers": ["x"] }).to_string());
    fs::write(&data, lines.join("\n")).expect("writable");
    let questions = read(&data).expect("questions");
    assert_eq!(questions[0].kind, "question", "where no type is given");
    let groups = by_picture(&questions);
    assert_eq!(groups.iter().map(|group| group.0).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(groups[0].1.iter().map(|question| question.0).collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn records_go_on_where_they_were_cut_off() {
    let record = |question| {
        let setting = Setting { policy: PolicyName::None, keep: None };
        let cost = Cost { vision_tokens: 576.0, kv_bytes: 1, seconds: None };
        Record::new(&setting, question, "a \"dog\"\n".into(), cost)
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("results.jsonl");
    let mut records = Records::open(&path, "run 1").expect("a new file");
    records.add(record(0)).expect("written");
    records.add(record(1)).expect("written");
    drop(records);
    let whole = fs::read_to_string(&path).expect("readable");
    fs::write(&path, &whole[..whole.len() - 5]).expect("writable");

    let mut records = Records::open(&path, "run 1").expect("the same run");
    assert_eq!(records.get("none", 0), Some(&record(0)));
    assert_eq!(records.get("none", 1), None, "its line was cut off");
    records.add(record(1)).expect("written");
    assert_eq!(fs::read_to_string(&path).expect("readable"), whole);

    let error = Records::open(&path, "run 2").expect_err("another run").to_string();
    assert!(error.contains("--results"), "{error}");
}
