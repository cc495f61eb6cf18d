//! ggml's quantised formats: blocks of small whole numbers that share a scale.
//!
//! Little endian throughout; scales are float16. `q` is a number of the block, `d` and `m` its scale and offset.

use std::fmt;

use half::f16;

/// How a block of numbers is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum BlockFormat {
    /// 32 numbers of 4 bits: `d (q - 8)`.
    Q4_0,
    /// 32 numbers of 4 bits: `d q + m`.
    Q4_1,
    /// 32 numbers of 5 bits: `d (q - 16)`.
    Q5_0,
    /// 32 numbers of 5 bits: `d q + m`.
    Q5_1,
    /// 32 numbers of 8 bits: `d q`.
    Q8_0,
    /// 256 numbers of 6 bits, each 16 with an 8-bit scale `s`: `d s (q - 32)`.
    Q6K,
}

impl BlockFormat {
    /// How many numbers a block has.
    pub fn numbers(self) -> usize {
        if self == Self::Q6K { 256 } else { 32 }
    }

    /// Size of a block.
    pub fn bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q6K => 210,
        }
    }

    /// The numbers of whole blocks.
    pub(super) fn to_f32(self, bytes: &[u8]) -> Vec<f32> {
        let numbers = bytes.len() / self.bytes() * self.numbers();
        let mut values = Vec::with_capacity(numbers);
        let out = &mut values;
        match self {
            Self::Q4_0 => bytes.as_chunks().0.iter().for_each(|block| q4_0(block, out)),
            Self::Q4_1 => bytes.as_chunks().0.iter().for_each(|block| q4_1(block, out)),
            Self::Q5_0 => bytes.as_chunks().0.iter().for_each(|block| q5_0(block, out)),
            Self::Q5_1 => bytes.as_chunks().0.iter().for_each(|block| q5_1(block, out)),
            Self::Q8_0 => bytes.as_chunks().0.iter().for_each(|block| q8_0(block, out)),
            Self::Q6K => bytes.as_chunks().0.iter().for_each(|block| q6_k(block, out)),
        }
        values
    }
}

impl fmt::Display for BlockFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q6K => "Q6_K",
        })
    }
}

fn q4_0(block: &[u8; 18], out: &mut Vec<f32>) {
    let [d0, d1, codes @ ..] = block;
    let scale = float(*d0, *d1);
    out.extend(nibbles(codes).map(|code| (f32::from(code) - 8.0) * scale));
}

fn q4_1(block: &[u8; 20], out: &mut Vec<f32>) {
    let [d0, d1, m0, m1, codes @ ..] = block;
    let (scale, offset) = (float(*d0, *d1), float(*m0, *m1));
    out.extend(nibbles(codes).map(|code| f32::from(code) * scale + offset));
}

fn q5_0(block: &[u8; 22], out: &mut Vec<f32>) {
    let [d0, d1, h0, h1, h2, h3, codes @ ..] = block;
    let scale = float(*d0, *d1);
    out.extend(five_bits(codes, [*h0, *h1, *h2, *h3]).map(|code| (f32::from(code) - 16.0) * scale));
}

fn q5_1(block: &[u8; 24], out: &mut Vec<f32>) {
    let [d0, d1, m0, m1, h0, h1, h2, h3, codes @ ..] = block;
    let (scale, offset) = (float(*d0, *d1), float(*m0, *m1));
    out.extend(five_bits(codes, [*h0, *h1, *h2, *h3]).map(|code| f32::from(code) * scale + offset));
}

fn q8_0(block: &[u8; 34], out: &mut Vec<f32>) {
    let [d0, d1, codes @ ..] = block;
    let scale = float(*d0, *d1);
    out.extend(codes.iter().map(|code| f32::from(code.cast_signed()) * scale));
}

/// Number `i` has its lower four bits in `low`, its upper two in `high`, 128 numbers in either half of each.
fn q6_k(block: &[u8; 210], out: &mut Vec<f32>) {
    let (low, rest) = block.split_at(128);
    let (high, rest) = rest.split_at(64);
    let (scales, d) = rest.split_at(16);
    let scale = d.first_chunk().map_or(0.0, |[d0, d1]| float(*d0, *d1));
    out.extend((0..256).map(|i| {
        // Four runs of 32 numbers share bytes: two runs the nibbles of one byte of `low`, all four a byte of `high`.
        let (half, run, place) = (i / 128, i % 128 / 32, i % 32);
        let four = low[half * 64 + run % 2 * 32 + place] >> (run / 2 * 4) & 0xF;
        let two = high[half * 32 + place] >> (run * 2) & 3;
        scale * f32::from(scales[i / 16].cast_signed()) * (f32::from(four | two << 4) - 32.0)
    }));
}

fn float(low: u8, high: u8) -> f32 {
    f16::from_le_bytes([low, high]).to_f32()
}

/// The lower halves of all bytes, then the upper ones.
fn nibbles(codes: &[u8; 16]) -> impl Iterator<Item = u8> {
    codes.iter().map(|code| code & 0xF).chain(codes.iter().map(|code| code >> 4))
}

/// Nibbles with bit `i` of `high` as the fifth bit of number `i`.
fn five_bits(codes: &[u8; 16], high: [u8; 4]) -> impl Iterator<Item = u8> {
    let high = u32::from_le_bytes(high);
    nibbles(codes).zip(0..32).map(move |(code, bit)| code | ((high >> bit & 1) as u8) << 4)
}
