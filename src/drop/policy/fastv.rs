//! FastV (Chen et al., arXiv 2403.06764): one filter behind an early layer of the decoder.

use super::{AskedRows, Keep, Policy};
use crate::{
    error::{Error, Result},
    tiling::PictureShape,
};

/// The paper's layer, counted from 0.
const LAYER: usize = 2;

/// Behind layer 2, the tokens that the prompt's last token attends to most.
///
/// The layers up to the filter compute every token, and count towards the budget. Where that leaves too little for
/// those behind, in a shallow decoder, the filter stands behind layer 1 or 0.
#[derive(Debug)]
pub(super) struct FastV {
    pub keep: Option<Keep>,
}

impl FastV {
    /// The layer, and the tokens that go on behind it: the deepest layer that leaves half the budget to each layer
    /// behind, or else the first.
    fn filter(&self, budget: usize, tokens: usize, depth: usize) -> (usize, usize) {
        let behind = |layer: usize| {
            let left = (budget * depth).saturating_sub((layer + 1) * tokens);
            (left as f64 / depth.saturating_sub(layer + 1).max(1) as f64).round() as usize
        };
        let layers = (0..=LAYER.min(depth.saturating_sub(2))).rev();
        let layer = layers.into_iter().find(|layer| 2 * behind(*layer) >= budget).unwrap_or(0);
        (layer, behind(layer))
    }
}

impl Policy for FastV {
    fn layers(&self, picture: &PictureShape, depth: usize) -> Vec<usize> {
        let budget = self.keep.and_then(|keep| keep.tokens_of(picture).ok());
        let layer = |budget| self.filter(budget, picture.budgeted(), depth).0;
        budget.filter(|_| depth > 1).map(layer).into_iter().collect()
    }

    fn sizes(&self, picture: &PictureShape, tokens: usize, depth: usize) -> Result<Option<Vec<usize>>> {
        let Some(keep) = self.keep else { return Ok(None) };
        let (_, behind) = self.filter(keep.tokens_of(picture)?, tokens, depth);
        if behind > 0 && depth > 1 {
            return Ok(Some(vec![tokens, behind]));
        }
        let least = if depth > 1 { tokens.div_ceil(depth) + 1 } else { tokens };
        Err(Error::argument(
            "--keep",
            format!(
                "at least {least} with --policy fastv, which computes all of {tokens} tokens in the first of this \
                 decoder's {depth} layers"
            ),
            keep.to_string(),
        ))
    }

    fn asked(&self) -> AskedRows {
        AskedRows::Last
    }
}

#[cfg(test)]
mod tests {
    use super::FastV;

    #[test]
    fn the_filter_moves_up_where_a_budget_asks_for_it() {
        let fastv = FastV { keep: None };
        assert_eq!(fastv.filter(192, 576, 32), (2, 152));
        assert_eq!(fastv.filter(64, 576, 32), (0, 47));
        assert_eq!(fastv.filter(192, 576, 12), (1, 115));
        assert_eq!(fastv.filter(64, 576, 12), (0, 17));
        assert_eq!(fastv.filter(48, 576, 12), (0, 0), "nothing is left");
    }
}
