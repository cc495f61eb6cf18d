//! Pillow's bicubic resampling, to the bit.
//!
//! The reference preprocessing resizes with Pillow, which works on 8-bit channels in fixed point and rounds to
//! 8 bits between its horizontal and its vertical pass. Resizing in floats is closer to the ideal filter and
//! further from what the model was trained on.

use std::ops::Range;

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
/// Which pass comes first matters, since levels are cut to 8 bits between the two: as in Pillow since 13.0, the vertical one
/// where it takes away more than twice as many lines as the other takes pixels of a line.
///
/// # Shapes
///
/// Result: `[rows.count, columns.count, 3]`.
pub(super) fn resample(canvas: &Canvas, columns: Axis, rows: Axis) -> Vec<u8> {
    let (horizontal, vertical) = (taps(canvas.width, columns), taps(canvas.height, rows));
    let taken_off = |from: usize, to: usize| from as i64 - to as i64;
    let (lines, pixels) = (taken_off(canvas.height, rows.full), taken_off(canvas.width, columns.full));
    // Where one pass changes nothing, there is no order.
    let has_both = canvas.width != columns.full && canvas.height != rows.full;
    if has_both && lines > 0 && lines > 2 * pixels {
        let span = span(&horizontal);
        let squat = canvas.squeezed(&vertical, &span);
        let line = |line| across(&horizontal, line, span.start, canvas.fill);
        squat.chunks_exact(3 * span.len()).flat_map(line).collect()
    } else {
        let span = span(&vertical);
        let narrow = span.clone().flat_map(|y| across(&horizontal, canvas.line(y), canvas.left, canvas.fill));
        let narrow: Vec<u8> = narrow.collect();
        let narrow = Canvas {
            rgb: &narrow,
            pixels: columns.count,
            left: 0,
            top: span.start,
            width: columns.count,
            ..*canvas
        };
        narrow.squeezed(&vertical, &(0..columns.count))
    }
}

impl Canvas<'_> {
    /// The picture's part of line `y`: none in the margin.
    fn line(&self, y: usize) -> &[u8] {
        let stride = 3 * self.pixels;
        let start = y.checked_sub(self.top).map(|line| line * stride);
        start.and_then(|start| self.rgb.get(start..start + stride)).unwrap_or_default()
    }

    /// The pixels in `columns` of every line that the taps make.
    fn squeezed(&self, vertical: &[Taps], columns: &Range<usize>) -> Vec<u8> {
        let mut squat = Vec::with_capacity(vertical.len() * 3 * columns.len());
        let fill: Vec<i64> = self.fill.repeat(columns.len()).into_iter().map(i64::from).collect();
        // The picture's own pixels among them.
        let own = columns.start.max(self.left)..columns.end.min(self.left + self.pixels);
        for taps in vertical {
            // As for a single pixel: what the margin adds is in the first term.
            let mut sums: Vec<i64> = fill.iter().map(|fill| fill * taps.sum).collect();
            for (y, weight) in (taps.start..).zip(&taps.weights) {
                let levels = self.line(y).iter().skip(3 * own.start.saturating_sub(self.left));
                let first = 3 * (own.start - columns.start).min(columns.len());
                let own_sums = sums.iter_mut().zip(&fill).skip(first).take(3 * own.len());
                for ((sum, fill), level) in own_sums.zip(levels) {
                    *sum += i64::from(*weight) * (i64::from(*level) - fill);
                }
            }
            squat.extend(sums.into_iter().map(rounded));
        }
        squat
    }
}

/// The pixels that taps look at.
fn span(taps: &[Taps]) -> Range<usize> {
    let start = taps.iter().map(|taps| taps.start).min().unwrap_or(0);
    let end = taps.iter().map(|taps| taps.start + taps.weights.len()).max().unwrap_or(0);
    start..end
}

/// The pixels that taps make of a line whose first is at `left`, in a margin of one colour.
fn across<'a>(taps: &'a [Taps], line: &'a [u8], left: usize, fill: [u8; 3]) -> impl Iterator<Item = u8> + 'a {
    let pixel = move |taps: &'a Taps| (0..3).map(move |channel| taps.across(line, channel, left, fill));
    taps.iter().flat_map(pixel)
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
    fn across(&self, line: &[u8], channel: usize, left: usize, fill: [u8; 3]) -> u8 {
        let fill = i64::from(fill[channel]);
        let first = self.start.saturating_sub(left);
        let margin = left.saturating_sub(self.start);
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
