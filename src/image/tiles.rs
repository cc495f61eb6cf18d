//! The squares that a model sees of a picture: one, or a base and the tiles of its detail.

use super::{
    decode::Picture,
    preprocess::{Fit, Pixels, Placement, Preprocessor, canvas},
    resize::{Axis, resample},
};
use crate::{
    error::Result,
    tiling::{Detail, Newlines, PictureShape},
};

impl Preprocessor {
    /// The pixels of every square of a picture that has this shape, the base first.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn tiles(&self, picture: &Picture, shape: &PictureShape) -> Result<Vec<Pixels>> {
        let base = match shape.newlines {
            // One of several of a model that tiles only a single one.
            Newlines::Last => Self { fit: Fit::Pad, ..self.clone() }.run(picture)?,
            _ => self.run(picture)?,
        };
        let side = base.side;
        let detail = shape.detail.iter().flat_map(|detail| self.detail(picture, detail, side));
        Ok(std::iter::once(base).chain(detail).collect())
    }

    /// The tiles of the detail, row by row: the picture fits the resolution, in the middle of black.
    fn detail(&self, picture: &Picture, detail: &Detail, side: usize) -> Vec<Pixels> {
        let Detail { fitted, tiles, .. } = detail;
        let (top, left) = detail.margin();
        let axis = |full: usize| Axis { full, start: 0, count: full };
        let bare = canvas(picture, Fit::Crop, self.mean);
        let levels = resample(&bare, axis(fitted.width), axis(fitted.height));
        let step_x = picture.width() as f64 / fitted.width as f64;
        let step_y = picture.height() as f64 / fitted.height as f64;
        let tile = |number: usize| {
            let (y0, x0) = (number / tiles.width * side, number % tiles.width * side);
            let mut square = vec![0; 3 * side * side];
            // What the tile has of the picture, in pixels of the resolution.
            let (first, last) = (x0.max(left), (x0 + side).min(left + fitted.width));
            for y in y0.max(top)..(y0 + side).min(top + fitted.height) {
                let from = 3 * ((y - top) * fitted.width + first.saturating_sub(left));
                let to = 3 * ((y - y0) * side + first.saturating_sub(x0));
                let count = 3 * last.saturating_sub(first);
                if let (Some(target), Some(line)) =
                    (square.get_mut(to..to + count), levels.get(from..from + count))
                {
                    target.copy_from_slice(line);
                }
            }
            let placement = Placement {
                left: (x0 as f64 - left as f64) * step_x,
                top: (y0 as f64 - top as f64) * step_y,
                step_x,
                step_y,
            };
            Pixels { values: self.normalised(&square), side, placement }
        };
        (0..tiles.area()).map(tile).collect()
    }
}
