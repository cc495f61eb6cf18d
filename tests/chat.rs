//! `mustdrop chat`: questions on stdin, answers on stdout, and what was typed between them.

mod saved;

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
        .env("MUSTDROP_STATE", folder)
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
    described_with(&[picture, question])
}

fn described_with(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mustdrop"))
        .args(["describe", "--device", "cpu"])
        .args(arguments)
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
    assert!(!folder.path().join("chat_history").exists(), "a script is no history");
}

#[test]
fn a_budget_set_on_the_way_reports_and_draws_what_it_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let drawing = folder.path().join("kept.png");
    let overlay = format!("/overlay {}", drawing.display());
    let lines =
        ["/stats", &overlay, "/keep 64", "what is in the picture?", "/stats", &overlay, "/keep nonsense"];
    let output = session(folder.path(), &[&sample("sample_5.png")], &lines);
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    for part in
        ["no answer was made here yet", "/overlay", "on average over the decoder's layers", "found nonsense"]
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
    assert_eq!(output.status.code(), Some(2), "that of the first line that failed");
    assert_eq!(text(&output.stdout), described(&picture, "is there a spider?"));
    let stderr = text(&output.stderr);
    for part in [
        "nowhere.png",
        "/image: expected FILE|off behind it",
        "/keep: expected N|P%|off",
        "that /help lists, found /dance",
        "/keep N|P%|off ",
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
    assert_eq!(output.status.code(), Some(130), "a script is told");
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

const FIRST: &str = "what is in the picture?";
const SECOND: &str = "is there a spider?";
const THIRD: &str = "what color is the background?";

/// The answers of a session about the first sample.
fn answers(folder: &Path, arguments: &[&str], lines: &[&str]) -> Vec<String> {
    let output = session(folder, arguments, lines);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn questions_are_taken_back_and_asked_once_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let picture = sample("sample_1.png");
    let plain = answers(folder.path(), &[&picture], &[FIRST, THIRD]);
    let undone = ["/undo", "/retry", FIRST, SECOND, "/undo", THIRD, "/retry"];
    let undone = answers(folder.path(), &[&picture], &undone);
    assert_eq!((&undone[0], &undone[2], &undone[3]), (&plain[0], &plain[1], &plain[1]), "{undone:?}");
    // Greedy answers stay; those that are drawn differ.
    let sampled = answers(folder.path(), &[&picture, "--temperature", "3"], &[FIRST, "/retry"]);
    assert_ne!(sampled[0], sampled[1]);
    // The picture comes back with its question.
    let again = answers(folder.path(), &[&picture], &[SECOND, "/undo", FIRST]);
    assert_eq!(again[1], plain[0]);
    let stderr = session(folder.path(), &[&picture], &[SECOND, "/undo", "/undo"]).stderr;
    for part in [
        "taken back: is there a spider?",
        "pictures shown with the next question: 1",
        "nothing was asked yet",
    ] {
        assert!(text(&stderr).contains(part), "no {part:?} in {}", text(&stderr));
    }
}

#[test]
fn pictures_come_by_paths_that_are_dragged_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let picture = folder.path().join("a photo.png");
    fs::copy(sample("sample_1.png"), &picture).expect("a copy");
    let escaped = picture.display().to_string().replace(' ', "\\ ");
    let expected = described(&sample("sample_1.png"), SECOND);
    for lines in [vec![escaped.clone(), SECOND.to_owned()], vec![format!("'{}' {SECOND}", picture.display())]]
    {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let output = session(folder.path(), &[], &lines);
        assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));
    }
    let missing = session(folder.path(), &[], &["/no/such/photo.png"]);
    assert!(text(&missing.stderr).contains("/no/such/photo.png"), "{}", text(&missing.stderr));
}

#[test]
fn rules_for_dropping_change_on_the_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = [
        "/turns requery",
        "/policy pool",
        "/keep 36",
        FIRST,
        "/stats",
        "/policy nonsense",
        "/policy fastv",
        "/keep 8",
        "/turns nonsense",
        "/overlay",
        "/keep off",
    ];
    let output = session(folder.path(), &[&sample("sample_1.png")], &lines);
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    for part in [
        "everything is kept of pictures shown from now on",
        "/keep N drops by --policy pool --turns requery",
        "--policy pool --keep 36 --turns requery",
        "36 of them vision",
        "KV cache: ",
        "expected mustdrop, ",
        "expected pin, requery",
        "no terminal that shows pictures",
    ] {
        assert!(stderr.contains(part), "no {part:?} in {stderr}");
    }
}

#[test]
fn a_question_about_what_was_dropped_is_told_of_requery() {
    let folder = tempfile::tempdir().expect("a folder");
    let hint = "(this question attends mainly to tokens that filters dropped";
    let told = |turns: &str| {
        let arguments = [&sample("sample_1.png"), "--keep", "16", "--turns", turns];
        let output = session(folder.path(), &arguments, &[FIRST, SECOND, THIRD, "/stats"]);
        text(&output.stderr).to_owned()
    };
    // The second attends to what the first kept, the third does not.
    let pinned = told("pin");
    assert!(pinned.matches(hint).count() == 1 && pinned.contains("/turns requery"), "{pinned}");
    assert!(pinned.contains("% of its attention to their tokens went to the"), "{pinned}");
    assert!(!pinned.contains("0.0 on average"), "nothing was judged for the third: {pinned}");
    assert!(!told("requery").contains(hint));
}

