//! The tiles and tokens of one picture.

use std::ops::Range;

use super::{Size, resolution};

/// What the vision tower sees of a picture, and the tokens that the decoder would be given of it if none were dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureShape {
    /// Patches along a side of a tile.
    pub grid: usize,
    /// Class tokens in front of the patches.
    pub classes: usize,
    /// The tiles beside the base.
    pub detail: Option<Detail>,
    /// Where `image_newline` stands.
    pub newlines: Newlines,
}

/// Where the token `image_newline` stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newlines {
    /// Nowhere.
    None,
    /// Behind every row of the detail.
    Rows,
    /// Behind all.
    Last,
}

/// The picture in a resolution above the base's, cut into tiles.
///
/// Where the picture leaves margins in the resolution, the rows or columns of tokens that show nothing but margin are cut off
/// (*unpadded*).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    /// The resolution.
    pub resolution: Size,
    /// The picture's size in it, in the middle; an odd pixel is left at the right or below.
    pub fitted: Size,
    /// Rows and columns of tiles.
    pub tiles: Size,
    /// Rows of the tiles' patches that are not cut off.
    pub rows: Range<usize>,
    /// Columns likewise.
    pub columns: Range<usize>,
    /// Rows and columns that these are interpolated to, where they are too many.
    pub shrunk: Option<Size>,
}

/// Detail is shrunk if it has so many times the sides that it should have.
const SHRINK_FROM: f64 = 1.1;

impl Detail {
    pub(super) fn new(
        picture: Size,
        resolution: Size,
        (side, grid): (usize, usize),
        most_tiles: Option<usize>,
    ) -> Self {
        let tiles = Size { height: resolution.height / side, width: resolution.width / side };
        let (rows, columns) = unpadded(picture, tiles.height * grid, tiles.width * grid);
        let shrunk = most_tiles.and_then(|most| shrunk(rows.len(), columns.len(), most * grid * grid));
        Self { resolution, fitted: resolution::fitted(picture, resolution), tiles, rows, columns, shrunk }
    }

    /// Rows and columns of tokens.
    pub fn tokens(&self) -> Size {
        self.shrunk.unwrap_or(Size { height: self.rows.len(), width: self.columns.len() })
    }

    /// Pixels of the resolution above and left of the picture.
    pub fn margin(&self) -> (usize, usize) {
        let Self { resolution, fitted, .. } = self;
        ((resolution.height - fitted.height) / 2, (resolution.width - fitted.width) / 2)
    }
}

/// The rows and columns of a token grid that show the picture: where those due leave an odd rest, one of margin stays.
fn unpadded(picture: Size, rows: usize, columns: usize) -> (Range<usize>, Range<usize>) {
    // Of 7 decimals, and then truncated.
    let due = |side: usize, by: f64| ((side as f64 * by * 1e7).round() / 1e7) as usize;
    let cut = |all: usize, due: usize| {
        let margin = all.saturating_sub(due) / 2;
        margin..all - margin
    };
    let [height, width] = [picture.height, picture.width].map(|side| side as f64);
    if width / height > columns as f64 / rows as f64 {
        (cut(rows, due(picture.height, columns as f64 / width)), 0..columns)
    } else {
        (0..rows, cut(columns, due(picture.width, rows as f64 / height)))
    }
}

/// The most tokens of detail that are not shrunk to about `most`.
pub(super) fn most_unshrunk(most: usize) -> usize {
    (most as f64 * SHRINK_FROM * SHRINK_FROM) as usize
}

/// The grid that so many rows and columns are shrunk to for about `most` tokens, if they are too many.
fn shrunk(rows: usize, columns: usize, most: usize) -> Option<Size> {
    let ratio = ((rows * columns) as f64 / most as f64).sqrt();
    let side = |side: usize| (floor_quotient(side as f64, ratio) as usize).max(1);
    (ratio > SHRINK_FROM).then(|| Size { height: side(rows), width: side(columns) })
}

/// Python's `a // b` of positive floats: exact where the rounded quotient is not.
fn floor_quotient(a: f64, b: f64) -> f64 {
    ((a - a % b) / b).round()
}

