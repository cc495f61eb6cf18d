//! Stage V: windows of alike patches become one token, and `[CLS]` names the tokens to protect.

use super::{Pruning, RowOrder, token_map::TokenMap};
use crate::oracle::vision::WindowSimilarityParams;

/// Which windows of a picture are merged, and the tokens that result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergePlan {
    /// Merged windows (row-major), most similar first; equal ones in the order of their indices.
    pub windows: Vec<usize>,
    /// The tokens in the decoder's order.
    pub tokens: TokenMap,
}

impl MergePlan {
    /// Merges the windows whose similarity reaches the threshold, most similar first, as long as `least` tokens are
    /// left: 0 merges them all, as the paper does; under a budget, no more than the budget asks for.
    ///
    /// `similarity` has one value a window, as [`window_similarity`](crate::oracle::vision::window_similarity)
    /// computes them with `params`.
    pub fn new(similarity: &[f32], params: &WindowSimilarityParams, pruning: &Pruning, least: usize) -> Self {
        let mut windows: Vec<usize> =
            (0..similarity.len()).filter(|&w| similarity[w] >= pruning.similarity_threshold).collect();
        // A stable sort: equal windows stay in the order of their indices.
        windows.sort_by(|&a, &b| similarity[b].total_cmp(&similarity[a]));
        let mut left = (params.grid * params.grid) as usize;
        let fitting = windows.iter().take_while(|window| {
            left -= params.rows(**window).len() - 1;
            left >= least
        });
        windows.truncate(fitting.count());

        let patches_of = |window: usize| -> Vec<u32> {
            params.rows(window).into_iter().map(|row| row as u32 - params.first).collect()
        };
        let merged: Vec<Vec<u32>> = windows.iter().map(|window| patches_of(*window)).collect();
        let mut is_merged = vec![false; (params.grid * params.grid) as usize];
        for patch in merged.iter().flatten() {
            is_merged[*patch as usize] = true;
        }
        let single = (0..params.grid * params.grid).filter(|patch| !is_merged[*patch as usize]);
        let mut patches: Vec<Vec<u32>> = merged.into_iter().chain(single.map(|patch| vec![patch])).collect();
        if pruning.order == RowOrder::Raster {
            patches.sort_by_key(|patches| patches[patches.len() / 2]);
        }
        Self { windows, tokens: TokenMap { patches } }
    }
}

/// Size of the key token set: `ceil(keep_rate * tokens)`.
pub fn key_tokens(keep_rate: f64, tokens: usize) -> usize {
    ((keep_rate * tokens as f64).ceil() as usize).min(tokens)
}
