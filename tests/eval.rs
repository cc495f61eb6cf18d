//! `mustdrop eval` on the sample pictures: figures that can be recomputed, runs that go on, input that is refused.

use std::{fs, path::Path};

use crate::common::{MODEL, repository, samples};
use assert_cmd::Command;
use mustdrop::eval::{
    Setting, ask_about,
    questions::{Question, by_picture, read, sample},
    records::Outcome,
    score::is_right,
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
    let mut lines = String::new();
    let mut answered = Vec::new();
    for sample in samples().iter().take(2) {
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
        command
            .args([
                "--policies",
                "mustdrop,none,random",
                "--keep",
                "64,7%",
                "--admit",
                "coverage,class",
                "--without",
                "filter,merge+evict",
                "--results",
            ])
            .arg(&results);
        command.arg("--plot").arg(&plot);
        output(&mut command)
    };
    let first = run();
    let settings = first["settings"].as_array().expect("a list");
    let name = |s: &Value| json!([s["policy"], s["admit"], s["without"], s["keep"]]);
    let names: Vec<_> = settings.iter().map(name).collect();
    let mut expected = vec![json!(["none", null, null, null])];
    for (admit, without) in [
        ("coverage", json!([])),
        ("coverage", json!(["filter"])),
        // Nothing is merged there anyway.
        ("coverage", json!(["evict"])),
        ("class", json!([])),
        ("class", json!(["filter"])),
        ("class", json!(["merge", "evict"])),
    ] {
        expected.extend(["64", "7%"].map(|keep| json!(["mustdrop", admit, without, keep])));
    }
    expected.extend(["64", "7%"].map(|keep| json!(["random", null, null, keep])));
    assert_eq!(names, expected);
    let right = answered.iter().filter(|(question, answer)| is_right(question, answer)).count();
    let dense = &settings[0];
    assert_eq!(dense["total"], json!({ "questions": answered.len(), "right": right }));
    assert_eq!((&dense["of_dense"], &dense["vision_tokens"]), (&json!(1.0), &json!(576.0)));
    assert_eq!(dense["of_dense_interval"], json!([1.0, 1.0]), "paired");
    let kinds: u64 = dense["by_type"]
        .as_object()
        .expect("types")
        .values()
        .map(|tally| tally["questions"].as_u64().expect("a number"))
        .sum();
    assert_eq!(kinds as usize, answered.len());
    for pruned in &settings[1..] {
        let tokens = pruned["vision_tokens"].as_f64().expect("a number");
        let budget = if pruned["keep"] == "64" { 64.0 } else { 40.0 };
        assert!((tokens - budget).abs() <= 1.0, "{tokens} instead of {budget}");
        assert!(pruned["kv_bytes"].as_f64() < dense["kv_bytes"].as_f64());
    }
    let svg = fs::read_to_string(&plot).expect("drawn");
    assert!(svg.starts_with("<svg") && svg.contains("mustdrop") && svg.contains("random"));

    let recorded = fs::read_to_string(&results).expect("recorded");
    assert_eq!(recorded.lines().count(), 1 + settings.len() * answered.len());
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
    assert_eq!(rows.len(), 2 * (2 + 4), "{table}");
    let assert = eval(&data)
        .args([
            "--policies",
            "mustdrop",
            "--merge",
            "--pruning-layers",
            "3+7",
            "--keep",
            "64",
            "--limit",
            "1",
        ])
        .assert()
        .success();
    let changed = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    let first_cells = changed.lines().filter_map(|line| line.split('|').nth(1).map(str::trim));
    let ways: Vec<&str> = first_cells.filter(|way| way.starts_with("mustdrop")).collect();
    let expected = ["mustdrop", "mustdrop with merge", "mustdrop behind 3 and 7"];
    assert_eq!(ways, [expected, expected].concat(), "{changed}");
    assert!(rows[0].contains("of dense") && rows[2].contains("none") && rows[5].contains("pool"), "{table}");
    assert!(rows[6].contains("describe") && rows[8].contains("none") && rows[11].contains("pool"), "{table}");
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
    eval(&data)
        .args(["--policies", "pool", "--pruning-layers", "3+7"])
        .assert()
        .code(2)
        .stderr(contains("mustdrop among --policies"));
    eval(&data).args(["--pruning-layers", "3-7"]).assert().code(2).stderr(contains("as in 3 or 3+7"));
    eval(&data).args(["--policies", "best"]).assert().code(2).stderr(contains("visionzip"));
    eval(&data).args(["--without", "merge+all"]).assert().code(2).stderr(contains("merge, filter, evict"));
    eval(&data)
        .args(["--policies", "pool", "--without", "merge"])
        .assert()
        .code(2)
        .stderr(contains("--without"));
    eval(&data).arg("--plot").arg(&data).assert().code(2).stderr(contains("--plot").and(contains("is read")));
    assert_eq!(fs::read_to_string(&data).expect("still there"), good);
    let new = folder.path().join("new");
    eval(&data)
        .arg("--plot")
        .arg(&new)
        .arg("--results")
        .arg(&new)
        .assert()
        .code(2)
        .stderr(contains("is read"));
    eval(&data).args(["--limit", "1", "--sample", "1"]).assert().code(2).stderr(contains("--sample"));
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
fn a_question_that_is_too_long_is_recorded_and_the_run_goes_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("questions.jsonl");
    let ask = |question: &str, right: &str| {
        let line = json!({ "image": "sample_1.png", "question": question, "answers": [right], "type": "t" });
        format!("{line}\n")
    };
    let lines =
        [ask("is there an elephant?", "yes"), ask(&"dog ".repeat(2000), ""), ask("is there a spider?", "no")];
    fs::write(&data, lines.concat()).expect("writable");
    let mut command = eval(&data);
    command.args(["--policies", "none,mustdrop,none,mustdrop", "--keep", "64,64", "--json"]);
    let assert = command.assert().success().stderr(contains("2 times the model did not take a question"));
    let output: Value = serde_json::from_slice(&assert.get_output().stdout).expect("JSON");
    assert_eq!(output["settings"].as_array().expect("a list").len(), 2, "each setting once");
    for setting in output["settings"].as_array().expect("a list") {
        assert_eq!(setting["total"], json!({ "questions": 3, "right": 2 }), "{setting}");
        assert_eq!(setting["refused"], 1);
    }
    assert_eq!(output["settings"][0]["vision_tokens"], 576.0, "of the questions that were taken");
}

