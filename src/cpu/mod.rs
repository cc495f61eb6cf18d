//! What the shaders compute, for the CPU: in float32, with vectors and threads.
//!
//! A function here computes what the [oracle](crate::oracle) of its name specifies, and takes the oracle's slices and
//! shapes. The oracles are written to be read; these to be fast: no matrix of all rows by all columns, no copy of a
//! cache, no tensor between two steps. Loops are plain Rust that the compiler turns into vector instructions
//! ([`simd`]); products of many rows are the `gemm` crate's. What only moves rows, or looks at a few hundred numbers
//! once, has no second implementation: there the oracle is fast enough.

pub mod attention;
pub mod coverage;
mod mapped;
pub mod matrix;
pub mod nn;
pub mod product;
pub mod quantised;
pub mod scores;
pub mod simd;
pub mod threads;

/// Values that a thread works on at least: below, waking another costs more than it takes over.
const SHARE: usize = 1 << 14;

/// How many of `rows` rows of `width` values a thread takes at a time: a few shares for each thread, none too small.
fn rows_at_once(rows: usize, width: usize) -> usize {
    rows.div_ceil(threads::count() * 2).max(SHARE.div_ceil(width.max(1))).max(1)
}
