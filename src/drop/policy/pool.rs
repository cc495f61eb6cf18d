//! Average pooling: a smaller grid of plain means.

use super::{Entry, Keep, Policy, TowerTokens};
use crate::{drop::token_map::Group, error::Result};

/// Patches along a window's side where no budget asks for another grid.
const WINDOW: usize = 3;

/// Means over the windows of the largest grid that the budget holds.
#[derive(Debug)]
pub(super) struct Pool {
    pub keep: Option<Keep>,
}

impl Policy for Pool {
    fn sizes(&self, patches: usize, _tokens: usize, _depth: usize) -> Result<Option<Vec<usize>>> {
        let side = patches.isqrt();
        let (rows, columns) = match self.keep {
            Some(keep) => grid(keep.tokens(patches)?, side),
            None => (side.div_ceil(WINDOW), side.div_ceil(WINDOW)),
        };
        Ok(Some(vec![rows * columns]))
    }

    fn enter(&self, tower: &TowerTokens<'_>, count: usize) -> Result<Entry> {
        let (rows, columns) = grid(count, tower.grid);
        Ok(Entry::Means(windows(rows, columns, tower.grid)))
    }
}

/// Rows and columns, at most `side` each, with the most windows up to `budget`; of those the squarest.
fn grid(budget: usize, side: usize) -> (usize, usize) {
    let fit = |rows: usize| (rows, (budget / rows).min(side));
    let fits = (1..=side.min(budget)).map(fit).filter(|(rows, columns)| rows <= columns);
    // `max_by_key` returns the last of equals: the one with the most rows.
    fits.max_by_key(|(rows, columns)| rows * columns).unwrap_or((1, 1))
}

/// The patches of each window; every patch lies in exactly one.
fn windows(rows: usize, columns: usize, side: usize) -> Vec<Group> {
    let span = |index: usize, parts: usize| index * side / parts..(index + 1) * side / parts;
    let window = |row: usize, column: usize| -> Vec<u32> {
        span(row, rows).flat_map(|y| span(column, columns).map(move |x| (y * side + x) as u32)).collect()
    };
    let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    places.map(|(row, column)| Group::around_its_middle(window(row, column))).collect()
}

#[cfg(test)]
mod tests {
    use super::{grid, windows};

    #[test]
    fn the_grid_is_the_largest_and_the_squarest_that_a_budget_holds() {
        assert_eq!(grid(64, 24), (8, 8));
        assert_eq!(grid(128, 24), (8, 16));
        assert_eq!(grid(192, 24), (12, 16));
        assert_eq!(grid(32, 24), (4, 8));
        assert_eq!(grid(576, 24), (24, 24));
        assert_eq!(grid(1, 24), (1, 1));
        assert_eq!(grid(67, 24), (6, 11), "67 is prime");
    }

    #[test]
    fn every_patch_is_in_one_window() {
        for (rows, columns, side) in [(8, 8, 24), (12, 16, 24), (5, 7, 24), (1, 1, 1), (3, 4, 7)] {
            let windows = windows(rows, columns, side);
            assert_eq!(windows.len(), rows * columns);
            let mut patches: Vec<u32> = windows.into_iter().flat_map(|window| window.members).collect();
            patches.sort_unstable();
            assert!(patches.into_iter().eq(0..(side * side) as u32));
        }
    }
}
