//! Stage V of a picture in tiles: what of it enters the decoder, each tile judged by itself, with the newlines of the rows.
//!
//! The host chooses here: which newlines go along depends on which tokens enter, and the budget counts both.

mod admission;

use super::{
    LlavaModel,
    packing::{Sources, sources},
    positions::Places,
    pruned_features::{Chosen, Merge, PrunedFeatures, TowerFeatures, middle},
};
use crate::{
    drop::{Pruning, newlines::Standing, prefill::Candidates, token_map::TokenMap},
    error::Result,
    kernel,
    tiling::{Cell, Kind, PictureShape, Size},
};
use admission::Admission;

/// Every token that might enter the decoder, in its order.
struct Tokens {
    /// What each is made of: rows of all tiles' features; of none, a newline.
    sources: Vec<Sources>,
    /// The patches of each, counted over all tiles.
    patches: Vec<Vec<u32>>,
    /// Where each stands among all cells of the picture.
    cells: Vec<u32>,
    standing: Vec<Standing>,
    /// The tokens of each tile that shows something, and its rows and columns where no windows were merged.
    regions: Vec<(usize, Size, Vec<usize>)>,
}

impl Tokens {
    fn new(tower: &TowerFeatures) -> Self {
        let shape = &tower.shape;
        let maps = merged_map(tower).patches;
        let all = shape.cells();
        let mut is_shown = vec![false; shape.patches()];
        for cell in &all {
            if let Kind::Patches(patches) = &cell.kind {
                patches.iter().for_each(|(patch, _)| is_shown[*patch as usize] = true);
            }
        }
        // The row of the token that stands in a patch's place.
        let mut row_at = vec![None; shape.patches()];
        for (row, patches) in maps.iter().enumerate() {
            if let Some(patch) = nearest_shown(shape, patches, &is_shown) {
                row_at[patch as usize] = Some(row as u32);
            }
        }
        let mut tokens = Self {
            sources: Vec::new(),
            patches: Vec::new(),
            cells: Vec::new(),
            standing: Vec::new(),
            regions: Vec::new(),
        };
        let mut token_of = vec![None; all.len()];
        let mut line_of_last = None;
        for (index, cell) in all.into_iter().enumerate() {
            let standing =
                Standing { line: cell.line, is_newline: cell.kind == Kind::Newline, is_key: false };
            let Some(made_of) = Self::made_of(cell, &row_at) else { continue };
            // A row all of whose tokens stand elsewhere has no newline.
            if standing.is_newline && line_of_last != standing.line {
                continue;
            }
            line_of_last = standing.line;
            let patches = made_of.iter().flat_map(|(row, _)| maps[*row as usize].iter().copied());
            token_of[index] = Some(tokens.sources.len());
            tokens.patches.push(patches.collect());
            tokens.sources.push(made_of);
            tokens.cells.push(index as u32);
            tokens.standing.push(standing);
        }
        for (tile, region) in shape.regions().into_iter().enumerate() {
            let members: Vec<usize> =
                region.cells.iter().filter_map(|cell| token_of[*cell as usize]).collect();
            if !members.is_empty() {
                let size = Size { height: region.rows, width: region.columns };
                tokens.regions.push((tile, size, members));
            }
        }
        tokens
    }

    /// The rows that a cell is made of; `None` if the token of its patch stands elsewhere.
    fn made_of(cell: Cell, row_at: &[Option<u32>]) -> Option<Sources> {
        let row = |(patch, share): (u32, f32)| Some((row_at[patch as usize]?, share));
        sources(cell).into_iter().map(row).collect()
    }

    fn len(&self) -> usize {
        self.sources.len()
    }
}

/// The patch in whose place a token stands: of those that are not cut off with the margin, the one nearest to its middle, if any.
fn nearest_shown(shape: &PictureShape, patches: &[u32], is_shown: &[bool]) -> Option<u32> {
    let (_, middle_row, middle_column) = shape.place(middle(patches));
    let distance = |patch: &u32| {
        let (_, row, column) = shape.place(*patch);
        row.abs_diff(middle_row) + column.abs_diff(middle_column)
    };
    patches.iter().copied().filter(|patch| is_shown[*patch as usize]).min_by_key(distance)
}

/// The tokens of all tiles' features, with patches counted over all tiles.
fn merged_map(tower: &TowerFeatures) -> TokenMap {
    let of_tile = tower.shape.patches_of_tile();
    let patches = tower.tiles.iter().enumerate().flat_map(|(tile, features)| {
        let first = (tile * of_tile) as u32;
        features
            .tower_tokens
            .patches
            .iter()
            .map(move |token| token.iter().map(|patch| first + patch).collect())
    });
    TokenMap { patches: patches.collect() }
}

/// What was merged in any tile, windows counted over all tiles.
fn merge(tower: &TowerFeatures) -> Option<Merge> {
    let mut all = Merge { windows: Vec::new(), similarity: Vec::new() };
    for tile in &tower.tiles {
        let merge = tile.merge.as_ref()?;
        let first = all.similarity.len();
        all.windows.extend(merge.windows.iter().map(|window| first + window));
        all.similarity.extend(&merge.similarity);
    }
    Some(all)
}

impl LlavaModel {
    /// Lets the tokens of a picture in tiles in that the policy chooses; the features are the decoder's embeddings.
    ///
    /// # Errors
    ///
    /// As [`admit`](Self::admit).
    pub(super) fn admit_tiles(&self, tower: &TowerFeatures, pruning: &Pruning) -> Result<PrunedFeatures> {
        let rules = pruning.rules();
        let depth = self.decoder.depth();
        let tokens = Tokens::new(tower);
        let sizes = rules.sizes(&tower.shape, tokens.len(), depth)?;
        let count = sizes.as_ref().and_then(|sizes| sizes.first().copied()).unwrap_or(usize::MAX);
        let entered = Admission::new(self, tower, &tokens, &*rules).enter(count.min(tokens.len()))?;
        let device = entered.features.device();
        let is_key: Vec<u32> = entered.standing.iter().map(|token| u32::from(token.is_key)).collect();
        let candidates = Candidates {
            is_key: kernel::integers(is_key, [entered.standing.len()], &device),
            layers: rules.layers(&tower.shape, depth),
            sizes: sizes.map(|sizes| sizes.into_iter().skip(1).collect()),
            rows: None,
            score: None,
            standing: Some(entered.standing),
        };
        let places = pruning.keeps_places().then(|| Places {
            span: tower.shape.tokens() as u32,
            of_rows: entered.cells,
            entered: None,
        });
        Ok(PrunedFeatures {
            features: entered.features,
            tower_tokens: merged_map(tower),
            candidates,
            merge: merge(tower),
            chosen: Chosen::OnHost(entered.known),
            classes: 0,
            places,
        })
    }
}
