//! Which patches every vision token stands for.

/// The tokens of one picture in the decoder's order, each with its patches (raster indices).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenMap {
    /// `patches[token]`: one patch, all of a merged window's, or none for a class token.
    pub patches: Vec<Vec<u32>>,
}

impl TokenMap {
    /// One token for each of `count` patches.
    pub fn dense(count: usize) -> Self {
        Self { patches: (0..count as u32).map(|patch| vec![patch]).collect() }
    }

    /// Tokens.
    pub fn len(&self) -> usize {
        self.patches.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.patches.is_empty()
    }
}
