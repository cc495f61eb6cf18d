//! What a line of input means.

use std::path::PathBuf;

use super::dropped::{self, file};

/// The commands: name, arguments, what it does.
pub(super) const COMMANDS: &[(&str, &str, &str)] = &[
    ("/image", "FILE|off", "show a picture with the next question, as a path alone does; off: none"),
    ("/keep", "N|P%|off", "keep so many tokens of pictures shown from now on (/turns requery: of all)"),
    ("/policy", "NAME", "who chooses them: mustdrop, random, pool and others"),
    ("/turns", "pin|requery", "dropped tokens stay dropped, or each question chooses anew"),
    ("/overlay", "[FILE]", "show what was kept of the picture shown last, or draw it (PNG)"),
    ("/stats", "", "what the last answer cost"),
    ("/system", "TEXT|off", "instructions in front of the conversation"),
    ("/retry", "", "ask the last question once more"),
    ("/undo", "", "take back the last question and its answer"),
    ("/save", "FILE", "write the conversation, for `mustdrop chat --load FILE`"),
    ("/clear", "", "forget the conversation, but for the instructions"),
    ("/help", "", "this list"),
    ("/quit", "", "leave, as do Ctrl-D and a second Ctrl-C; the first stops an answer"),
];

/// The list of commands as `/help` shows it.
pub(super) fn help() -> String {
    let mut lines = String::new();
    for (name, arguments, what) in COMMANDS {
        lines += &format!("{:18} {what}\n", format!("{name} {arguments}"));
    }
    lines + "A line that ends in \\ goes on in the next, as does all between two \"\"\"."
}

/// A line of input.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'a> {
    Nothing,
    /// Pictures to show, and what to ask about them at once, which may be nothing.
    Pictures(Vec<PathBuf>, &'a str),
    Question(&'a str),
    /// No picture is to be shown with the next question.
    NoPictures,
    Keep(&'a str),
    Policy(&'a str),
    Turns(&'a str),
    Overlay(Option<PathBuf>),
    Stats,
    System(&'a str),
    Retry,
    Undo,
    Save(PathBuf),
    Clear,
    Help,
    Quit,
    /// A command without the argument it needs, and what that would be.
    Incomplete(&'static str, &'static str),
    Unknown(&'a str),
}

impl<'a> Line<'a> {
    pub fn parse(line: &'a str) -> Self {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let Some((name, arguments, _)) = COMMANDS.iter().find(|(name, ..)| *name == word) else {
            return Self::spoken(line, word);
        };
        match *name {
            "/stats" => Self::Stats,
            "/retry" => Self::Retry,
            "/undo" => Self::Undo,
            "/clear" => Self::Clear,
            "/help" => Self::Help,
            "/quit" => Self::Quit,
            "/overlay" => Self::Overlay((!rest.is_empty()).then(|| file(rest))),
            name if rest.is_empty() => Self::Incomplete(name, arguments),
            "/image" if rest == "off" => Self::NoPictures,
            "/image" => match dropped::pictures(rest) {
                (pictures, question) if !pictures.is_empty() => Self::Pictures(pictures, question),
                _ => Self::Pictures(vec![file(rest)], ""),
            },
            "/keep" => Self::Keep(rest),
            "/policy" => Self::Policy(rest),
            "/turns" => Self::Turns(rest),
            "/system" => Self::System(rest),
            "/save" => Self::Save(file(rest)),
            name => Self::Unknown(name),
        }
    }

    /// A line that is no command: a question, behind pictures perhaps.
    fn spoken(line: &'a str, word: &'a str) -> Self {
        let (pictures, question) = dropped::pictures(line);
        match line {
            "" => Self::Nothing,
            _ if !pictures.is_empty() => Self::Pictures(pictures, question),
            "/new" => Self::Clear,
            "/exit" => Self::Quit,
            // A path from the root is no command: that it leads nowhere is said when it is opened.
            _ if word.starts_with('/') && word[1..].contains('/') => Self::Pictures(vec![file(line)], ""),
            _ if word.starts_with('/') => Self::Unknown(word),
            // Nobody asks by a picture's name alone: it leads nowhere.
            _ if dropped::is_named_as_picture(word) => Self::Pictures(vec![file(word)], ""),
            _ => Self::Question(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_take_what_stands_behind_them() {
        assert_eq!(Line::parse("  /keep   64 "), Line::Keep("64"));
        assert_eq!(Line::parse("/system Be brief."), Line::System("Be brief."));
        assert_eq!(Line::parse("/image my photo.png"), Line::Pictures(vec!["my photo.png".into()], ""));
        assert_eq!(Line::parse("/overlay"), Line::Overlay(None));
        assert_eq!(Line::parse("/overlay 'a b.png'"), Line::Overlay(Some("a b.png".into())));
        assert_eq!(Line::parse("/save"), Line::Incomplete("/save", "FILE"));
        assert_eq!(Line::parse("/dance"), Line::Unknown("/dance"));
        assert_eq!(Line::parse("/no/where.png"), Line::Pictures(vec!["/no/where.png".into()], ""));
        assert_eq!(Line::parse("nope.png what?"), Line::Pictures(vec!["nope.png".into()], ""));
        assert_eq!(Line::parse("/image off"), Line::NoPictures);
        assert_eq!(Line::parse("what is /keep?"), Line::Question("what is /keep?"));
        assert_eq!(Line::parse(" \n "), Line::Nothing);
        assert!(COMMANDS.iter().all(|(name, ..)| !matches!(Line::parse(name), Line::Unknown(_))));
    }
}
