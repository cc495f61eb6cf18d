//! Products with matrices of floats.

use half::f16;
use multiversion::multiversion;
use rayon::prelude::*;

use super::{
    matrix::{Matrix, MatrixMut},
    simd::{self, dots},
    threads::{self, together},
};
use crate::cancel;

/// A matrix of weights, `[outputs, inputs]`, as it is held.
#[derive(Debug, Clone, Copy)]
pub enum Floats<'a> {
    /// Of 32 bits.
    Single(&'a [f32]),
    /// Of 16 bits; products are of float32 all the same.
    Half(&'a [f16]),
}

impl Floats<'_> {
    /// `count` rows from `start` on, each of `inputs` values.
    fn rows(self, start: usize, count: usize, inputs: usize) -> Self {
        let range = start * inputs..(start + count) * inputs;
        match self {
            Self::Single(weights) => Self::Single(&weights[range]),
            Self::Half(weights) => Self::Half(&weights[range]),
        }
    }
}

/// Up to so many rows, a dot product for each output reads the weights once and needs no more.
const FEW: usize = 4;
/// Up to so many rows, packing the weights for `gemm` would cost more than it saves.
const SOME: usize = 128;
/// Weights that a thread takes at least, where there are few rows.
const SHARE: usize = 1 << 17;
/// Widened weights of a thread that takes few rows.
const ROOM: usize = 1 << 12;
/// Operations until the next look at whether the work is to end: some hundredths of a second.
const MOST_FLOPS: usize = 2 << 30;

/// `y = x Wᵀ + b`
///
/// # Shapes
///
/// - `x`: `[rows, inputs]`
/// - `weights`: `[outputs, inputs]`
/// - `bias`: `[outputs]`
/// - `y`: `[rows, outputs]`
pub fn product(x: &[f32], inputs: usize, weights: Floats, bias: Option<&[f32]>, y: MatrixMut) {
    let (rows, outputs) = (y.rows(), y.columns());
    if rows == 0 || outputs == 0 {
        return;
    }
    let threads = threads::count();
    let panel = match rows {
        0..=FEW => outputs.div_ceil(threads).max(SHARE.div_ceil(inputs.max(1))),
        rows if rows <= SOME => outputs.div_ceil(threads).clamp(96, 256),
        _ => outputs.div_ceil(threads * 2).clamp(32, 96),
    };
    let multiply = |scratch: &mut Scratch, number: usize, y: &mut MatrixMut| {
        let (start, count) = (number * panel, y.columns());
        let weights = weights.rows(start, count, inputs);
        let bias = bias.map(|bias| &bias[start..start + count]);
        match weights {
            _ if rows <= FEW => few(x, inputs, weights, bias, y, &mut scratch.widened),
            _ => {
                let weights = widened(weights, &mut scratch.widened);
                let weights = Matrix::new(weights, count, inputs, inputs);
                many(Matrix::new(x, rows, inputs, inputs), weights, bias, y, &mut scratch.turned);
            }
        }
    };
    if outputs <= panel {
        let mut y = y;
        return multiply(&mut Scratch::default(), 0, &mut y);
    }
    let mut panels: Vec<_> = y.tiles(rows, panel).into_iter().enumerate().collect();
    // What the threads work on until the next look.
    let at_once = (MOST_FLOPS / (2 * rows * inputs.max(1) * panel)).max(threads);
    for panels in panels.chunks_mut(at_once) {
        if cancel::is_due() {
            return;
        }
        let panels = panels.par_iter_mut();
        let work =
            |scratch: &mut Scratch, (number, y): &mut (usize, MatrixMut)| multiply(scratch, *number, y);
        together(|| panels.for_each_init(Scratch::default, work));
    }
}

/// A dot product for each output and row.
fn few(
    x: &[f32],
    inputs: usize,
    weights: Floats,
    bias: Option<&[f32]>,
    y: &mut MatrixMut,
    room: &mut Vec<f32>,
) {
    let at_once = match weights {
        Floats::Single(_) => y.columns(),
        // So many that they stay in the fastest cache once they are widened.
        Floats::Half(_) => (ROOM / inputs.max(1)).max(4),
    };
    for start in (0..y.columns()).step_by(at_once) {
        let count = at_once.min(y.columns() - start);
        let weights = widened(weights.rows(start, count, inputs), room);
        for (row, x) in x.chunks_exact(inputs).enumerate() {
            let y = &mut y.row(row)[start..start + count];
            dots(x, weights, inputs, y);
            if let Some(bias) = bias {
                y.iter_mut().zip(&bias[start..]).for_each(|(y, bias)| *y += bias);
            }
        }
    }
}

/// What a thread needs room for, panel after panel.
#[derive(Default)]
struct Scratch {
    widened: Vec<f32>,
    turned: Vec<f32>,
}

/// The weights as float32, in `room` if they are not.
fn widened<'a>(weights: Floats<'a>, room: &'a mut Vec<f32>) -> &'a [f32] {
    match weights {
        Floats::Single(weights) => weights,
        Floats::Half(weights) => {
            room.resize(weights.len(), 0.0);
            widen(weights, room);
            room
        }
    }
}

#[multiversion(targets = "simd")]
fn widen(halves: &[f16], wide: &mut [f32]) {
    for (wide, half) in wide.iter_mut().zip(halves) {
        *wide = simd::widen(*half);
    }
}

/// A product of more rows, by the library.
fn many(x: Matrix, weights: Matrix, bias: Option<&[f32]>, y: &mut MatrixMut, turned: &mut Vec<f32>) {
    let (rows, outputs) = (y.rows(), y.columns());
    if rows > SOME {
        if let Some(bias) = bias {
            (0..rows).for_each(|row| y.row(row).copy_from_slice(bias));
        }
        return x.multiply(weights.turned(), y, bias.is_some());
    }
    // Output by output: then it is the few rows that are packed, and not the weights.
    turned.resize(outputs * rows, 0.0);
    x.multiply(weights.turned(), &mut MatrixMut::new(turned, outputs, rows).turned(), false);
    for row in 0..rows {
        for (output, y) in y.row(row).iter_mut().enumerate() {
            *y = turned[output * rows + row] + bias.map_or(0.0, |bias| bias[output]);
        }
    }
}
