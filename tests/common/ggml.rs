//! What ggml's blocks stand for, loop by loop as ggml's own code has it.
#![allow(clippy::needless_range_loop)] // the indices are those of the description

use half::f16;

/// ggml's `dequantize_row_*`, written from its description of the blocks.
pub fn dequantised(kind: u32, bytes: &[u8]) -> Vec<f32> {
    let half = |block: &[u8], at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
    let mut values = Vec::new();
    let mut blocks = |size: usize, len: usize, decode: &dyn Fn(&[u8], &mut [f32])| {
        for block in bytes.chunks(size) {
            let mut y = vec![0.0; len];
            decode(block, &mut y);
            values.extend(y);
        }
    };
    match kind {
        0 => blocks(4, 1, &|b, y| y[0] = f32::from_bits(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        1 => blocks(2, 1, &|b, y| y[0] = half(b, 0)),
        30 => blocks(2, 1, &|b, y| y[0] = f32::from_bits(u32::from_le_bytes([0, 0, b[0], b[1]]))),
        2 | 3 => blocks(if kind == 2 { 18 } else { 20 }, 32, &|b, y| {
            let (d, qs) = (half(b, 0), &b[if kind == 2 { 2 } else { 4 }..]);
            for j in 0..16 {
                for (at, q) in [(j, qs[j] & 0x0F), (j + 16, qs[j] >> 4)] {
                    y[at] =
                        if kind == 2 { (i32::from(q) - 8) as f32 * d } else { f32::from(q) * d + half(b, 2) };
                }
            }
        }),
        6 | 7 => blocks(if kind == 6 { 22 } else { 24 }, 32, &|b, y| {
            let (d, rest) = (half(b, 0), &b[if kind == 6 { 2 } else { 4 }..]);
            let (qh, qs) = (u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]), &rest[4..]);
            for j in 0..16 {
                let low = u32::from(qs[j] & 0x0F) | ((qh >> j) << 4 & 0x10);
                let high = u32::from(qs[j] >> 4) | (qh >> (j + 12) & 0x10);
                for (at, q) in [(j, low), (j + 16, high)] {
                    y[at] = if kind == 6 { (q as i32 - 16) as f32 * d } else { q as f32 * d + half(b, 2) };
                }
            }
        }),
        8 => blocks(34, 32, &|b, y| {
            for j in 0..32 {
                y[j] = f32::from(b[2 + j] as i8) * half(b, 0);
            }
        }),
        _ => blocks(210, 256, &|b, y| {
            let d = half(b, 208);
            for n in 0..2 {
                let (ql, qh, sc, y) =
                    (&b[64 * n..], &b[128 + 32 * n..], &b[192 + 8 * n..], &mut y[128 * n..]);
                for l in 0..32 {
                    let codes = [
                        ql[l] & 0xF | (qh[l] & 3) << 4,
                        ql[l + 32] & 0xF | (qh[l] >> 2 & 3) << 4,
                        ql[l] >> 4 | (qh[l] >> 4 & 3) << 4,
                        ql[l + 32] >> 4 | (qh[l] >> 6 & 3) << 4,
                    ];
                    for (k, code) in codes.into_iter().enumerate() {
                        let scale = f32::from(sc[l / 16 + 2 * k] as i8);
                        y[l + 32 * k] = d * scale * f32::from(i16::from(code) - 32);
                    }
                }
            }
        }),
    }
    values
}