/// Tile, row and column of a patch, counted over tiles of `grid` x `grid` patches.
pub fn place(patch: u32, grid: usize) -> (usize, usize, usize) {
    let patch = patch as usize;
    (patch / (grid * grid), patch / grid % grid, patch % grid)
}

impl PictureShape {
    /// One square without newlines.
    pub fn square(grid: usize, classes: usize) -> Self {
        Self { grid, classes, detail: None, newlines: Newlines::None }
    }

    /// Whether the decoder is given the tower's tokens of one square as they are.
    pub fn is_square(&self) -> bool {
        self.detail.is_none() && self.newlines == Newlines::None
    }

    /// Squares that go through the tower.
    pub fn tiles(&self) -> usize {
        1 + self.detail.as_ref().map_or(0, |detail| detail.tiles.area())
    }

    /// Patches of a tile.
    pub fn patches_of_tile(&self) -> usize {
        self.grid * self.grid
    }

    /// Patches of all tiles.
    pub fn patches(&self) -> usize {
        self.tiles() * self.patches_of_tile()
    }

    /// Tokens that stand for patches.
    pub fn content(&self) -> usize {
        self.patches_of_tile() + self.detail.as_ref().map_or(0, |detail| detail.tokens().area())
    }

    /// All tokens.
    pub fn tokens(&self) -> usize {
        let newlines = match (self.newlines, &self.detail) {
            (Newlines::None, _) | (Newlines::Rows, None) => 0,
            (Newlines::Rows, Some(detail)) => detail.tokens().height,
            (Newlines::Last, _) => 1,
        };
        self.classes + self.content() + newlines
    }

    /// All tokens but class tokens: what a budget counts.
    pub fn budgeted(&self) -> usize {
        self.tokens() - self.classes
    }

    /// Whether tokens are interpolated between patches.
    pub fn is_shrunk(&self) -> bool {
        self.detail.as_ref().is_some_and(|detail| detail.shrunk.is_some())
    }

    /// Tile, row and column of a patch, counted over all tiles.
    pub fn place(&self, patch: u32) -> (usize, usize, usize) {
        place(patch, self.grid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiling::{AnyResolution, Tiling};

    fn next() -> Tiling {
        let sizes = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]];
        let pinpoints = sizes.iter().map(|[height, width]| Size { height: *height, width: *width });
        Tiling::AnyResolution(AnyResolution {
            pinpoints: pinpoints.collect(),
            most_tiles: None,
            several_are_squares: false,
        })
    }

    #[test]
    fn next_has_a_base_and_the_detail_without_its_margin() {
        let shape = |height, width| next().shape(Size { height, width }, (336, 24, 0), true);
        // 576 + 48 rows of 48 and a newline: the published 2,880 and the newlines.
        assert_eq!((shape(672, 672).tokens(), shape(672, 672).content()), (576 + 48 * 49, 2880));
        assert_eq!(shape(672, 672).tiles(), 5);
        // 640 x 480 in 672 x 672: 36 of 48 rows.
        let detail = shape(480, 640).detail.map(|detail| (detail.rows, detail.columns));
        assert_eq!(detail, Some((6..42, 0..48)));
        assert_eq!(next().largest((336, 24, 0)).tokens(), 576 + 48 * 49);
    }

    #[test]
    fn an_odd_margin_leaves_one_row_of_it() {
        // 665 * 48 / 672 = 47.5 of 48 columns are due.
        let shape = next().shape(Size { height: 672, width: 665 }, (336, 24, 0), true);
        assert_eq!(shape.detail.map(|detail| (detail.rows, detail.columns)), Some((0..48, 0..48)));
    }

    #[test]
    fn quotients_are_python_s() {
        assert_eq!(floor_quotient(6.0, 1.5), 4.0);
        assert_eq!(floor_quotient(1.0, 0.1), 9.0, "as 1.0 // 0.1 is in Python");
        assert_eq!(floor_quotient(7.0, 2.0), 3.0);
    }

    #[test]
    fn detail_is_shrunk_from_a_tenth_too_much_on() {
        assert_eq!(shrunk(100, 120, 10_000), None, "a ratio of 1.095");
        assert_eq!(shrunk(100, 125, 10_000), Some(Size { height: 89, width: 111 }));
        assert_eq!(shrunk(1, 5_000, 10), Some(Size { height: 1, width: 223 }), "a row is left");
    }
}
