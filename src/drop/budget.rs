//! A fixed budget: how many of a picture's tokens each decoder layer computes.

use std::{fmt, str::FromStr};

use super::Admit;
use crate::{
    error::{Error, Result},
    tiling::PictureShape,
};

/// What is kept of a picture: the mean number of its tokens over all decoder layers.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Keep {
    /// So many tokens.
    Tokens(usize),
    /// This share of the picture's patches, above 0 and at most 1.
    Share(f64),
}

impl Keep {
    const EXPECTED: &str = "a number of tokens from 1 up, or a share above 0% and at most 100%";

    /// The budget in tokens for a picture of this shape: for one in tiles, of all its tokens, and no more than those.
    ///
    /// # Errors
    ///
    /// As [`tokens`](Self::tokens) for a picture that is one square.
    pub(crate) fn tokens_of(self, picture: &PictureShape) -> Result<usize> {
        match self {
            // How many tokens a picture in tiles has depends on its size.
            Self::Tokens(tokens) if !picture.is_square() => Ok(tokens.clamp(1, picture.budgeted())),
            _ => self.tokens(picture.budgeted()),
        }
    }

    /// The budget in tokens for a picture of `patches` patches, at least one.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if it is 0 or more than there are patches.
    pub fn tokens(self, patches: usize) -> Result<usize> {
        let tokens = match self {
            Self::Tokens(tokens) => tokens,
            Self::Share(share) if share > 0.0 && share <= 1.0 => {
                ((share * patches as f64).round() as usize).max(1)
            }
            Self::Share(_) => return Err(Error::argument("--keep", Self::EXPECTED, self.to_string())),
        };
        if (1..=patches).contains(&tokens) {
            return Ok(tokens);
        }
        let expected = format!("from 1 to {patches} tokens, as many as a picture has, or a share of them");
        Err(Error::argument("--keep", expected, self.to_string()))
    }
}

impl FromStr for Keep {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::argument("--keep", Self::EXPECTED, text);
        match text.strip_suffix('%') {
            Some(percent) => match percent.trim().parse::<f64>() {
                Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(Self::Share(percent / 100.0)),
                _ => Err(invalid()),
            },
            None => match text.parse() {
                Ok(0) | Err(_) => Err(invalid()),
                Ok(tokens) => Ok(Self::Tokens(tokens)),
            },
        }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tokens(tokens) => write!(f, "{tokens}"),
            // A share of 0.07 is 7.000000000000001 % as floats multiply.
            Self::Share(share) => write!(f, "{}%", (share * 1e11).round() / 1e9),
        }
    }
}

/// Of a picture of `patches` patches, `tokens` tokens behind the merge: those that enter the decoder, and those that go on behind
/// each pruning layer.
///
/// Their mean over the decoder's `layers` layers is `budget`, up to one token. How many enter, [`Admit`] says; from the first
/// filter on the numbers fall by the same factor each time. The paper has no fixed budget, and lets all tokens in; here those
/// that are not admitted are never computed. Without any filter, `budget` tokens enter.
pub fn schedule(
    budget: usize,
    patches: usize,
    tokens: usize,
    layers: usize,
    pruning_layers: &[usize],
    admit: Admit,
) -> Vec<usize> {
    if budget >= tokens {
        return vec![tokens; pruning_layers.len() + 1];
    }
    // Layers that compute the tokens that entered, and those that survived each filter.
    let ends = pruning_layers.iter().map(|layer| layer + 1).chain([layers]);
    let starts = std::iter::once(0).chain(pruning_layers.iter().map(|layer| layer + 1));
    let spans: Vec<f64> = starts.zip(ends).map(|(start, end)| end.saturating_sub(start) as f64).collect();
    let whole = (budget * layers) as f64;
    if spans.len() == 1 {
        return vec![budget];
    }
    let entering = admit.entering(budget, patches, spans[0] / layers as f64);
    // Not one less for the last bit of a quotient.
    let enter = (entering + 1e-9).floor().clamp(budget as f64, tokens as f64);
    let total = |factor: f64| -> f64 {
        spans.iter().enumerate().map(|(i, span)| span * enter * factor.powi(i as i32)).sum()
    };
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if total(middle) > whole { high = middle } else { low = middle }
    }
    let mut sizes: Vec<usize> =
        (0..spans.len()).map(|i| ((enter * low.powi(i as i32)).round() as usize).max(1)).collect();
    // What rounding took or gave goes to the last span, the longest as a rule, as far as whole tokens go.
    let used: f64 = sizes.iter().zip(&spans).map(|(size, span)| *size as f64 * span).sum();
    if let (Some(last), Some(span)) = (sizes.pop(), spans.last()) {
        let limit = sizes.last().copied().unwrap_or(tokens);
        let better = last as f64 + ((whole - used) / span).round();
        sizes.push((better.max(1.0) as usize).min(limit));
    }
    sizes
}
