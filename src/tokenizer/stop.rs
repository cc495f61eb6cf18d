//! Texts that end an answer.

use crate::error::{Error, Result};

/// Watches a stream of text for stop strings, and holds back what may become one.
#[derive(Debug, Clone, Default)]
pub struct StopStrings {
    stops: Vec<String>,
    held: String,
}

impl StopStrings {
    /// Watches for `stops`.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if one is empty: it would end every answer before it begins.
    pub fn new(stops: &[String]) -> Result<Self> {
        if stops.iter().any(String::is_empty) {
            return Err(Error::argument("stop", "a text of at least one character", "an empty one"));
        }
        Ok(Self { stops: stops.to_vec(), held: String::new() })
    }

    /// Takes the next piece; returns the text that is certain, and whether a stop string follows it.
    pub fn push(&mut self, piece: &str) -> (String, bool) {
        self.held += piece;
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(start) = found {
            self.held.truncate(start);
            return (std::mem::take(&mut self.held), true);
        }
        let may_stop = |start: &usize| {
            let tail = &self.held[*start..];
            self.stops.iter().any(|stop| stop.starts_with(tail))
        };
        let certain =
            self.held.char_indices().map(|(start, _)| start).find(may_stop).unwrap_or(self.held.len());
        let rest = self.held.split_off(certain);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// The text that was held back: no stop string came of it.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}
