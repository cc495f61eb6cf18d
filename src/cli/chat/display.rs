//! Pictures in the terminal.

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use terminal_size::{Height, Width, terminal_size};

use super::escape::{self, Cells};
use crate::{Picture, drop::named};

/// How pictures are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Pictures {
    /// As the terminal can, if there is one.
    #[default]
    Auto,
    Kitty,
    Iterm2,
    Sixel,
    /// Half blocks, two pixels a cell.
    Blocks,
    Off,
}

impl Pictures {
    pub const ALL: [Self; 6] = [Self::Auto, Self::Kitty, Self::Iterm2, Self::Sixel, Self::Blocks, Self::Off];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kitty => "kitty",
            Self::Iterm2 => "iterm2",
            Self::Sixel => "sixel",
            Self::Blocks => "blocks",
            Self::Off => "off",
        }
    }

    /// What a terminal with these variables shows.
    ///
    /// Asking the terminal would be surer, but one that does not answer would be waited for without end.
    fn of_terminal(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let (term, program) = (set("TERM").unwrap_or_default(), set("TERM_PROGRAM").unwrap_or_default());
        let is_between = |name: &str| term.starts_with(name) || set("TMUX").is_some() || set("STY").is_some();
        match (term.as_str(), program.as_str()) {
            ("dumb", _) => Self::Off,
            _ if set("NO_COLOR").is_some() => Self::Off,
            // What stands between takes other escape codes out.
            _ if is_between("screen") || is_between("tmux") => Self::Blocks,
            ("xterm-kitty" | "xterm-ghostty", _) | (_, "ghostty" | "WezTerm") => Self::Kitty,
            (_, "iTerm.app" | "mintty" | "rio" | "WarpTerminal") => Self::Iterm2,
            _ if set("KITTY_WINDOW_ID").is_some() || set("KONSOLE_VERSION").is_some() => Self::Kitty,
            (term, _) if ["foot", "mlterm", "contour"].iter().any(|known| term.starts_with(known)) => {
                Self::Sixel
            }
            _ => Self::Blocks,
        }
    }
}

named!(Pictures, "--show");

/// Shows pictures, where there is a terminal to show them.
#[derive(Debug)]
pub(super) struct Display(Pictures);

impl Display {
    pub fn new(how: Pictures) -> Self {
        let is_terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
        Self(match how {
            _ if !is_terminal => Pictures::Off,
            Pictures::Auto => Pictures::of_terminal(|name| env::var(name).ok()),
            how => how,
        })
    }

    /// Shows a picture where the cursor is; `false` where that cannot be.
    pub fn show(&self, picture: &Picture) -> bool {
        if self.0 == Pictures::Off {
            return false;
        }
        let (columns, rows) =
            terminal_size().map_or((80, 24), |(Width(columns), Height(rows))| (columns, rows));
        let cells = Cells::within(picture.width(), picture.height(), columns, rows);
        let drawn = match self.0 {
            Pictures::Kitty => escape::kitty(picture, cells),
            Pictures::Iterm2 => escape::iterm2(picture, cells),
            Pictures::Sixel => escape::sixel(picture, cells),
            Pictures::Blocks => escape::half_blocks(picture, cells, has_all_colours()),
            Pictures::Auto | Pictures::Off => None,
        };
        // A picture that is not shown is no reason to stop.
        drawn.is_some_and(|text| {
            io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()).is_ok()
        })
    }
}

/// Whether the terminal has more than 256 colours.
fn has_all_colours() -> bool {
    env::var("COLORTERM").is_ok_and(|value| value.contains("truecolor") || value.contains("24bit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_known_by_their_variables() {
        let of = |variables: &[(&str, &str)]| {
            Pictures::of_terminal(|name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(of(&[("TERM", "xterm-256color")]), Pictures::Blocks);
        assert_eq!(of(&[("TERM", "xterm-kitty")]), Pictures::Kitty);
        assert_eq!(of(&[("TERM", "xterm-256color"), ("TERM_PROGRAM", "iTerm.app")]), Pictures::Iterm2);
        assert_eq!(of(&[("TERM", "foot-extra")]), Pictures::Sixel);
        assert_eq!(of(&[("TERM", "tmux-256color"), ("KITTY_WINDOW_ID", "1")]), Pictures::Blocks);
        assert_eq!(of(&[("TERM", "xterm-kitty"), ("TMUX", "/tmp/x")]), Pictures::Blocks);
        assert_eq!(of(&[("TERM", "dumb")]), Pictures::Off);
        assert_eq!(of(&[("TERM", "xterm-kitty"), ("NO_COLOR", "1")]), Pictures::Off);
    }
}
