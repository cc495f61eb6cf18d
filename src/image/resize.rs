//! Pillow's bicubic resampling, to the bit.
//!
//! The reference preprocessing resizes with Pillow, which works on 8-bit channels in fixed point and rounds to
//! 8 bits between its horizontal and its vertical pass. Resizing in floats is closer to the ideal filter and
//! further from what the model was trained on.

/// Fractional bits of a filter weight (`PRECISION_BITS` in Pillow's `Resample.c`).
const PRECISION_BITS: u32 = 22;
/// Half of the filter's width, in pixels of the coarser of the two pictures.
const SUPPORT: f64 = 2.0;

/// RGB bytes in the middle of a canvas of one colour, which may be far larger than they are.
pub(super) struct Canvas<'a> {
    /// `[lines, 3 * pixels]`
    pub rgb: &'a [u8],
    pub pixels: usize,
    /// Where the bytes begin on the canvas.
    pub left: usize,
    pub top: usize,
    pub width: usize,
    pub height: usize,
    pub fill: [u8; 3],
}

/// One axis of a resampling: `full` pixels in all, of which `count` from `start` on are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    pub full: usize,
    pub start: usize,
    pub count: usize,
}

/// The window that `columns` and `rows` describe of `canvas` resized to their `full` sizes.
///
/// Only what the window shows is computed, and only from the picture's own pixels, so that neither a very long
/// picture nor a wide margin costs anything.
///
/// # Shapes
///
/// Result: `[rows.count, columns.count, 3]`.
pub(super) fn resample(canvas: &Canvas, columns: Axis, rows: Axis) -> Vec<u8> {
    let (horizontal, vertical) = (taps(canvas.width, columns), taps(canvas.height, rows));
    let top = vertical.iter().map(|taps| taps.start).min().unwrap_or(0);
    let bottom = vertical.iter().map(|taps| taps.start + taps.weights.len()).max().unwrap_or(0);
    let stride = 3 * columns.count;
    let lines: Vec<&[u8]> = canvas.rgb.chunks_exact(3 * canvas.pixels).collect();

    let mut narrow = Vec::with_capacity((bottom - top) * stride);
    for y in top..bottom {
        let line = y.checked_sub(canvas.top).and_then(|y| lines.get(y).copied()).unwrap_or_default();
        for taps in &horizontal {
            narrow.extend((0..3).map(|channel| taps.across(line, channel, canvas)));
        }
    }
    let mut resized = Vec::with_capacity(rows.count * stride);
    for taps in &vertical {
        let mut sums = vec![0; stride];
        let lines = narrow.get((taps.start - top) * stride..).unwrap_or_default();
        for (weight, line) in taps.weights.iter().zip(lines.chunks_exact(stride)) {
            for (sum, level) in sums.iter_mut().zip(line) {
                *sum += i64::from(*weight) * i64::from(*level);
            }
        }
        resized.extend(sums.into_iter().map(rounded));
    }
    resized
}

/// The source pixels that make one resized pixel.
struct Taps {
    start: usize,
    /// Fixed-point weights that sum to about one.
    weights: Vec<i32>,
    sum: i64,
}

impl Taps {
    fn new(start: usize, weights: Vec<i32>) -> Self {
        Self { start, sum: weights.iter().map(|weight| i64::from(*weight)).sum(), weights }
    }

    /// One channel of the pixel that `line` makes, an empty one being nothing but margin.
    ///
    /// `sum(w * level) = fill * sum(w) + sum(w * (level - fill))` holds exactly in whole numbers, and the last
    /// sum has terms for the picture's own pixels only.
    fn across(&self, line: &[u8], channel: usize, canvas: &Canvas) -> u8 {
        let fill = i64::from(canvas.fill[channel]);
        let first = self.start.saturating_sub(canvas.left);
        let margin = canvas.left.saturating_sub(self.start);
        let levels = line.iter().skip(3 * first + channel).step_by(3);
        let weights = self.weights.iter().skip(margin);
        let products =
            weights.zip(levels).map(|(weight, level)| i64::from(*weight) * (i64::from(*level) - fill));
        rounded(fill * self.sum + products.sum::<i64>())
    }
}

/// A sum of levels times weights as a level.
fn rounded(sum: i64) -> u8 {
    ((sum + (1 << (PRECISION_BITS - 1))) >> PRECISION_BITS).clamp(0, 255) as u8
}

/// The filter of every wanted pixel along one axis (`precompute_coeffs` in Pillow).
fn taps(source: usize, axis: Axis) -> Vec<Taps> {
    if axis.full == source {
        // Pillow skips a pass that changes nothing.
        return (axis.start..axis.start + axis.count)
            .map(|start| Taps::new(start, vec![1 << PRECISION_BITS]))
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
        Taps::new(start, weights.iter().map(fixed).collect())
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
