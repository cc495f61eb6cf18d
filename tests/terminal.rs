//! `mustdrop chat` in a terminal: keys go in, a screen comes out.

pub mod screen;
mod svg;

use std::{fs, process::Command};

use crate::common::repository;
use base64::Engine;
use screen::Terminal;

const FIRST: &str = "what is in the picture?";
const SECOND: &str = "is there a spider?";

fn sample(name: &str) -> String {
    repository("models/picture-book").join(name).display().to_string()
}

/// `mustdrop chat` about a picture on the CPU path, once it has its first prompt.
fn chat(folder: &tempfile::TempDir, arguments: &[&str], variables: &[(&str, &str)]) -> Terminal {
    let terminal =
        Terminal::start(folder.path(), &[&["chat", "--device", "cpu"], arguments].concat(), variables);
    terminal.prompt(0);
    terminal
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// What `mustdrop describe` answers.
fn described(picture: &str, question: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mustdrop"))
        .args(["describe", picture, question, "--device", "cpu"])
        .output()
        .expect("the program");
    String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
}

#[test]
fn an_answer_is_stopped_and_the_next_is_as_describes() {
    let folder = folder();
    let picture = sample("sample_1.png");
    let hot = ["--temperature", "50", "--max-new-tokens", "1400", "--show", "off"];
    let terminal = chat(&folder, &hot, &[]);
    terminal.enter(FIRST);
    terminal.until("the beginning of an answer", |text| {
        text.trim_end().lines().count() > 2 && text.contains("picture?\n")
    });
    terminal.press("\x03");
    let screen = terminal.prompt(1);
    assert!(screen.contains("(stopped)"), "{screen}");
    terminal.enter("/stats");
    let screen = terminal.prompt(2);
    assert!(screen.contains("answer: ") && !screen.contains("answer: 1400 tokens"), "{screen}");
    terminal.enter("/quit");
    assert!(terminal.end().success());

    let terminal = chat(&folder, &[&picture, "--show", "off"], &[]);
    // What was typed in an earlier session is there; what is half typed goes with one Ctrl-C.
    terminal.press("\x1b[A\x1b[A");
    terminal.until("the history", |text| text.contains("> /stats"));
    terminal.press("\x03");
    terminal.prompt(1);
    terminal.enter(SECOND);
    let screen = terminal.prompt(2);
    let expected = described(&picture, SECOND);
    assert!(screen.contains(&format!("> {SECOND}\n{expected}\n")), "{expected:?} is not in {screen}");
    terminal.press("\x03");
    terminal.until("a warning", |text| text.matches("(Ctrl-C once more leaves)").count() == 1);
    terminal.press("\x03");
    assert_eq!(terminal.end().exit_code(), 130);
}

#[test]
fn commands_names_and_paths_are_completed_and_lines_joined() {
    let folder = folder();
    fs::copy(sample("sample_1.png"), folder.path().join("a photo.png")).expect("a copy");
    let terminal = chat(&folder, &["--show", "off"], &[]);
    terminal.press("/pol\t");
    terminal.until("the command", |text| text.trim_end().ends_with("> /policy"));
    terminal.press("po\t\r");
    let screen = terminal.prompt(1);
    assert!(screen.contains("> /policy pool"), "{screen}");
    terminal.press(&format!("/image {}/a\t\r", folder.path().display()));
    let screen = terminal.prompt(2);
    assert!(screen.contains("pixels, shown with the next question"), "{screen}");
    // What comes while nobody reads is not lost.
    terminal.press("/keep 32\r/keep 64\r");
    let screen = terminal.prompt(4);
    assert!(screen.contains("--keep 32 ") && screen.contains("--keep 64 "), "{screen}");
    // Fenced lines are one question, in which Return ends nothing.
    terminal.enter("\"\"\"");
    terminal.enter("is there");
    terminal.enter("a spider?\"\"\"");
    let screen = terminal.prompt(5);
    assert!(!screen.contains("error"), "{screen}");
    let file = folder.path().join("talk.json");
    terminal.enter(&format!("/save {}", file.display()));
    terminal.prompt(6);
    terminal.press("\x04");
    assert!(terminal.end().success());
    let saved = fs::read_to_string(&file).expect("a file");
    assert!(saved.contains("\"is there\\na spider?\""), "{saved}");
}

#[test]
fn pictures_and_overlays_are_shown_in_half_blocks() {
    let folder = folder();
    let terminal = chat(&folder, &[&sample("sample_5.png"), "--keep", "32"], &[]);
    let blocks = |terminal: &Terminal| {
        let output = terminal.output();
        let screen = output.parser.screen();
        let cells = (0..screen::ROWS.get())
            .flat_map(|row| (0..screen::COLUMNS.get()).map(move |column| (row, column)));
        let cells = cells.filter_map(|(row, column)| screen.cell(row, column).cloned());
        cells.filter(|cell| cell.contents() == "\u{2584}").collect::<Vec<_>>()
    };
    let shown = blocks(&terminal);
    let picture = image::open(sample("sample_5.png")).expect("a sample").to_rgb8();
    let columns = shown.len() / (shown.len() as f64 / 2.0).sqrt() as usize;
    assert!(shown.len() > 300 && columns.abs_diff(40) < 4, "{} cells", shown.len());
    let corner = picture.get_pixel(2, 2).0;
    let vt100::Color::Rgb(r, g, b) = shown[0].bgcolor() else { panic!("no colour") };
    assert!([r, g, b].iter().zip(corner).all(|(a, b)| a.abs_diff(b) < 24), "{:?} for {corner:?}", (r, g, b));
    terminal.enter(FIRST);
    terminal.prompt(1);
    terminal.enter("/overlay");
    terminal.prompt(2);
    let both = blocks(&terminal);
    let brightness = |cells: &[vt100::Cell]| -> f64 {
        let sum: u64 = cells
            .iter()
            .map(|cell| match cell.bgcolor() {
                vt100::Color::Rgb(r, g, b) => u64::from(r) + u64::from(g) + u64::from(b),
                _ => 0,
            })
            .sum();
        sum as f64 / cells.len() as f64
    };
    let overlay = &both[shown.len()..];
    assert!(overlay.len() > 300, "the overlay stands below the picture");
    assert!(brightness(overlay) < 0.9 * brightness(&shown), "what was dropped is darker");
}

/// What stands between two marks, again and again, in one piece.
fn between<'a>(text: &'a str, begin: &'a str, end: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(begin).skip(1).filter_map(move |part| Some(part.split_once(end)?.0))
}

