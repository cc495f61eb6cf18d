//! What became of one picture's tokens.

use serde::Serialize;

use crate::{
    config::VisionConfig,
    drop::prefill::{Admitted, FilterStep},
    image::Placement,
    model::PrunedFeatures,
    tiling::{self, PictureShape},
};

/// What became of one picture's tokens.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PictureReport {
    /// Its number in the conversation, counted from 0.
    pub number: usize,
    /// Patches along a side of the model's square.
    pub grid: usize,
    /// Side of the square that the patches cover, in pixels of the model's square.
    pub side: usize,
    /// Where the square lies in the picture; the base, where there are more.
    pub placement: Placement,
    /// Every square that the tower saw, the base first.
    pub tiles: Vec<TileReport>,
    /// Tokens of the picture if none were dropped.
    pub dense_tokens: usize,
    /// Merged windows (row-major, one tile after the other), most similar first in each tile.
    pub merged_windows: Vec<usize>,
    /// The mean cosine within each window; empty where none were compared.
    pub window_similarity: Vec<f32>,
    /// Tokens in the tower behind the merge.
    pub tower_tokens: usize,
    /// The patches (raster indices, one tile after the other) of each token that entered the decoder: none of a newline.
    pub tokens: Vec<Vec<u32>>,
    /// Where each of them is in the picture; `None` for a newline or a class token.
    pub places: Vec<Option<TokenPlace>>,
    /// The attention of `[CLS]` to each of them; empty where it was not asked for.
    pub class_attention: Vec<f32>,
    /// Those that were picked because they cover the picture, the first pick first: all that entered, but where every token
    /// enters, the protected ones alone. Empty where tokens were admitted in another way, or became means.
    pub picks: Vec<usize>,
    /// Indices of the protected tokens.
    pub key_tokens: Vec<usize>,
    /// The tokens that went on behind each pruning layer.
    pub kept: Vec<Kept>,
}

/// A square that the tower saw.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TileReport {
    /// Where it lies in the picture.
    pub placement: Placement,
    /// Its tokens in the tower behind the merge.
    pub tokens: usize,
}

/// Where a token lies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TokenPlace {
    /// The tile of its first patch, among [`PictureReport::tiles`].
    pub tile: usize,
    /// The row of that patch in the tile.
    pub row: usize,
    /// Its column.
    pub column: usize,
    /// Left, top, right and bottom edge around all its patches, in tenths of pixels of the picture: beyond its edges where the
    /// tile has a margin.
    pub pixels: [f64; 4],
}

/// The tokens that went on behind a layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Kept {
    /// The layer, counted from 0.
    pub layer: usize,
    /// Indices among the tokens that entered the decoder, ascending.
    pub tokens: Vec<usize>,
    /// How important each token was that was still there, dropped ones included.
    pub importance: Vec<f32>,
}

impl PictureReport {
    /// The report on the picture of this number in the conversation and this index in a pass with these filters.
    pub(crate) fn new(
        pruned: &PrunedFeatures,
        admitted: &Admitted,
        vision: &VisionConfig,
        (shape, placements): (&PictureShape, &[Placement]),
        (number, index): (usize, usize),
        steps: &[FilterStep],
    ) -> Self {
        let entered = pruned.entered(admitted);
        let mut alive: Vec<usize> = (0..entered.tokens.len()).collect();
        let mut kept = Vec::new();
        for step in steps {
            if let Some(stayed) = step.kept.get(index) {
                alive = stayed.iter().map(|token| alive[*token]).collect();
                let importance = step.importance.get(index).cloned().unwrap_or_default();
                kept.push(Kept { layer: step.layer, tokens: alive.clone(), importance });
            }
        }
        let (merged_windows, window_similarity) =
            pruned.merge.clone().map_or_else(Default::default, |merge| (merge.windows, merge.similarity));
        let mut tiles: Vec<TileReport> =
            placements.iter().map(|placement| TileReport { placement: *placement, tokens: 0 }).collect();
        for patch in pruned.tower_tokens.patches.iter().filter_map(|patches| patches.first()) {
            tiles[shape.place(*patch).0].tokens += 1;
        }
        let mut report = Self {
            number,
            grid: shape.grid,
            side: vision.covered_side(),
            placement: placements[0],
            tiles,
            dense_tokens: shape.budgeted(),
            places: Vec::new(),
            tower_tokens: pruned.tower_tokens.len(),
            merged_windows,
            window_similarity,
            tokens: entered.tokens.patches,
            class_attention: entered.class_attention.unwrap_or_default(),
            picks: entered.picks.unwrap_or_default(),
            key_tokens: admitted.key_tokens.clone(),
            kept,
        };
        report.places = report.tokens.iter().map(|patches| report.place(patches)).collect();
        report
    }

    /// The edges of a patch in pixels of the picture.
    fn patch_pixels(&self, patch: u32) -> [f64; 4] {
        let (tile, row, column) = tiling::place(patch, self.grid);
        let side = self.side as f64 / self.grid as f64;
        let (left, top) = (column as f64 * side, row as f64 * side);
        self.tiles[tile].placement.pixels([left, top, left + side, top + side])
    }

    fn place(&self, patches: &[u32]) -> Option<TokenPlace> {
        let (tile, row, column) = tiling::place(*patches.first()?, self.grid);
        let around =
            |a: [f64; 4], b: [f64; 4]| [a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3])];
        let pixels = patches.iter().map(|patch| self.patch_pixels(*patch)).reduce(around)?;
        Some(TokenPlace { tile, row, column, pixels: pixels.map(|edge| (edge * 10.0).round() / 10.0) })
    }

    /// Tokens that decoder layer `layer` computes.
    pub(super) fn computed_in(&self, layer: usize) -> usize {
        let before = self.kept.iter().rev().find(|kept| kept.layer < layer);
        before.map_or(self.tokens.len(), |kept| kept.tokens.len())
    }
}
