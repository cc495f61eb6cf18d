//! What shells, manuals and scripts get to see.

use std::{
    fs,
    process::{Command, Output, Stdio},
};

use std::io::Write;

fn mustdrop(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mustdrop")).args(arguments).output().expect("it runs")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("text")
}

/// The commands that `--help` lists.
fn commands() -> Vec<String> {
    let help = mustdrop(&["--help"]);
    let (_, list) = stdout(&help).split_once("Commands:\n").expect("a list of commands");
    let list = list.lines().take_while(|line| !line.is_empty());
    // Further lines of a description are indented more.
    let entries = list.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    entries
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|name| name != "help")
        .collect()
}

#[test]
fn every_command_shows_examples() {
    let commands = commands();
    assert!(commands.len() >= 10 && commands.iter().any(|name| name == "describe"), "{commands:?}");
    for command in commands {
        let help = mustdrop(&[&command, "--help"]);
        assert!(help.status.success());
        let help = stdout(&help);
        assert!(
            help.contains("Examples:\n  mustdrop ") || help.contains("Examples:\n  MUSTDROP_"),
            "{command}: {help}"
        );
    }
}

#[test]
fn completions_are_scripts_of_their_shells() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = mustdrop(&["completions", shell]);
        assert!(output.status.success());
        assert!(
            commands().iter().all(|command| stdout(&output).contains(command.as_str())),
            "{shell} knows all commands"
        );
        // Elvish's scripts have no values.
        let values = ["visionzip", "requery", "retain-192", "sixel", "coverage", "crop"];
        assert!(shell == "elvish" || values.iter().all(|value| stdout(&output).contains(value)), "{shell}");
    }
    let script = mustdrop(&["completions", "bash"]).stdout;
    let Ok(mut bash) =
        Command::new("bash").args(["-n", "-s"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()
    else {
        eprintln!("no bash here: its syntax was not checked");
        return;
    };
    bash.stdin.take().expect("a pipe").write_all(&script).expect("it reads");
    let output = bash.wait_with_output().expect("it ends");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(mustdrop(&["completions", "cobol"]).status.code(), Some(2));
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("man1");
    let output = mustdrop(&["man", "--output", &pages.display().to_string()]);
    assert!(output.status.success() && output.stdout.is_empty());
    for command in commands() {
        let page = fs::read_to_string(pages.join(format!("mustdrop-{command}.1"))).expect("a page");
        assert!(page.contains(".TH") && page.contains(".SH OPTIONS"), "{command}: {page}");
    }
    let page = mustdrop(&["man"]);
    assert!(stdout(&page).contains(".TH mustdrop") && stdout(&page).contains("describe"));
}

#[test]
fn nothing_is_coloured_where_no_terminal_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let nowhere = folder.path().join("nowhere.png").display().to_string();
    for arguments in [
        &["--help"][..],
        &["describe", "--help"],
        &["describe", "--keep", "nonsense"],
        &["describe", &nowhere],
    ] {
        for variable in ["NO_COLOR", "MUSTDROP_UNRELATED"] {
            let output =
                Command::new(env!("CARGO_BIN_EXE_mustdrop")).args(arguments).env(variable, "1").output();
            let output = output.expect("it runs");
            let bytes = [output.stdout, output.stderr].concat();
            assert!(!bytes.is_empty() && !bytes.contains(&0x1b), "{arguments:?} with {variable}");
        }
    }
}