#[test]
fn answers_that_are_drawn_and_budgets_are_those_of_describe() {
    let folder = tempfile::tempdir().expect("a folder");
    let picture = sample("sample_2.png");
    let mut answers = Vec::new();
    for seed in ["7", "8", "9"] {
        let rules = ["--temperature", "4", "--seed", seed, "--keep", "64", "--max-new-tokens", "12"];
        let output = session(folder.path(), &[&[picture.as_str()], &rules[..]].concat(), &[FIRST]);
        let expected = described_with(&[&[picture.as_str(), FIRST], &rules[..]].concat());
        assert_eq!(text(&output.stdout), expected);
        answers.push(expected);
    }
    assert!(answers.iter().any(|answer| *answer != answers[0]), "seeds differ: {answers:?}");
}

#[test]
fn what_fails_leaves_the_conversation_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let picture = sample("sample_1.png");
    let plain = answers(folder.path(), &[&picture], &[FIRST, THIRD]);
    // Four dense pictures are more than the context; a retry of what was asked under a budget fails then.
    let show = format!("/image {picture}");
    let lines = ["/keep 64", FIRST, "/keep off", &show, &show, &show, &show, SECOND, "/stats", "/undo"];
    let output = session(folder.path(), &[&picture], &lines);
    let stderr = text(&output.stderr);
    assert_eq!(
        text(&output.stdout).lines().collect::<Vec<_>>(),
        [plain[0].as_str(), ""],
        "a line for each question"
    );
    assert!(stderr.contains("expected fewer than the model's context"), "{stderr}");
    assert!(stderr.contains(&format!("taken back: {FIRST}")), "the last that was answered: {stderr}");
    assert!(stderr.contains("/image off"), "what to do: {stderr}");
    // A name of a picture that leads nowhere is no question, and what is no conversation is not written over.
    let notes = folder.path().join("notes.json");
    fs::write(&notes, "{}").expect("a file");
    let save = format!("/save {}", notes.display());
    let output = session(folder.path(), &[], &["nope.png what is that?", &save]);
    let stderr = text(&output.stderr);
    assert!(output.stdout.is_empty() && stderr.contains("nope.png: cannot be read"), "{stderr}");
    assert!(
        stderr.contains("which is something else") && fs::read(&notes).expect("a file") == b"{}",
        "{stderr}"
    );
    // The last line of a script may lack its end.
    let open = session(folder.path(), &[&picture], &["is there\\"]);
    assert_eq!(text(&open.stdout).lines().count(), 1);
}

#[test]
fn overlays_are_of_the_picture_that_was_judged() {
    let folder = tempfile::tempdir().expect("a folder");
    let drawing = folder.path().join("kept.png");
    let show = format!("/image {}", sample("sample_2.png"));
    let overlay = format!("/overlay {}", drawing.display());
    let drawn = |lines: &[&str]| {
        let output = session(folder.path(), &[&sample("sample_4.png"), "--keep", "64"], lines);
        assert!(output.status.success(), "{}", text(&output.stderr));
        image::open(&drawing).expect("a drawing").to_rgb8()
    };
    let first = drawn(&[FIRST, &overlay]);
    // The second picture is shown without a budget: what is computed anew afterwards reports the first alone.
    let again = drawn(&[FIRST, "/keep off", &show, FIRST, "/keep 64", "/system x", SECOND, &overlay]);
    let mean = |drawn: &image::RgbImage| {
        drawn.iter().map(|value| f64::from(*value)).sum::<f64>() / drawn.len() as f64
    };
    assert_eq!(first.dimensions(), again.dimensions());
    let reds = |drawn: &image::RgbImage| {
        drawn.pixels().filter(|p| p.0[0] > 150 && p.0[1] < 60 && p.0[2] < 60).count()
    };
    assert!(
        reds(&first) > 0 && reds(&again) > 0,
        "the red drum of the first: {} {}",
        mean(&first),
        mean(&again)
    );
}

#[test]
fn turns_requery_counts_for_pictures_that_were_shown_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = [FIRST, "/turns requery", "/keep 200", FIRST, "/stats", "/keep 8", FIRST, "/stats"];
    let output = session(folder.path(), &[&sample("sample_1.png"), "--keep", "32"], &lines);
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    for part in ["(200.0 on average", "13 of them vision"] {
        assert!(stderr.contains(part), "no {part:?} in {stderr}");
    }
}

#[test]
fn answers_that_a_limit_cut_say_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = session(folder.path(), &[&sample("sample_2.png"), "--max-new-tokens", "2"], &[FIRST]);
    assert!(text(&output.stderr).contains("(cut after 2 tokens; --max-new-tokens allows more)"));
    let whole = session(folder.path(), &[&sample("sample_2.png")], &[FIRST]);
    assert!(!text(&whole.stderr).contains("(cut"));
}
