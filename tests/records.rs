//! Answers on disk: a run that was stopped goes on, and files of others stay as they are.

use mustdrop::eval::{
    Cost, Setting,
    questions::Question,
    records::{Outcome, Record, Records},
};
use std::fs;

fn numbered(number: usize) -> Question {
    Question {
        image: "1.png".into(),
        question: number.to_string(),
        answers: vec!["x".into()],
        kind: "t".into(),
        picture: 7,
    }
}

fn record(number: usize) -> Record {
    let cost = Cost { vision_tokens: 576.0, kv_bytes: 1, seconds: None };
    Record::new(
        &Setting::dense(),
        &numbered(number),
        Outcome::Answered { answer: "a \"Bär\"\n".into(), cost },
    )
}

#[test]
fn records_go_on_where_they_were_cut_off() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("results.jsonl");
    let mut records = Records::open(&path, "run 1").expect("a new file");
    let refused = Record { outcome: Outcome::Refused { refused: "too long".into() }, ..record(1) };
    for record in [record(0), refused.clone(), record(2)] {
        records.add(record).expect("written");
    }
    drop(records);
    let whole = fs::read(&path).expect("readable");

    // Wherever the last line ends, in the middle of a character and before its line break, too.
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').expect("lines") + 1;
    for end in last..whole.len() {
        fs::write(&path, &whole[..end]).expect("writable");
        let mut records = Records::open(&path, "run 1").expect("the same run");
        let found = [0, 1].map(|number| records.get(&Setting::dense(), &numbered(number)));
        assert_eq!(found, [Some(&record(0)), Some(&refused)]);
        assert_eq!(records.get(&Setting::dense(), &numbered(2)), None, "its line was cut off at {end}");
        let swapped = Question { picture: 8, ..numbered(0) };
        assert_eq!(records.get(&Setting::dense(), &swapped), None, "the picture is another one");
        records.add(record(2)).expect("written");
        assert_eq!(fs::read(&path).expect("readable"), whole);
    }
    let header = whole.iter().position(|byte| *byte == b'\n').expect("a header");
    for end in 0..=header {
        fs::write(&path, &whole[..end]).expect("writable");
        Records::open(&path, "run 1").expect("stopped before its first answer");
        assert_eq!(fs::read(&path).expect("readable"), &whole[..=header]);
    }
}

#[test]
fn files_of_others_and_broken_ones_are_left_as_they_are() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("results.jsonl");
    let mut records = Records::open(&path, "run 1").expect("a new file");
    records.add(record(0)).expect("written");
    let second = Records::open(&path, "run 1").expect_err("the first still writes").to_string();
    assert!(second.contains("another run is writing"), "{second}");
    drop(records);
    let whole = fs::read(&path).expect("readable");
    let with = |line: &[u8]| [&whole[..], line, &whole[..]].concat();
    for (bytes, run, expected) in [
        (whole.clone(), "run 2", "of others"),
        (b"\nmy notes\n".to_vec(), "run 1", "of others"),
        (b"my notes".to_vec(), "run 1", "of others"),
        (with(b""), "run 1", "results.jsonl:3:"),
        (with(b"{\"setting\": \"no\n"), "run 1", "results.jsonl:3:"),
        (with(b"\n"), "run 1", "results.jsonl:3:"),
        (with(b"\xff\n"), "run 1", "results.jsonl:3:"),
    ] {
        fs::write(&path, &bytes).expect("writable");
        let error = Records::open(&path, run).expect_err(expected).to_string();
        assert!(error.contains("--results") && error.contains(expected), "{error}");
        assert_eq!(fs::read(&path).expect("readable"), bytes);
    }
}
