//! Conversations in files: `/save` and `--load`.

use std::{fs, path::Path};

use super::{FIRST, THIRD, answers, sample, session, text};

#[test]
fn a_saved_conversation_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let picture = folder.path().join("a photo.png");
    fs::copy(sample("sample_1.png"), &picture).expect("a copy");
    let (picture, file) = (picture.display().to_string(), folder.path().join("talk.json"));
    let save = format!("/save {}", file.display());
    let system = "/system a red house";
    let whole =
        answers(folder.path(), &[&picture], &[system, FIRST, "is there a\\", "spider?", &save, THIRD]);
    let load = file.display().to_string();
    let rest = answers(folder.path(), &["--load", &load], &[THIRD, "/undo", "/undo", "/undo", FIRST]);
    assert_eq!((&rest[0], &rest[1]), (&whole[2], &whole[0]));

    let json = fs::read_to_string(&file).expect("a file");
    let saved: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(saved["system"], "a red house");
    assert_eq!(saved["turns"][1]["question"], "is there a\nspider?", "lines that were joined");
    let path = saved["turns"][0]["pictures"][0]["path"].as_str().expect("a path");
    assert!(Path::new(path).is_absolute());
    let over_the_picture = session(folder.path(), &["--load", &load], &[&format!("/save {picture}")]);
    assert!(text(&over_the_picture.stderr).contains("which is read"));

    let broken = folder.path().join("broken.json");
    for (what, contents, code, message) in [
        ("no JSON", "{".to_owned(), 2, "a conversation that /save wrote"),
        ("another version", json.replace("\"mustdrop\": 1", "\"mustdrop\": 2"), 2, "version 2"),
        ("an unknown field", json.replace("\"system\"", "\"sytem\""), 2, "sytem"),
        ("another picture", json.replace("sha256\": \"", "sha256\": \"0"), 2, "changed since"),
        ("a missing picture", json.replace("a photo.png", "b.png"), 2, "b.png"),
    ] {
        fs::write(&broken, contents).expect("a file");
        let output = session(folder.path(), &["--load", &broken.display().to_string()], &[]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{what}: {stderr}");
        assert!(stderr.contains(message) && !stderr.contains("device:"), "{what}: {stderr}");
    }
    let nowhere = folder.path().join("nowhere.json").display().to_string();
    assert_eq!(session(folder.path(), &["--load", &nowhere], &[]).status.code(), Some(1));
}

#[test]
#[cfg(unix)]
fn what_a_file_says_does_not_reach_a_terminal_as_commands() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("talk.json");
    let turn = serde_json::json!({"question": "\u{1b}]0;title\u{7}what?", "answer": "x"});
    let saved = serde_json::json!({"mustdrop": 1, "model": "x", "turns": [turn]});
    fs::write(&file, saved.to_string()).expect("a file");
    let output = session(folder.path(), &["--load", &file.display().to_string()], &["/undo", "/overlay"]);
    assert!(output.status.code() == Some(2) && !output.stderr.contains(&0x1b), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("taken back: \u{241b}]0;title"));
}