#[test]
fn a_run_goes_on_with_what_is_new_and_not_with_another_model() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("model");
    fs::create_dir(&model).expect("a folder");
    let own = repository("models/picture-book");
    for entry in fs::read_dir(&own).expect("the model").map(|entry| entry.expect("a file")) {
        if entry.path().is_file() {
            fs::copy(entry.path(), model.join(entry.file_name())).expect("copied");
        }
    }
    let [data, results] = ["questions.jsonl", "results.jsonl"].map(|name| model.join(name));
    let line = |question: &str, right: &str| {
        let line = json!({ "image": "sample_1.png", "question": question, "answers": [right] });
        format!("{line}\n")
    };
    let run = |lines: &str| {
        fs::write(&data, lines).expect("writable");
        let mut command = Command::new(env!("CARGO_BIN_EXE_mustdrop"));
        command.args(["eval", "--device", "cpu", "--policies", "none", "--json", "--data"]).arg(&data);
        command.arg("--model").arg(&model).arg("--results").arg(&results).assert()
    };
    let answered = |lines: &str, right: u64| {
        let output = run(lines).success();
        let output: Value = serde_json::from_slice(&output.get_output().stdout).expect("JSON");
        assert_eq!(output["settings"][0]["total"]["right"], right, "{lines}");
        fs::read_to_string(&results).expect("recorded").lines().count() - 1
    };
    assert_eq!(answered(&line("is there an elephant?", "no"), 0), 1);
    assert_eq!(answered(&line("is there an elephant?", "yes"), 1), 1, "another right answer costs nothing");
    let two = line("is there a spider?", "no") + &line("is there an elephant?", "yes");
    assert_eq!(answered(&format!("\u{feff}{two}"), 2), 2, "a new question is asked, the old one is not");

    // The same file with another picture in it: both are asked again.
    fs::copy(own.join("sample_2.png"), model.join("sample_1.png")).expect("copied");
    assert_eq!(answered(&two, 1), 4);
    fs::copy(own.join("sample_1.png"), model.join("sample_1.png")).expect("copied");
    assert_eq!(answered(&two, 2), 4);

    let template = fs::read(model.join("chat_template.jinja")).expect("a template");
    fs::write(model.join("chat_template.jinja"), [b"Hello. ", &template[..]].concat()).expect("writable");
    run(&two).code(2).stderr(contains("--results").and(contains("of others")));
}

#[test]
fn a_sample_is_of_whole_pictures_in_the_files_order() {
    let question = |number: usize| Question {
        image: format!("{}.png", number / 4),
        question: number.to_string(),
        answers: vec!["x".into()],
        kind: "t".into(),
        picture: 0,
    };
    let all: Vec<Question> = (0..400).map(question).collect();
    let drawn = sample(all.clone(), 22, 1);
    assert_eq!((drawn.len(), &drawn), (22, &sample(all.clone(), 22, 1)));
    assert_ne!(drawn, sample(all.clone(), 22, 2));
    let places: Vec<usize> = drawn.iter().map(|drawn| drawn.question.parse().expect("a number")).collect();
    assert!(places.is_sorted() && places.last() > Some(&22), "{places:?}");
    let pictures = by_picture(&drawn);
    assert_eq!(pictures.iter().filter(|(_, asked)| asked.len() == 4).count(), 5, "and two about a sixth");
    assert_eq!(sample(all.clone(), 1000, 1), all);
}

/// `tests/unseen_scenes`: the questions that `--sample 300` draws of the set unseen-scenes, which
/// `models/picture-book/train/test_sets.py` makes; its pictures as lossless WebP.
#[test]
fn unseen_scenes_are_answered_as_well_as_published() {
    let folder = repository("tests/unseen_scenes");
    let questions = read(&folder.join("questions.jsonl")).expect("questions");
    let settings = [(Setting::dense(), Setting::dense().pruning(0))];
    let (mut asked, mut right) = (0, 0);
    for (image, about) in by_picture(&questions) {
        ask_about(
            &MODEL,
            &folder.join(image),
            &settings,
            &about,
            |_, _| true,
            |record| {
                let Outcome::Answered { answer, .. } = &record.outcome else { panic!("{record:?}") };
                let (_, asked_about) =
                    about.iter().find(|(_, asked)| asked.question == record.question).expect("asked");
                asked += 1;
                right += usize::from(is_right(asked_about, answer));
                Ok(())
            },
        )
        .expect("answers");
    }
    let bytes = fs::read(repository("models/picture-book/eval.json")).expect("in the repository");
    let scores: Value = serde_json::from_slice(&bytes).expect("JSON");
    let published = scores["sets"]["unseen-scenes"]["accuracy"].as_f64().expect("a share");
    let found = f64::from(right as u32) / f64::from(asked as u32);
    assert!(asked == 300 && found > published - 0.03, "{right} of {asked} right, {published} published");
}
