//! Pictures in the terminal.

use std::{
    env, fmt,
    io::{self, IsTerminal},
    str::FromStr,
};

use image::{DynamicImage, RgbImage};

use crate::{Error, Picture};

/// The most rows that a picture takes; as for columns, wide ones take the terminal's.
const MOST_ROWS: f64 = 20.0;
/// The most pixels of a side that a terminal is sent.
const MOST_PIXELS: u32 = 1024;
/// A cell of a terminal is about twice as high as wide.
const CELL_ASPECT: f64 = 2.0;

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
    const ALL: [Self; 6] = [Self::Auto, Self::Kitty, Self::Iterm2, Self::Sixel, Self::Blocks, Self::Off];

    fn as_str(self) -> &'static str {
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

impl fmt::Display for Pictures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Pictures {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|how| how.as_str() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            Error::argument("--show", names, format!("{text:?}"))
        })
    }
}

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
        let (width, height) = (picture.width(), picture.height());
        let image = RgbImage::from_raw(width as u32, height as u32, picture.rgb().to_vec());
        let Some(image) = image.filter(|_| self.0 != Pictures::Off) else { return false };
        let config = viuer::Config {
            absolute_offset: false,
            width: Some(columns(width, height, viuer::terminal_size())),
            use_kitty: self.0 == Pictures::Kitty,
            use_iterm: self.0 == Pictures::Iterm2,
            use_sixel: self.0 == Pictures::Sixel,
            ..viuer::Config::default()
        };
        let image = DynamicImage::ImageRgb8(image);
        let shown = match width.max(height) as u32 > MOST_PIXELS {
            true => image.thumbnail(MOST_PIXELS, MOST_PIXELS),
            false => image,
        };
        viuer::print(&shown, &config).is_ok()
    }
}

/// Columns for a picture, so that all of it is seen above what is written next.
fn columns(width: usize, height: usize, (columns, rows): (u16, u16)) -> u32 {
    let most_rows = MOST_ROWS.min(f64::from(rows) - 4.0).max(1.0);
    let fitting = most_rows * CELL_ASPECT * width as f64 / height as f64;
    fitting.min(f64::from(columns)).max(1.0) as u32
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

    #[test]
    fn pictures_keep_their_shape_within_the_screen() {
        assert_eq!(columns(640, 480, (80, 24)), 53);
        assert_eq!(columns(4000, 10, (80, 24)), 80);
        assert_eq!(columns(10, 4000, (80, 24)), 1);
        assert_eq!(columns(640, 480, (30, 24)), 30);
        assert_eq!(columns(640, 480, (80, 2)), 2);
    }
}
