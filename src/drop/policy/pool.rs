//! Average pooling: a smaller grid of plain means.

use std::cmp::Reverse;

use super::{Entry, Keep, Policy, TowerTokens};
use crate::{
    drop::token_map::Group,
    error::Result,
    tiling::{PictureShape, Size},
};

/// Patches along a window's side where no budget asks for another grid.
const WINDOW: usize = 3;

/// Means over the windows of the largest grid that the budget holds.
#[derive(Debug)]
pub(super) struct Pool {
    pub keep: Option<Keep>,
}

impl Policy for Pool {
    fn sizes(&self, picture: &PictureShape, _tokens: usize, _depth: usize) -> Result<Option<Vec<usize>>> {
        let budget = self.keep.map(|keep| keep.tokens_of(picture)).transpose()?;
        let tokens = match budget {
            // Newlines and tiles share it out.
            Some(budget) if !picture.is_square() => budget,
            Some(budget) => grid(budget, Size::square(picture.grid)).area(),
            None => {
                let regions = picture.regions().into_iter();
                let windows =
                    regions.map(|region| region.rows.div_ceil(WINDOW) * region.columns.div_ceil(WINDOW));
                windows.sum::<usize>() + picture.budgeted() - picture.content()
            }
        };
        Ok(Some(vec![tokens]))
    }

    fn enter(&self, tower: &TowerTokens<'_>, count: usize) -> Result<Entry> {
        Ok(Entry::Means(windows(grid(count, tower.grid), tower.grid)))
    }
}

/// Rows and columns, at most as many as `patches` has, with the most windows up to `budget`; of those the squarest, and then the
/// fewest rows.
fn grid(budget: usize, patches: Size) -> Size {
    let fit = |height: usize| Size { height, width: (budget / height).min(patches.width) };
    // Windows of equal number are the squarer, the shorter their longer side is.
    let longer_side = |size: &Size| (patches.height * size.width).max(patches.width * size.height);
    let fits = (1..=patches.height.min(budget)).rev().map(fit).filter(|size| size.width > 0);
    fits.max_by_key(|size| (size.area(), Reverse(longer_side(size)))).unwrap_or(Size::square(1))
}

/// The patches of each window; every patch lies in exactly one.
fn windows(windows: Size, patches: Size) -> Vec<Group> {
    let span = |index: usize, parts: usize, side: usize| index * side / parts..(index + 1) * side / parts;
    let window = |row: usize, column: usize| -> Vec<u32> {
        let columns = span(column, windows.width, patches.width);
        let line = |y: usize| columns.clone().map(move |x| (y * patches.width + x) as u32);
        span(row, windows.height, patches.height).flat_map(line).collect()
    };
    let places = (0..windows.height).flat_map(|row| (0..windows.width).map(move |column| (row, column)));
    places.map(|(row, column)| Group::around_its_middle(window(row, column))).collect()
}

#[cfg(test)]
mod tests {
    use super::{grid, windows};
    use crate::tiling::Size;

    #[test]
    fn the_grid_is_the_largest_and_the_squarest_that_a_budget_holds() {
        let of_24 = |budget| {
            let Size { height, width } = grid(budget, Size::square(24));
            (height, width)
        };
        assert_eq!(of_24(64), (8, 8));
        assert_eq!(of_24(128), (8, 16));
        assert_eq!(of_24(192), (12, 16));
        assert_eq!(of_24(32), (4, 8));
        assert_eq!(of_24(576), (24, 24));
        assert_eq!(of_24(1), (1, 1));
        assert_eq!(of_24(67), (6, 11), "67 is prime");
        let flat = grid(16, Size { height: 4, width: 36 });
        assert_eq!((flat.height, flat.width), (1, 16), "windows of 4 x 2.25 are squarer than of 2 x 4.5");
    }

    #[test]
    fn every_patch_is_in_one_window() {
        for [rows, columns, height, width] in
            [[8, 8, 24, 24], [5, 7, 24, 24], [1, 1, 1, 1], [3, 4, 7, 7], [2, 5, 6, 24]]
        {
            let patches = Size { height, width };
            let windows = windows(Size { height: rows, width: columns }, patches);
            assert_eq!(windows.len(), rows * columns);
            let mut members: Vec<u32> = windows.into_iter().flat_map(|window| window.members).collect();
            members.sort_unstable();
            assert!(members.into_iter().eq(0..patches.area() as u32));
        }
    }
}
