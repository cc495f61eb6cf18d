//! The format of quantised weights, and the oracle of their rows.
//!
//! The inputs of a matrix `[outputs, inputs]` are cut into blocks of 32. Each block of each output holds 32 whole
//! numbers of 4 or 8 bits and two 16-bit floats: a weight is `minimum + scale * number`. That is 5 or 9 bits a weight.
//!
//! Words lie so that neighbouring outputs are neighbours in memory: threads that compute them read together.
//!
//! - `words`: `[inputs / 32, bits, outputs]`; the lowest bits of a word are its first number
//! - `ranges`: `[inputs / 32, outputs]`; scale in the lower half, minimum in the upper

use half::f16;

/// Weights in a block.
pub const BLOCK: usize = 32;

/// Sizes of [`quantised_rows`] and of a matrix, laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct QuantisedParams {
    /// Rows of the result.
    pub rows: u32,
    /// Columns of the matrix; a multiple of 32.
    pub inputs: u32,
    /// Rows of the matrix.
    pub outputs: u32,
    /// Bits of a number: 4 or 8.
    pub bits: u32,
}

impl QuantisedParams {
    /// Values that one word holds.
    pub fn per_word(&self) -> usize {
        32 / self.bits as usize
    }

    /// Length of `words`.
    pub fn words(&self) -> usize {
        self.inputs as usize / BLOCK * self.bits as usize * self.outputs as usize
    }

    /// Length of `ranges`.
    pub fn ranges(&self) -> usize {
        self.inputs as usize / BLOCK * self.outputs as usize
    }

    /// Bytes of both.
    pub fn bytes(&self) -> u64 {
        (self.words() + self.ranges()) as u64 * 4
    }
}

/// The weights of one output in one block.
pub fn block(
    params: &QuantisedParams,
    words: &[u32],
    ranges: &[u32],
    block: usize,
    output: usize,
) -> [f64; BLOCK] {
    let (outputs, bits) = (params.outputs as usize, params.bits as usize);
    let range = ranges[block * outputs + output];
    let half = |bits: u32| f64::from(f16::from_bits(bits as u16));
    let (scale, minimum) = (half(range & 0xffff), half(range >> 16));
    std::array::from_fn(|i| {
        let word = words[(block * bits + i / params.per_word()) * outputs + output];
        let number = word >> (i % params.per_word() * bits) & ((1 << bits) - 1);
        minimum + scale * f64::from(number)
    })
}

/// The rows `index` of the matrix: embeddings of tokens.
///
/// # Shapes
///
/// - `words`, `ranges`: as the module has them
/// - `index`: `[rows]`, below `outputs`
/// - `values`: `[rows, inputs]`
pub fn quantised_rows(
    params: &QuantisedParams,
    words: &[u32],
    ranges: &[u32],
    index: &[u32],
    values: &mut [f32],
) {
    for (values, output) in values.chunks_exact_mut(params.inputs as usize).zip(index) {
        for (number, values) in values.chunks_exact_mut(BLOCK).enumerate() {
            let weights = block(params, words, ranges, number, *output as usize);
            values.iter_mut().zip(weights).for_each(|(value, weight)| *value = weight as f32);
        }
    }
}
