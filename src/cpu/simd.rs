//! Sums and maxima in vector registers, and functions of single values for loops over them.
//!
//! A compiler may not reorder sums of floats, so those are written with `pulp`'s vectors, which are as long as the processor
//! has them. Loops whose values do not depend on each other need no more than `multiversion` at their function: it compiles
//! them once for each instruction set (SSE, AVX2, AVX-512, NEON) and takes the best at run time. What they call is
//! `inline(always)`, or it would be built for the least of those; so are closures handed to iterators, which is why loops
//! over vectors are plain.

use std::sync::LazyLock;

use half::f16;
use pulp::{Arch, Simd, WithSimd};

static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// `products[i] = x · row i` of rows that lie `stride` apart.
pub fn dots(x: &[f32], rows: &[f32], stride: usize, products: &mut [f32]) {
    let heads = Heads { count: 1, group: 1, width: x.len() };
    ARCH.dispatch(Dots { x, rows, stride, heads, products });
}

/// `a · b`
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut product = [0.0];
    dots(a, b, 0, &mut product);
    product[0]
}

/// How rows are cut: `count` heads of `x`, of which `group` have a part of each row in common, `width` values long.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// Heads of `x`.
    pub count: usize,
    /// How many of them share a part of a row.
    pub group: usize,
    /// Values of a head.
    pub width: usize,
}

/// As [`dots`], head by head; rows are read in their order, once.
///
/// # Shapes
///
/// - `x`: `[heads, width]`
/// - `rows`: `[count, heads / group, width]`, `stride` apart
/// - `products`: `[heads, count]`
pub fn head_dots(heads: Heads, x: &[f32], rows: &[f32], stride: usize, products: &mut [f32]) {
    ARCH.dispatch(Dots { x, rows, stride, heads, products });
}

struct Dots<'a> {
    x: &'a [f32],
    rows: &'a [f32],
    stride: usize,
    heads: Heads,
    products: &'a mut [f32],
}

impl Dots<'_> {
    /// Rows from `first` on, `N` at a time: their sums need not wait for each other.
    #[inline(always)]
    fn some<S: Simd, const N: usize>(&mut self, simd: S, first: usize, count: usize) {
        let width = self.heads.width;
        for head in 0..self.heads.count {
            let (x, x_rest) = S::as_simd_f32s(&self.x[head * width..][..width]);
            let part = head / self.heads.group * width;
            let rows: [_; N] =
                std::array::from_fn(|i| &self.rows[(first + i) * self.stride + part..][..width]);
            let vectors = rows.map(|row| &S::as_simd_f32s(row).0[..x.len()]);
            let mut sums = [simd.splat_f32s(0.0); N];
            for (at, x) in x.iter().enumerate() {
                for (sum, row) in sums.iter_mut().zip(&vectors) {
                    *sum = simd.mul_add_f32s(*x, row[at], *sum);
                }
            }
            let products = &mut self.products[head * count + first..][..N];
            for ((product, sum), row) in products.iter_mut().zip(sums).zip(rows) {
                *product = simd.reduce_sum_f32s(sum);
                for (x, value) in x_rest.iter().zip(&row[width - x_rest.len()..]) {
                    *product += x * value;
                }
            }
        }
    }
}

impl WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let count = self.products.len() / self.heads.count.max(1);
        for four in 0..count / 4 {
            self.some::<S, 4>(simd, four * 4, count);
        }
        for one in count / 4 * 4..count {
            self.some::<S, 1>(simd, one, count);
        }
    }
}

/// `mixed = Σ weights[i] row i` for each head; rows are read in their order, once.
///
/// # Shapes
///
/// - `weights`: `[heads, count]`
/// - `rows`: `[count, heads / group, width]`, `stride` apart
/// - `mixed`: `[heads, width]`
pub fn mix(heads: Heads, weights: &[f32], rows: &[f32], stride: usize, mixed: &mut [f32]) {
    ARCH.dispatch(Mix { heads, weights, rows, stride, mixed });
}

struct Mix<'a> {
    heads: Heads,
    weights: &'a [f32],
    rows: &'a [f32],
    stride: usize,
    mixed: &'a mut [f32],
}

impl Mix<'_> {
    /// Adds rows `from` to `to` to what a head has, in registers of which it takes four at a time.
    #[inline(always)]
    fn add<S: Simd>(&mut self, simd: S, head: usize, from: usize, to: usize, count: usize) {
        let width = self.heads.width;
        let part = head / self.heads.group * width;
        let weights = &self.weights[head * count..][from..to];
        let rows = || weights.iter().zip(self.rows[from * self.stride..].chunks(self.stride));
        let (vectors, rest) = S::as_mut_simd_f32s(&mut self.mixed[head * width..][..width]);
        for (number, sums) in vectors.chunks_mut(4).enumerate() {
            let (first, length) = (part + number * 4 * S::F32_LANES, sums.len() * S::F32_LANES);
            let mut kept = [simd.splat_f32s(0.0); 4];
            for (kept, sum) in kept.iter_mut().zip(&*sums) {
                *kept = *sum;
            }
            for (weight, row) in rows() {
                let row = S::as_simd_f32s(&row[first..first + length]).0;
                let weight = simd.splat_f32s(*weight);
                for (kept, value) in kept.iter_mut().zip(row) {
                    *kept = simd.mul_add_f32s(weight, *value, *kept);
                }
            }
            for (sum, kept) in sums.iter_mut().zip(kept) {
                *sum = kept;
            }
        }
        let first = part + width - rest.len();
        for (weight, row) in rows() {
            for (sum, value) in rest.iter_mut().zip(&row[first..]) {
                *sum += weight * value;
            }
        }
    }
}

