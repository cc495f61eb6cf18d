//! Pillow's bicubic resampling, to the bit.
//!
//! The reference preprocessing resizes with Pillow, which works on 8-bit channels in fixed point and rounds to
//! 8 bits between its horizontal and its vertical pass. Resizing in floats is closer to the ideal filter and
//! further from what the model was trained on.

/// Fractional bits of a filter weight (`PRECISION_BITS` in Pillow's `Resample.c`).
const PRECISION_BITS: u32 = 22;
/// Half of the filter's width, in pixels of the coarser of the two pictures.
const SUPPORT: f64 = 2.0;

/// Rows of RGB bytes to be resampled; possibly more than are in memory.
pub(super) trait Rows {
    /// Pixels in a row.
    fn width(&self) -> usize;
    /// Rows.
    fn height(&self) -> usize;
    /// Row `y`, `3 * width` bytes; `scratch` lends room to rows that have to be put together.
    fn row<'a>(&'a self, y: usize, scratch: &'a mut Vec<u8>) -> &'a [u8];
}

/// One axis of a resampling: `full` pixels in all, of which `count` from `start` on are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    pub full: usize,
    pub start: usize,
    pub count: usize,
}

/// The window that `columns` and `rows` describe of `source` resized to their `full` sizes.
///
/// Only what the window shows is computed, so that a very long picture costs no more than its middle.
///
/// # Shapes
///
/// Result: `[rows.count, columns.count, 3]`.
pub(super) fn resample(source: &impl Rows, columns: Axis, rows: Axis) -> Vec<u8> {
    let (horizontal, vertical) = (taps(source.width(), columns), taps(source.height(), rows));
    let top = vertical.iter().map(|taps| taps.start).min().unwrap_or(0);
    let bottom = vertical.iter().map(|taps| taps.start + taps.weights.len()).max().unwrap_or(0);
    let stride = 3 * columns.count;

    let mut narrow = Vec::with_capacity((bottom - top) * stride);
    let mut scratch = Vec::new();
    for y in top..bottom {
        let row = source.row(y, &mut scratch);
        for taps in &horizontal {
            let pixels = row.get(3 * taps.start..).unwrap_or_default();
            narrow.extend((0..3).map(|channel| taps.apply(pixels.iter().skip(channel).step_by(3))));
        }
    }
    let mut resized = Vec::with_capacity(rows.count * stride);
    for taps in &vertical {
        let lines = narrow.get((taps.start - top) * stride..).unwrap_or_default();
        resized.extend((0..stride).map(|column| taps.apply(lines.iter().skip(column).step_by(stride))));
    }
    resized
}

/// The source pixels that make one resized pixel.
struct Taps {
    start: usize,
    /// Fixed-point weights that sum to one.
    weights: Vec<i32>,
}

impl Taps {
    fn apply<'a>(&self, pixels: impl Iterator<Item = &'a u8>) -> u8 {
        let half = 1i64 << (PRECISION_BITS - 1);
        let products =
            self.weights.iter().zip(pixels).map(|(weight, pixel)| i64::from(*weight) * i64::from(*pixel));
        ((half + products.sum::<i64>()) >> PRECISION_BITS).clamp(0, 255) as u8
    }
}

/// The filter of every wanted pixel along one axis (`precompute_coeffs` in Pillow).
fn taps(source: usize, axis: Axis) -> Vec<Taps> {
    if axis.full == source {
        // Pillow skips a pass that changes nothing.
        return (axis.start..axis.start + axis.count)
            .map(|start| Taps { start, weights: vec![1 << PRECISION_BITS] })
            .collect();
    }
    let scale = source as f64 / axis.full as f64;
    let widening = scale.max(1.0);
    let reach = SUPPORT * widening;
    let pixel = |index: usize| {
        let center = (index as f64 + 0.5) * scale;
        let start = (center - reach + 0.5).max(0.0) as usize;
        let end = ((center + reach + 0.5) as usize).min(source);
        let weights: Vec<f64> = (start..end).map(|x| bicubic((x as f64 - center + 0.5) / widening)).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |weight: &f64| (weight / sum * f64::from(1 << PRECISION_BITS)).round() as i32;
        Taps { start, weights: weights.iter().map(fixed).collect() }
    };
    (axis.start..axis.start + axis.count).map(pixel).collect()
}

/// Keys' cubic convolution kernel with a = -1/2 (IEEE Trans. ASSP 29, 1981).
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}
