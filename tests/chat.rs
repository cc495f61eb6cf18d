//! `mustdrop chat`: questions on stdin, answers on stdout, and what was typed between them.

use crate::common::repository;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

fn sample(name: &str) -> String {
    repository("models/picture-book").join(name).display().to_string()
}

/// `mustdrop chat` on the CPU path with its files in `folder`.
fn chat(folder: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_mustdrop"))
        .args(["chat", "--device", "cpu"])
        .args(arguments)
        .env("MUSTDROP_CACHE", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program")
}

/// The session in which `lines` are typed.
fn session(folder: &Path, arguments: &[&str], lines: &[&str]) -> Output {
    let mut child = chat(folder, arguments);
    let mut stdin = child.stdin.take().expect("a pipe");
    // It may have ended already: what it printed then shows.
    let _ = stdin.write_all((lines.join("\n") + "\n").as_bytes());
    drop(stdin);
    child.wait_with_output().expect("its end")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// What `mustdrop describe` answers.
fn described(picture: &str, question: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mustdrop"))
        .args(["describe", picture, question, "--device", "cpu"])
        .output()
        .expect("the program");
    text(&output.stdout).to_owned()
}

#[test]
fn several_turns_and_pictures_answer_as_describe_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (sample("sample_1.png"), sample("sample_2.png"));
    let output = session(
        folder.path(),
        &[&first],
        &["is there a spider?", "/new", &format!("/image {second}"), "what is in the picture?"],
    );
    assert!(output.status.success());
    let expected = described(&first, "is there a spider?") + &described(&second, "what is in the picture?");
    assert_eq!(text(&output.stdout), expected, "only answers on stdout");
    let history = fs::read_to_string(folder.path().join("chat_history")).expect("the lines that were typed");
    assert!(history.contains("is there a spider?"));
}

#[test]
fn a_budget_set_on_the_way_reports_and_draws_what_it_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let drawing = folder.path().join("kept.png");
    let overlay = format!("/overlay {}", drawing.display());
    let lines =
        ["/stats", &overlay, "/keep 64", "what is in the picture?", "/stats", &overlay, "/keep nonsense"];
    let output = session(folder.path(), &[&sample("sample_5.png")], &lines);
    assert!(output.status.success());
    let stderr = text(&output.stderr);
    for part in
        ["nothing was asked yet", "/overlay", "on average over the decoder's layers", "found nonsense"]
    {
        assert!(stderr.contains(part), "no {part:?} in {stderr}");
    }
    let drawn = image::open(drawing).expect("a drawing").to_rgb8();
    let shown = image::open(sample("sample_5.png")).expect("a sample").to_rgb8();
    assert!(
        drawn.width() >= shown.width() && drawn.pixels().any(|pixel| !shown.pixels().any(|p| p == pixel))
    );
}

#[test]
fn errors_leave_the_session_running() {
    let folder = tempfile::tempdir().expect("a folder");
    let picture = sample("sample_1.png");
    let shown = format!("/image {picture}");
    let lines =
        ["/image nowhere.png", "/image", "/keep", "/dance", "/help", &shown, "is there a spider?", "/quit"];
    let output = session(folder.path(), &[], &lines);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), described(&picture, "is there a spider?"));
    let stderr = text(&output.stderr);
    for part in [
        "nowhere.png",
        "expected the path of a file",
        "/keep: expected a number",
        "/dance is no command",
        "/keep N|P%|off",
    ] {
        assert!(stderr.contains(part), "no {part:?} in {stderr}");
    }
    assert!(!stderr.contains("panicked"));
}

#[test]
fn a_wrong_path_or_budget_ends_it_before_the_model_loads() {
    let folder = tempfile::tempdir().expect("a folder");
    for arguments in [["nowhere.png", "--keep=64"], [&sample("sample_1.png"), "--keep=many"]] {
        let output = session(folder.path(), &arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!text(&output.stderr).contains("device:"), "{arguments:?}");
    }
}

/// Ctrl-C is a signal only on Unix; on Windows the same handler runs on a console event that a test cannot send.
#[cfg(unix)]
#[test]
fn ctrl_c_stops_the_answer_and_keeps_the_session() {
    let folder = tempfile::tempdir().expect("a folder");
    // Hot enough that the answer does not end by itself.
    let arguments = [&sample("sample_1.png"), "--temperature", "50", "--max-new-tokens", "400"];
    let mut child = chat(folder.path(), &arguments);
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    writeln!(stdin, "what is in the picture?").expect("a reader");
    let mut begun = [0; 8];
    stdout.read_exact(&mut begun).expect("the beginning of an answer");
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(interrupted.success());
    let mut answer = Vec::new();
    stdout.read_until(b'\n', &mut answer).expect("the answer's end");
    writeln!(stdin, "/stats").expect("a session that goes on");
    drop(stdin);
    let output = child.wait_with_output().expect("its end");
    assert!(output.status.success(), "{:?}", output.status);
    let stderr = text(&output.stderr);
    assert!(stderr.contains("(stopped)"), "{stderr}");
    assert!(!stderr.contains(" 400 "), "it was stopped before its 400 tokens: {stderr}");
}

#[test]
fn requeried_pictures_are_whole_again_once_the_budget_is_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let question = "what is in the picture?";
    let lines = [question, "/keep 200", question, "/stats", "/keep off", question, "/stats"];
    let output =
        session(folder.path(), &[&sample("sample_4.png"), "--keep", "16", "--turns", "requery"], &lines);
    assert!(output.status.success());
    let stderr = text(&output.stderr);
    for part in ["212 of them vision (200.0 on average", "576 of them vision (576.0 on average"] {
        assert!(stderr.contains(part), "no {part:?} in {stderr}");
    }
}