impl WithSimd for Mix<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        /// Rows that are in the fastest cache while head after head takes its part of them.
        const ROWS: usize = 8;
        let count = self.weights.len() / self.heads.count.max(1);
        self.mixed.fill(0.0);
        for from in (0..count).step_by(ROWS) {
            for head in 0..self.heads.count {
                self.add(simd, head, from, count.min(from + ROWS), count);
            }
        }
    }
}

/// The sum of all values.
pub fn sum(values: &[f32]) -> f32 {
    struct Sum<'a>(&'a [f32]);
    impl WithSimd for Sum<'_> {
        type Output = f32;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            let (vectors, rest) = S::as_simd_f32s(self.0);
            let mut sum = simd.splat_f32s(0.0);
            for vector in vectors {
                sum = simd.add_f32s(sum, *vector);
            }
            simd.reduce_sum_f32s(sum) + rest.iter().sum::<f32>()
        }
    }
    ARCH.dispatch(Sum(values))
}

/// The highest value; -∞ of none.
pub fn highest(values: &[f32]) -> f32 {
    struct Highest<'a>(&'a [f32]);
    impl WithSimd for Highest<'_> {
        type Output = f32;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            let (vectors, rest) = S::as_simd_f32s(self.0);
            let mut highest = simd.splat_f32s(f32::NEG_INFINITY);
            for vector in vectors {
                highest = simd.max_f32s(highest, *vector);
            }
            rest.iter().copied().fold(simd.reduce_max_f32s(highest), f32::max)
        }
    }
    ARCH.dispatch(Highest(values))
}

/// A half as the float that it is.
///
/// `half`'s own conversion asks for the processor's features, value by value; this one is a few instructions.
#[inline(always)]
pub fn widen(half: f16) -> f32 {
    // The exponent of a half counts from -15, that of a float from -127: a factor that also makes subnormals right.
    const REBASE: f32 = f32::from_bits((127 + 127 - 15) << 23);
    const LARGEST: f32 = 65_504.0;
    let bits = u32::from(half.to_bits());
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * REBASE;
    // What is above the largest half is infinite, or not a number: its bits are kept, all exponent bits set.
    let beyond = if magnitude > LARGEST { 0x7f80_0000 } else { 0 };
    f32::from_bits(magnitude.to_bits() | beyond | (bits & 0x8000) << 16)
}

/// `e^x` within two units in the last place; 0 below -87, where it is about the least of normal floats, and no longer right
/// from 88 on, where it is about the highest.
///
/// `e^x = 2^n e^r` with a whole `n` and `|r| <= ln(2) / 2`, where a polynomial is exact enough.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding this leaves no bits for a fraction: the sum's lowest bits are the nearest whole number.
    const ROUND: f32 = 12_582_912.0;
    // ln(2) in two parts, so that the product with n is exact in the first.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let clamped = x.clamp(-87.0, 88.5);
    let n = clamped * std::f32::consts::LOG2_E + ROUND - ROUND;
    let r = clamped - n * LN_2_HIGH - n * LN_2_LOW;
    let mut polynomial = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        polynomial = polynomial * r + coefficient;
    }
    let power = f32::from_bits((((n + ROUND).to_bits() as i32 + 127) << 23) as u32);
    let value = (polynomial * r * r + r + 1.0) * power;
    if x < -87.0 { 0.0 } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_widened_to_its_value() {
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits);
            let (found, expected) = (widen(half), half.to_f32());
            assert!(found == expected || (found.is_nan() && expected.is_nan()), "{bits:#x}: {found}");
            assert_eq!(found.is_sign_negative(), expected.is_sign_negative(), "{bits:#x}");
        }
    }

    #[test]
    fn exponentials_are_right_to_the_last_bits() {
        for i in -87_000..88_000 {
            let x = i as f32 / 1000.0;
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 2.5 * f64::from(f32::EPSILON), "e^{x}: off by {error:e}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!((exp(-88.0), exp(f32::NEG_INFINITY)), (0.0, 0.0));
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_and_maxima_take_every_value() {
        for len in [0, 1, 15, 16, 17, 64, 100] {
            let values: Vec<f32> = (1..=len).map(|i| i as f32).collect();
            let ones = vec![1.0; len as usize];
            let expected = (len * (len + 1) / 2) as f32;
            assert_eq!((dot(&values, &ones), sum(&values)), (expected, expected));
            assert_eq!(highest(&values), if len == 0 { f32::NEG_INFINITY } else { len as f32 });
        }
    }

    #[test]
    fn rows_are_taken_where_they_lie() {
        // Rows of `width` values and a gap of 3: row i holds i, i + 1, ...
        for (rows, width) in [(1, 1), (3, 16), (4, 17), (5, 64), (9, 100)] {
            let stride = width + 3;
            let value = |row: usize, column: usize| (row + column) as f32;
            let values: Vec<f32> = (0..rows * stride).map(|i| value(i / stride, i % stride)).collect();
            let mut products = vec![0.0; rows];
            dots(&vec![1.0; width], &values, stride, &mut products);
            let expected: Vec<f32> =
                (0..rows).map(|row| (0..width).map(|column| value(row, column)).sum()).collect();
            assert_eq!(products, expected, "{rows} x {width}");
            let mut mixed = vec![0.0; width];
            mix(Heads { count: 1, group: 1, width }, &vec![2.0; rows], &values, stride, &mut mixed);
            let expected: Vec<f32> =
                (0..width).map(|column| (0..rows).map(|row| 2.0 * value(row, column)).sum()).collect();
            assert_eq!(mixed, expected, "{rows} x {width}");
        }
    }
}