/// The picture that a terminal was sent.
fn sent(how: &str, text: &str) -> image::RgbImage {
    let png = match how {
        "kitty" => {
            between(text, "\x1b_G", "\x1b\\").filter_map(|chunk| Some(chunk.split_once(';')?.1)).collect()
        }
        "iterm2" => between(text, "\x1b]1337;File=inline=1", "\x07")
            .filter_map(|file| Some(file.split_once(':')?.1))
            .collect::<String>(),
        _ => {
            let sixels = between(text, "\x1bP", "\x1b\\").next().expect("sixels");
            let picture =
                icy_sixel::SixelImage::decode(format!("\x1bP{sixels}\x1b\\").as_bytes()).expect("sixels");
            let rgb = picture.pixels.chunks(4).flat_map(|pixel| pixel[..3].to_vec()).collect();
            return image::RgbImage::from_raw(picture.width as u32, picture.height as u32, rgb)
                .expect("pixels");
        }
    };
    let png = base64::prelude::BASE64_STANDARD.decode(png).expect("base64");
    image::load_from_memory(&png).expect("a PNG").to_rgb8()
}

#[test]
fn terminals_that_take_pictures_get_them_whole() {
    let picture = sample("sample_1.png");
    let expected = image::open(&picture).expect("a sample").to_rgb8();
    for (how, variables, size) in [
        ("kitty", &[("TERM", "xterm-kitty")][..], (336, 336)),
        ("iterm2", &[("TERM_PROGRAM", "iTerm.app")], (336, 336)),
        // Six rows of pixels are a row of sixels.
        ("sixel", &[("TERM", "foot")], (400, 402)),
    ] {
        let folder = folder();
        let terminal = chat(&folder, &[&picture], variables);
        let bytes = String::from_utf8_lossy(&terminal.output().bytes).into_owned();
        assert!(!bytes.contains('\u{2584}'), "{how}");
        let sent = sent(how, &bytes);
        assert_eq!(sent.dimensions(), size, "{how}");
        let sent = image::imageops::crop_imm(&sent, 0, 0, size.0, size.0).to_image();
        let small = |picture| image::imageops::thumbnail(picture, 8, 8);
        let apart = small(&sent).iter().zip(small(&expected).iter()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(apart < Some(12), "{how}: {apart:?}");
        terminal.enter(SECOND);
        let screen = terminal.prompt(1);
        assert!(screen.contains(&described(&picture, SECOND)), "{how}: {screen}");
    }
    let few = folder();
    let terminal = chat(&few, &[&picture], &[("COLORTERM", "")]);
    let bytes = String::from_utf8_lossy(&terminal.output().bytes).into_owned();
    assert!(bytes.contains("\x1b[48;5;") && !bytes.contains("\x1b[48;2;"), "256 colours are enough");
    for (what, how, variables) in [
        ("a terminal without colours", "auto", &[("NO_COLOR", "1")][..]),
        ("a dumb one", "auto", &[("TERM", "dumb")]),
        ("whoever wants none", "off", &[]),
    ] {
        let folder = folder();
        let terminal = chat(&folder, &[&picture, "--show", how], variables);
        let text = String::from_utf8_lossy(&terminal.output().bytes).into_owned();
        assert!(!text.contains('\u{2584}') && !text.contains("\x1b_G"), "{what}");
    }
}

/// A session that a page shows: the command's arguments, and what is typed.
fn recorded(folder: &tempfile::TempDir, arguments: &[&str], typed: &[&str]) -> Terminal {
    let terminal = Terminal::start(folder.path(), arguments, &[]);
    terminal.prompt(0);
    for (index, line) in typed.iter().enumerate() {
        terminal.enter(line);
        terminal.prompt(index + 1);
    }
    terminal
}

/// A text whose seconds and rates are all alike.
fn without_times(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let is_time = |index: usize| {
        let unit = words.get(index + 1).is_some_and(|unit| {
            ["s", "tokens/s"].contains(
                &unit
                    .trim_end_matches([',', ';'])
                    .split('\n')
                    .next()
                    .unwrap_or_default()
                    .trim_end_matches([',', ';']),
            )
        });
        unit && words[index].parse::<f64>().is_ok()
    };
    let words = words.iter().enumerate().map(|(index, word)| if is_time(index) { "T" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_readmes_session_is_what_the_program_does() {
    let readme = fs::read_to_string(repository("README.md")).expect("a file");
    let (_, block) = readme.split_once("```console\n$ mustdrop chat ").expect("a session");
    let (block, _) = block.split_once("\n```").expect("its end");
    let (command, expected) = block.split_once('\n').expect("lines");
    let arguments: Vec<&str> =
        std::iter::once("chat").chain(command.split(' ')).chain(["--show", "off"]).collect();
    let typed: Vec<&str> = expected.lines().filter_map(|line| line.strip_prefix("> ")).collect();
    assert!(typed.len() > 4, "{expected}");
    let folder = folder();
    let screen = recorded(&folder, &arguments, &typed).text();
    let found = screen.trim_end().strip_suffix("\n>").expect("a last prompt");
    assert_eq!(without_times(found), without_times(expected), "the program says:\n{found}\n");
}

/// `docs/chat.svg`, which `MUSTDROP_RECORD=1 cargo test the_screenshot` draws anew.
#[test]
fn the_screenshot_is_what_the_program_shows() {
    let (folder, file) = (folder(), repository("docs/chat.svg"));
    let arguments =
        ["chat", "models/picture-book/sample_4.png", "--keep", "64", "--device", "cpu", "--threads", "2"];
    let terminal = recorded(
        &folder,
        &arguments,
        &["what is in the picture?", "/overlay", "what color is the background?"],
    );
    let output = terminal.output();
    let drawn = svg::draw(output.parser.screen(), screen::ROWS.get(), screen::COLUMNS.get());
    if std::env::var_os("MUSTDROP_RECORD").is_some() {
        fs::write(&file, &drawn).expect("a file");
    }
    let there = fs::read_to_string(&file).expect("a file");
    assert!(
        drawn == there,
        "docs/chat.svg is another: MUSTDROP_RECORD=1 cargo test the_screenshot draws it anew"
    );
}
