//! The resolution that shows a picture best, and the picture's place in it.

use super::Size;

/// The resolution in which the picture keeps most of its pixels; of equals, the one with the least left empty, then the first.
///
/// As in transformers, in float64: the picture fits by `min(w / width, h / height)`, both sides truncated; more pixels than it
/// has are not counted.
pub(super) fn best(picture: Size, resolutions: &[Size]) -> Option<Size> {
    let judged = resolutions.iter().map(|resolution| {
        let [width, height] = [picture.width, picture.height].map(|side| side as f64);
        let scale = (resolution.width as f64 / width).min(resolution.height as f64 / height);
        let fitted = (width * scale) as usize * (height * scale) as usize;
        let effective = fitted.min(picture.area());
        (effective, resolution.area() - effective.min(resolution.area()), *resolution)
    });
    let better = |best: (usize, usize, Size), next: (usize, usize, Size)| {
        let is_better = next.0 > best.0 || (next.0 == best.0 && next.1 < best.1);
        if is_better { next } else { best }
    };
    judged.reduce(better).map(|(_, _, resolution)| resolution)
}

/// The size of the picture within a resolution: the side that binds is full, the other is rounded up.
pub(super) fn fitted(picture: Size, resolution: Size) -> Size {
    let [across, down] =
        [resolution.width as f64 / picture.width as f64, resolution.height as f64 / picture.height as f64];
    let scaled =
        |side: usize, scale: f64, most: usize| ((side as f64 * scale).ceil() as usize).clamp(1, most);
    if across < down {
        Size { height: scaled(picture.height, across, resolution.height), width: resolution.width }
    } else {
        Size { height: resolution.height, width: scaled(picture.width, down, resolution.width) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [[usize; 2]; 5] = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]];

    fn pinpoints() -> Vec<Size> {
        SIZES.iter().map(|[height, width]| Size { height: *height, width: *width }).collect()
    }

    #[test]
    fn the_best_resolution_loses_least_then_wastes_least_then_comes_first() {
        let best =
            |height, width| best(Size { height, width }, &pinpoints()).map(|size| [size.height, size.width]);
        assert_eq!(best(500, 500), Some([672, 672]));
        assert_eq!(best(300, 900), Some([336, 1008]));
        assert_eq!(best(900, 300), Some([1008, 336]));
        assert_eq!(best(480, 640), Some([672, 672]));
        assert_eq!(
            best(100, 100),
            Some([336, 672]),
            "all show it whole; the first of those that waste least"
        );
        assert_eq!(best(1, 60_000), Some([336, 672]), "a line of no pixel is left of it in all");
    }

    #[test]
    fn the_picture_fills_the_side_that_binds() {
        let fitted = |height, width, [h, w]: [usize; 2]| {
            let Size { height, width } = fitted(Size { height, width }, Size { height: h, width: w });
            [height, width]
        };
        assert_eq!(fitted(480, 640, SIZES[2]), [504, 672]);
        assert_eq!(fitted(640, 480, SIZES[2]), [672, 504]);
        assert_eq!(fitted(100, 3, SIZES[2]), [672, 21], "20.16 is rounded up");
        assert_eq!(fitted(1, 60_000, SIZES[0]), [1, 672]);
    }
}
