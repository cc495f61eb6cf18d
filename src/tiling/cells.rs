//! The tokens of a picture one by one, before any is dropped.

use super::{Newlines, PictureShape};

/// A token of a picture, in the decoder's order; class tokens are not among them.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The row of the detail that it stands in and whose newline it shares; 0 for all where one newline ends a picture.
    pub line: Option<u32>,
    /// What it stands for.
    pub kind: Kind,
}

/// What a token stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Patches (counted over all tiles) and the share of each; the shares sum to 1.
    Patches(Vec<(u32, f32)>),
    /// `image_newline`.
    Newline,
}

/// The tokens that show what one tile shows: a rectangle of them, row by row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Region {
    /// Rows of tokens.
    pub rows: usize,
    /// Columns of tokens.
    pub columns: usize,
    /// Indices of its cells.
    pub cells: Vec<u32>,
}

impl PictureShape {
    /// All tokens but class tokens.
    pub fn cells(&self) -> Vec<Cell> {
        let last = (self.newlines == Newlines::Last).then_some(0);
        let single = |patch| Kind::Patches(vec![(patch, 1.0)]);
        let base = (0..self.patches_of_tile() as u32).map(|patch| Cell { line: last, kind: single(patch) });
        let mut cells: Vec<Cell> = base.collect();
        if let Some(detail) = &self.detail {
            let size = detail.tokens();
            for row in 0..size.height {
                let line = Some(row as u32);
                let down = blend(row, size.height, detail.rows.len());
                for column in 0..size.width {
                    let across = blend(column, size.width, detail.columns.len());
                    let mut shares: Vec<(u32, f32)> = Vec::with_capacity(4);
                    for (y, of_row) in down {
                        for (x, of_column) in across {
                            let patch = self.patch_at(detail.rows.start + y, detail.columns.start + x);
                            let share = of_row * of_column;
                            match shares.iter_mut().find(|(known, _)| *known == patch) {
                                Some((_, sum)) => *sum += share,
                                None if share > 0.0 => shares.push((patch, share)),
                                None => {}
                            }
                        }
                    }
                    cells.push(Cell { line, kind: Kind::Patches(shares) });
                }
                if self.newlines == Newlines::Rows {
                    cells.push(Cell { line, kind: Kind::Newline });
                }
            }
        }
        if last.is_some() {
            cells.push(Cell { line: last, kind: Kind::Newline });
        }
        cells
    }

    /// The patch at a row and a column of all patches of the detail.
    fn patch_at(&self, row: usize, column: usize) -> u32 {
        let across = self.detail.as_ref().map_or(1, |detail| detail.tiles.width);
        let tile = 1 + row / self.grid * across + column / self.grid;
        (tile * self.patches_of_tile() + row % self.grid * self.grid + column % self.grid) as u32
    }

    /// For each tile, the cells that show what it shows: by their middle, where cells are interpolated between tiles. None for a
    /// tile that shows nothing but margin.
    pub fn regions(&self) -> Vec<Region> {
        let base = self.patches_of_tile() as u32;
        let mut regions = vec![Region { rows: self.grid, columns: self.grid, cells: (0..base).collect() }];
        let Some(detail) = &self.detail else { return regions };
        regions.resize(self.tiles(), Region::default());
        let size = detail.tokens();
        // A newline behind each row.
        let stride = size.width + usize::from(self.newlines == Newlines::Rows);
        let tile_of = |index: usize, count: usize, patches: &std::ops::Range<usize>| {
            let middle = (index as f64 + 0.5) * patches.len() as f64 / count as f64;
            (patches.start as f64 + middle) as usize / self.grid
        };
        for row in 0..size.height {
            let first = tile_of(row, size.height, &detail.rows) * detail.tiles.width;
            for column in 0..size.width {
                let tile = 1 + first + tile_of(column, size.width, &detail.columns);
                if let Some(region) = regions.get_mut(tile) {
                    region.cells.push(base + (row * stride + column) as u32);
                }
            }
        }
        let first_row = |cell: &u32| (*cell - base) as usize / stride;
        for region in regions.iter_mut().skip(1).filter(|region| !region.cells.is_empty()) {
            let top = region.cells.first().map_or(0, first_row);
            region.rows = region.cells.last().map_or(0, first_row) + 1 - top;
            region.columns = region.cells.len() / region.rows;
        }
        regions
    }
}

/// The two of `from` places that place `index` of `to` lies between, and the share of each: bilinear interpolation whose corners
/// are not aligned, without antialiasing.
fn blend(index: usize, to: usize, from: usize) -> [(usize, f32); 2] {
    if to == from {
        return [(index, 1.0), (index, 0.0)];
    }
    let source = ((index as f32 + 0.5) * (from as f32 / to as f32) - 0.5).max(0.0);
    let first = (source as usize).min(from - 1);
    let share = source - first as f32;
    [(first, 1.0 - share), ((first + 1).min(from - 1), share)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiling::{Detail, Size};

    fn shape(resolution: [usize; 2], picture: [usize; 2], most: Option<usize>) -> PictureShape {
        let [resolution, picture] = [resolution, picture].map(|[height, width]| Size { height, width });
        PictureShape {
            detail: Some(Detail::new(picture, resolution, (30, 3), most)),
            newlines: Newlines::Rows,
            ..PictureShape::square(3, 0)
        }
    }

    #[test]
    fn cells_run_row_by_row_through_tiles() {
        let shape = shape([60, 90], [60, 90], None);
        let cells = shape.cells();
        assert_eq!(cells.len(), shape.tokens());
        assert_eq!(shape.tokens(), 9 + 6 * 10);
        let patches: Vec<Option<u32>> = cells
            .iter()
            .map(|cell| match &cell.kind {
                Kind::Patches(patches) => Some(patches[0].0),
                Kind::Newline => None,
            })
            .collect();
        let first: Vec<Option<u32>> =
            [9, 10, 11, 18, 19, 20, 27, 28, 29].map(Some).into_iter().chain([None]).collect();
        assert_eq!(patches[9..19], first, "the first row of three tiles, and a newline");
        assert_eq!(patches[19], Some(12));
        assert_eq!(patches[9 + 3 * 10], Some(36), "the second row of tiles");
    }

    #[test]
    fn regions_share_the_cells_out() {
        for (resolution, picture, most) in [
            ([60, 90], [60, 90], None),
            ([60, 90], [20, 90], None),
            ([90, 90], [90, 60], Some(2)),
            ([90, 90], [70, 90], Some(4)),
        ] {
            let shape = shape(resolution, picture, most);
            let (cells, regions) = (shape.cells(), shape.regions());
            assert_eq!(regions.len(), shape.tiles());
            let mut all: Vec<u32> = regions.iter().flat_map(|region| region.cells.clone()).collect();
            all.sort_unstable();
            let content = (0..cells.len() as u32).filter(|cell| cells[*cell as usize].kind != Kind::Newline);
            assert!(all.into_iter().eq(content));
            for region in &regions {
                assert_eq!(region.cells.len(), region.rows * region.columns);
            }
            for cell in &cells {
                if let Kind::Patches(shares) = &cell.kind {
                    assert!((shares.iter().map(|(_, share)| share).sum::<f32>() - 1.0).abs() < 1e-6);
                }
            }
        }
    }
}
