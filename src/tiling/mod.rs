//! How a picture of any shape becomes squares for the vision tower, and tokens for the decoder.
//!
//! LLaVA 1.5 looks at one square. LLaVA-NeXT and LLaVA-OneVision look at the whole picture squeezed to a square, the *base*, and
//! at its *detail*: the picture in the best of a list of resolutions, cut into tiles of the same square. What tokens this makes
//! follows from the picture's size alone: [`PictureShape`].

mod cells;
mod resolution;
mod shape;

pub use cells::{Cell, Kind, Region};
pub use shape::{Detail, Newlines, PictureShape, place};

/// Height and width, in pixels unless something else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Size {
    /// A square.
    pub fn square(side: usize) -> Self {
        Self { height: side, width: side }
    }

    /// Height times width.
    pub fn area(self) -> usize {
        self.height * self.width
    }
}

/// How a model looks at pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tiling {
    /// As one square (LLaVA 1.5).
    Square,
    /// As a base, and in detail as tiles (LLaVA-NeXT, LLaVA-OneVision).
    AnyResolution(AnyResolution),
}

/// What decides the tiles of a picture, and the tokens behind them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnyResolution {
    /// The resolutions of the detail (`image_grid_pinpoints`): multiples of the tower's square.
    pub pinpoints: Vec<Size>,
    /// Detail of clearly more tokens than so many tiles have is shrunk to about that (`anyres_max_9`).
    pub most_tiles: Option<usize>,
    /// Whether several pictures in a prompt are one padded square each (OneVision).
    pub several_are_squares: bool,
}

impl AnyResolution {
    /// Pictures of which a resolution may make the most tokens: one that fills it, and where that is shrunk, those that have just as
    /// many rows or columns as are not.
    fn fullest(&self, resolution: Size, (side, grid): (usize, usize)) -> Vec<Size> {
        let [rows, columns] = [resolution.height, resolution.width].map(|pixels| pixels / side * grid);
        let most = self.most_tiles.map_or(usize::MAX, |tiles| shape::most_unshrunk(tiles * grid * grid));
        // Both margins are equal, so every second number is possible; which of two, rounding decides.
        let fewer = |lines: usize, by: usize| {
            let fit = (most / by.max(1)).min(lines);
            (fit.saturating_sub(2).max(1)..=fit).collect::<Vec<_>>()
        };
        let part = |pixels: usize, lines: usize, of: usize| (pixels * lines).div_ceil(of).max(1);
        let short = fewer(rows, columns)
            .into_iter()
            .map(|lines| Size { height: part(resolution.height, lines, rows), ..resolution });
        let narrow = fewer(columns, rows)
            .into_iter()
            .map(|lines| Size { width: part(resolution.width, lines, columns), ..resolution });
        short.chain(narrow).chain([resolution]).collect()
    }
}

impl Tiling {
    /// The shape of a picture of this size, of which the tower sees squares of `side` pixels as `grid` x `grid` patches;
    /// `alone` says whether it is the only one in the prompt.
    ///
    /// `classes` are the class tokens that enter the decoder with the patches of a square.
    pub fn shape(
        &self,
        picture: Size,
        (side, grid, classes): (usize, usize, usize),
        alone: bool,
    ) -> PictureShape {
        match self {
            Self::Square => PictureShape::square(grid, classes),
            Self::AnyResolution(rules) if rules.several_are_squares && !alone => {
                PictureShape { newlines: Newlines::Last, ..PictureShape::square(grid, 0) }
            }
            Self::AnyResolution(rules) => {
                let best = resolution::best(picture, &rules.pinpoints).unwrap_or(Size::square(side));
                let detail = Detail::new(picture, best, (side, grid), rules.most_tiles);
                PictureShape {
                    detail: Some(detail),
                    newlines: Newlines::Rows,
                    ..PictureShape::square(grid, 0)
                }
            }
        }
    }

    /// The shape of the most tokens that any picture may have.
    pub fn largest(&self, (side, grid, classes): (usize, usize, usize)) -> PictureShape {
        let shape = |picture: Size| self.shape(picture, (side, grid, classes), true);
        match self {
            Self::Square => shape(Size::square(side)),
            Self::AnyResolution(rules) => {
                let pictures = rules.pinpoints.iter().flat_map(|size| rules.fullest(*size, (side, grid)));
                let largest = pictures.map(shape).max_by_key(PictureShape::tokens);
                largest.unwrap_or_else(|| shape(Size::square(side)))
            }
        }
    }

    /// Whether how a picture is looked at depends on the others in a prompt.
    pub fn depends_on_others(&self) -> bool {
        matches!(self, Self::AnyResolution(rules) if rules.several_are_squares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Shape, error::Result};

    /// No picture has more tokens than the largest: tried at the resolutions of OneVision and NeXT, with sides in steps of 19 pixels.
    #[test]
    fn no_picture_is_larger_than_the_largest() -> Result<()> {
        for shape in [Shape::OneVision05b, Shape::NextVicuna7b] {
            let config = shape.config()?;
            let largest = config.largest_picture().tokens();
            let sides = || (1..2_400).step_by(19);
            let sizes = sides().flat_map(|height| sides().map(move |width| Size { height, width }));
            let found = sizes.map(|size| config.picture_shape(size, true).tokens()).max();
            assert!(
                found.is_some_and(|found| found <= largest && found + 100 > largest),
                "{found:?} of {largest}"
            );
        }
        Ok(())
    }
}
