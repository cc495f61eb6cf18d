//! Weights in blocks of 4- or 8-bit numbers; the format is that of [`oracle::quantised`](crate::oracle::quantised).

use half::f16;
use rayon::prelude::*;

use crate::oracle::quantised::{BLOCK, QuantisedParams};

/// A quantised matrix in host memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocks {
    /// `[inputs / 32, bits, outputs]`
    pub words: Vec<u32>,
    /// `[inputs / 32, outputs]`
    pub ranges: Vec<u32>,
    /// Sizes; `rows` is 0.
    pub params: QuantisedParams,
}

impl Blocks {
    /// Whether a matrix of so many inputs can be quantised.
    pub fn fit(inputs: usize) -> bool {
        inputs > 0 && inputs.is_multiple_of(BLOCK)
    }

    /// Quantises `[outputs, inputs]` row-major weights to `bits` bits, 4 or 8.
    ///
    /// With 4 bits, each block tries several ranges inside its extremes and takes the one of least squared error: few
    /// steps lose more to a coarse grid than to clipping an outlier.
    pub fn new(weights: &[f32], inputs: usize, bits: u32) -> Self {
        let outputs = weights.len() / inputs.max(1);
        let params = QuantisedParams { rows: 0, inputs: inputs as u32, outputs: outputs as u32, bits };
        let (count, per_word) = (inputs / BLOCK, params.per_word());
        // Output by output first, for this is how weights come; then transposed.
        let coded: Vec<Vec<(u32, [u8; BLOCK])>> = weights
            .par_chunks_exact(inputs.max(1))
            .map(|row| row.chunks_exact(BLOCK).map(|block| code(block, bits)).collect())
            .collect();
        let mut words = vec![0; params.words()];
        let mut ranges = vec![0; params.ranges()];
        for block in 0..count {
            for (output, coded) in coded.iter().enumerate() {
                let (range, numbers) = &coded[block];
                ranges[block * outputs + output] = *range;
                for (word, numbers) in numbers.chunks_exact(per_word).enumerate() {
                    let packed = numbers.iter().rev().fold(0, |packed: u32, number| {
                        packed.checked_shl(bits).unwrap_or(0) | u32::from(*number)
                    });
                    words[(block * bits as usize + word) * outputs + output] = packed;
                }
            }
        }
        Self { words, ranges, params }
    }

    /// One matrix of the outputs that `order` names, as (matrix, output), all of the same inputs and bits.
    pub fn gather(matrices: &[Self], order: &[(usize, usize)]) -> Self {
        let params = QuantisedParams { outputs: order.len() as u32, ..matrices[0].params };
        let lines = |of: fn(&Self) -> &[u32], count: usize| {
            let mut all = Vec::with_capacity(count * order.len());
            for line in 0..count {
                all.extend(order.iter().map(|(matrix, output)| {
                    let matrix = &matrices[*matrix];
                    of(matrix)[line * matrix.params.outputs as usize + output]
                }));
            }
            all
        };
        let blocks = params.inputs as usize / BLOCK;
        let words = lines(|matrix| &matrix.words, blocks * params.bits as usize);
        Self { words, ranges: lines(|matrix| &matrix.ranges, blocks), params }
    }

    /// The same matrix with room for a multiple of `outputs`; what is added is 0, and `params` stay.
    pub fn padded(self, outputs: usize) -> Self {
        let (held, padded) =
            (self.params.outputs as usize, (self.params.outputs as usize).next_multiple_of(outputs));
        if held == padded {
            return self;
        }
        let pad = |lines: &[u32]| {
            let mut all = Vec::with_capacity(lines.len() / held.max(1) * padded);
            for line in lines.chunks_exact(held.max(1)) {
                all.extend_from_slice(line);
                all.resize(all.len() + padded - held, 0);
            }
            all
        };
        Self { words: pad(&self.words), ranges: pad(&self.ranges), params: self.params }
    }

    /// Weights of outputs `from` to `to` as floats: `[inputs, to - from]`.
    pub fn columns(&self, from: usize, to: usize) -> Vec<f32> {
        let (outputs, bits) = (self.params.outputs as usize, self.params.bits as usize);
        let (count, per_word) = (to - from, self.params.per_word());
        let mask = (1u32 << bits) - 1;
        let mut values = vec![0.0; self.params.inputs as usize * count];
        values.par_chunks_exact_mut((BLOCK * count).max(1)).enumerate().for_each(|(block, values)| {
            let half = |bits: u32| f16::from_bits(bits as u16).to_f32();
            let ranges = &self.ranges[block * outputs + from..][..count];
            let scales: Vec<f32> = ranges.iter().map(|range| half(range & 0xffff)).collect();
            let minima: Vec<f32> = ranges.iter().map(|range| half(range >> 16)).collect();
            for (i, values) in values.chunks_exact_mut(count).enumerate() {
                let words = &self.words[(block * bits + i / per_word) * outputs + from..][..count];
                let shift = i % per_word * bits;
                for (((value, word), scale), minimum) in
                    values.iter_mut().zip(words).zip(&scales).zip(&minima)
                {
                    *value = minimum + scale * (word >> shift & mask) as f32;
                }
            }
        });
        values
    }
}

/// The range (scale, minimum) and the numbers of one block.
fn code(block: &[f32], bits: u32) -> (u32, [u8; BLOCK]) {
    let steps = ((1u32 << bits) - 1) as f32;
    let lowest = block.iter().copied().fold(f32::INFINITY, f32::min);
    let highest = block.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // How much of the range is cut off at either end.
    let cuts: &[f32] = if bits == 4 { &[0.0, 0.03, 0.06, 0.09, 0.12] } else { &[0.0] };
    let mut best = (f32::INFINITY, 0, [0; BLOCK]);
    for (low_cut, high_cut) in cuts.iter().flat_map(|low| cuts.iter().map(move |high| (low, high))) {
        let width = highest - lowest;
        let minimum = f16::from_f32(lowest + low_cut * width);
        // Counted from the rounded minimum, so that the highest weight is still reached.
        let scale = f16::from_f32((highest - high_cut * width - minimum.to_f32()).max(0.0) / steps);
        let (from, step) = (minimum.to_f32(), scale.to_f32());
        let mut numbers = [0; BLOCK];
        let mut error = 0.0;
        for (number, weight) in numbers.iter_mut().zip(block) {
            let exact = if step > 0.0 { (weight - from) / step } else { 0.0 };
            *number = exact.round().clamp(0.0, steps) as u8;
            error += (from + step * f32::from(*number) - weight).powi(2);
        }
        if error < best.0 {
            best = (error, u32::from(scale.to_bits()) | u32::from(minimum.to_bits()) << 16, numbers);
        }
    }
    (best.1, best.2)
}
