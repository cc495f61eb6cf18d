//! What later turns of a conversation find of a picture.

use super::named;

/// What becomes of a picture's dropped tokens when a later question is asked about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Turns {
    /// They stay dropped, and only the new question is computed; unless so many pictures come that positions are numbered
    /// without gaps from then on: then everything is computed, and chosen, once more.
    #[default]
    Pin,
    /// They are back: the prompt is prefilled again, and the new question's text chooses. Under other rules than before, as a
    /// larger budget, tokens are also admitted anew, from all that the tower left; what was merged stays merged.
    Requery,
}

impl Turns {
    /// All there are, the default first.
    pub const ALL: &'static [Self] = &[Self::Pin, Self::Requery];

    /// The name as it is written on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pin => "pin",
            Self::Requery => "requery",
        }
    }
}

named!(Turns, "--turns");
