//! The attention kernels and what surrounds them on an adapter, each against its oracle.

use crate::common::{WINDOWS, adapter, attention_params, both, noise, positions, tensor, values};
use burn::tensor::{Device, Int, Tensor};
use mustdrop::{
    kernel::{
        self,
        attention::{Heads, Rotary, Window},
        tally,
        variants::{Unpack, Variants},
    },
    oracle::{
        decode::{self, AttentionJoinParams, BEST, BestTokensParams, MostLikelyParams},
        nn::{self, AttentionParams, NormParams, RotaryAppendParams},
    },
};

/// Each size on each of them.
fn on_both<T: Copy, const N: usize>(sizes: [T; N]) -> impl Iterator<Item = (Device, T)> {
    both().into_iter().flat_map(move |device| sizes.map(|size| (device.clone(), size)))
}

fn integers(x: Tensor<1, Int>) -> Vec<u32> {
    x.into_data().try_to_vec().expect("whole numbers")
}

/// Every value within `tolerance` of the oracle's.
fn assert_near(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance, "{what}: {found} for {expected} at {i}");
    }
}

/// Whether many rows are by tiles.
const VARIANTS: [bool; 2] = [false, true];

/// Attention against the oracle, of rows behind `past` others with `room` behind them in the cache.
fn assert_attention(
    (rows, past, room): (usize, usize, usize),
    heads: (usize, usize, usize),
    variants: Variants,
    device: &Device,
) {
    let columns = rows + past;
    let (count, key_heads, head_dim) = heads;
    let causal = WINDOWS.map(|window| (past, window));
    for (past, tokens) in causal.into_iter().chain([(columns, 0)]) {
        let params = AttentionParams { window: tokens, ..attention_params((rows, columns, past), heads) };
        let positions = positions(columns + room);
        let query = noise(1, rows * count * head_dim);
        // What lies beyond the columns must not be read.
        let mut key = noise(2, columns * key_heads * head_dim);
        let mut value = noise(3, columns * key_heads * head_dim);
        key.resize((columns + room) * key_heads * head_dim, f32::NAN);
        value.resize((columns + room) * key_heads * head_dim, f32::NAN);
        let (mut mixed, mut log_sum) = (vec![0.0; query.len()], vec![0.0; rows * count]);
        nn::attention(&params, &query, &key, &value, &positions, &mut mixed, &mut log_sum);

        let shape = [columns + room, key_heads, head_dim];
        let query = tensor(&query, [rows, count, head_dim], device);
        let (key, value) = (tensor(&key, shape, device), tensor(&value, shape, device));
        let positions = kernel::integers(positions, [columns + room], device);
        let window = (tokens > 0).then_some(Window { tokens, positions });
        let found =
            kernel::attention::attention(&query, &key, &value, columns, past, window.as_ref(), variants);
        // Scores are sums of `head_dim` products below 1, scaled; weights of values below 1 sum to 1.
        let tolerance = (head_dim + columns) as f32 * f32::EPSILON;
        let what = format!("{params:?}, {variants:?}");
        assert_near(&values(found.output), &mixed, tolerance, &what);
        assert_near(&values(found.log_sum), &log_sum, 4.0 * tolerance, &format!("log sum, {what}"));
    }
}

/// Many rows: rows, rows before them, room behind them; heads, heads of keys, components.
fn assert_many_rows(variants: Variants, device: &Device) {
    for (rows, past, room, heads) in [
        (15, 17, 0, (4, 2, 32)),
        (16, 0, 0, (3, 1, 128)),
        (17, 1, 255, (2, 2, 36)),
        (65, 31, 0, (6, 3, 20)),
        (130, 0, 1, (1, 1, 128)),
        // No multiple of 4, and too wide for tiles.
        (33, 5, 0, (2, 1, 6)),
        (9, 3, 2, (2, 1, 132)),
    ] {
        assert_attention((rows, past, room), heads, variants, device);
    }
}

/// Few rows, as in [`assert_many_rows`].
fn assert_few_rows(variants: Variants, device: &Device) {
    for (rows, past, room, heads) in [
        (1, 0, 0, (1, 1, 4)),
        (1, 62, 1, (9, 3, 64)),
        (1, 63, 0, (2, 2, 128)),
        (1, 64, 0, (4, 1, 36)),
        (1, 128, 129, (2, 1, 256)),
        (1, 639, 128, (1, 1, 132)),
        (5, 0, 3, (2, 2, 64)),
        (8, 60, 0, (4, 2, 32)),
        (7, 250, 7, (6, 2, 20)),
        (2, 30, 0, (2, 1, 7)),
        // Too wide to be shared out.
        (1, 70, 0, (2, 1, 260)),
    ] {
        assert_attention((rows, past, room), heads, variants, device);
    }
}

/// Tiles for many rows; and what a software adapter runs.
const TILED: Variants = Variants {
    attention: true,
    unpack: Unpack::Registers,
    planes: false,
    is_software: false,
    submission_flops: 0,
};
const SOFTWARE: Variants = Variants { attention: false, is_software: true, ..TILED };

#[test]
fn attention() {
    assert_many_rows(TILED, &adapter());
}

#[test]
fn attention_on_the_cpu_path() {
    assert_many_rows(Variants::default(), &Device::flex());
    assert_few_rows(Variants::default(), &Device::flex());
}

#[test]
fn attention_rows() {
    let device = adapter();
    assert_many_rows(Variants::default(), &device);
    assert_many_rows(SOFTWARE, &device);
    assert_few_rows(SOFTWARE, &device);
}

/// On a device that is given so little at once that rows are cut into three dispatches.
#[test]
fn attention_in_pieces() {
    let device = adapter();
    for attention in VARIANTS {
        // 64 rows to 130 columns of 128 components.
        let variants = Variants { attention, submission_flops: 4 * 128 * 130 * 64, ..Variants::default() };
        let before = tally::so_far();
        assert_attention((130, 0, 1), (1, 1, 128), variants, &device);
        let dispatches = (tally::so_far() - before).dispatches;
        assert_eq!(dispatches, 5 * 3, "three pieces each");
    }
}

#[test]
fn attention_split() {
    let device = adapter();
    assert_few_rows(Variants::default(), &device);
    assert_few_rows(TILED, &device);
}

#[test]
fn attention_join() {
    // What its shader joins is what `attention_split` leaves; the oracle is held to attention as a whole.
    let (columns, head_dim) = (130, 8);
    let params = attention_params((1, columns, columns), (1, 1, head_dim));
    let (query, key, value) =
        (noise(1, head_dim), noise(2, columns * head_dim), noise(3, columns * head_dim));
    let (mut expected, mut expected_log) = ([0.0; 8], [0.0]);
    nn::attention(&params, &query, &key, &value, &[], &mut expected, &mut expected_log);
    let (mut sums, mut totals) = (Vec::new(), Vec::new());
    for tile in key.chunks(64 * head_dim).zip(value.chunks(64 * head_dim)) {
        let scores: Vec<f32> = tile.0.chunks(head_dim).map(|k| params.scale * dot(&query, k)).collect();
        let highest = scores.iter().copied().fold(f32::MIN, f32::max);
        let weights: Vec<f32> = scores.iter().map(|score| (score - highest).exp()).collect();
        let values = tile.1.chunks(head_dim).zip(&weights);
        sums.extend(
            values
                .fold([0.0; 8], |sums, (value, weight)| std::array::from_fn(|i| sums[i] + weight * value[i])),
        );
        totals.extend([highest, weights.iter().sum()]);
    }
    let params = AttentionJoinParams { rows: 1, heads: 1, head_dim: 8, tiles: 3 };
    let (mut mixed, mut log_sum) = ([0.0; 8], [0.0]);
    decode::attention_join(&params, &sums, &totals, &mut mixed, &mut log_sum);
    assert_near(&mixed, &expected, 16.0 * f32::EPSILON, "mixed");
    assert_near(&log_sum, &expected_log, 16.0 * f32::EPSILON, "log sum");
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn attention_of_packed_rows() {
    for (rows, heads, head_dim) in [(1, 1, 4), (7, 2, 16), (50, 3, 64), (33, 2, 6)] {
        let width = heads * head_dim;
        let projected = noise(4, rows * 3 * width);
        let part = |number: usize| -> Vec<f32> {
            projected.chunks(3 * width).flat_map(|row| row[number * width..][..width].to_vec()).collect()
        };
        let params = attention_params((rows, rows, rows), (heads, heads, head_dim));
        let (mut mixed, mut log_sum) = (vec![0.0; rows * width], vec![0.0; rows * heads]);
        nn::attention(&params, &part(0), &part(1), &part(2), &[], &mut mixed, &mut log_sum);
        for device in both() {
            let projected = tensor(&projected, [rows, 3 * width], &device);
            for is_tiled in VARIANTS {
                let variants = Variants { attention: is_tiled, ..Variants::default() };
                let found = kernel::attention::packed_attention(&projected, heads, variants);
                let tolerance = (head_dim + rows) as f32 * f32::EPSILON;
                assert_near(&values(found), &mixed, tolerance, &format!("{params:?}, tiles {is_tiled}"));
            }
        }
    }
}

#[test]
fn rotary_append() {
    for (rows, past, room, heads) in [
        (1, 0, 0, Heads { queries: 1, keys: 1, dim: 2 }),
        (1, 5, 3, Heads { queries: 32, keys: 8, dim: 128 }),
        (3, 63, 1, Heads { queries: 4, keys: 2, dim: 62 }),
        (65, 1, 0, Heads { queries: 3, keys: 3, dim: 66 }),
        (577, 0, 9, Heads { queries: 4, keys: 1, dim: 8 }),
    ] {
        let Heads { queries, keys: key_heads, dim } = heads;
        // The table begins before the rows.
        let first = rows % 3;
        let projected = noise(1, rows * (queries + 2 * key_heads) * dim);
        let table = noise(2, (first + rows) * dim);
        // What lies before and behind the new rows stays as it is.
        let held = noise(3, (past + rows + room) * key_heads * dim);
        let params = RotaryAppendParams {
            rows: rows as u32,
            heads: queries as u32,
            key_heads: key_heads as u32,
            head_dim: dim as u32,
            past: past as u32,
            first: first as u32,
        };
        let (mut keys, mut all, mut query) = (held.clone(), held.clone(), vec![0.0; rows * queries * dim]);
        nn::rotary_append(&params, &projected, &table, &mut keys, &mut all, &mut query);
        for device in both() {
            let shape = [past + rows + room, key_heads, dim];
            let (mut found_keys, mut found_values) =
                (tensor(&held, shape, &device), tensor(&held, shape, &device));
            let projected = tensor(&projected, [rows, (queries + 2 * key_heads) * dim], &device);
            let rotary = Rotary { table: tensor(&table, [first + rows, dim], &device), first, window: None };
            let found = kernel::attention::rotary_append(
                &projected,
                &rotary,
                heads,
                past,
                &mut found_keys,
                &mut found_values,
            );
            let what = format!("{params:?}");
            // Two products and a sum of values below 1: three roundings of at most 2 * 2^-24 each.
            assert_near(&values(found), &query, 6.0 * f32::EPSILON, &what);
            assert_near(&values(found_keys), &keys, 6.0 * f32::EPSILON, &what);
            assert_eq!(values(found_values), all, "{what}");
        }
    }
}

#[test]
fn rms_norm_and_layer_norm() {
    for (device, (rows, width)) in on_both([(1, 1), (3, 127), (2, 128), (65, 129), (4, 2048)]) {
        let params = NormParams { rows: rows as u32, width: width as u32, eps: 1e-5 };
        let (x, weight, bias) = (noise(7, rows * width), noise(9, width), noise(10, width));
        let mut expected = vec![0.0; x.len()];
        let (on_weight, on_bias) = (tensor(&weight, [width], &device), tensor(&bias, [width], &device));
        // A sum of squares is right to its number of roundings; the largest result is sqrt(width).
        let tolerance = f32::EPSILON * (4.0 + (width as f32).log2()) * (width as f32).sqrt().max(1.0);
        for variants in [false, true].map(|is_software| Variants { is_software, ..Variants::default() }) {
            let what = format!("{params:?}, {variants:?}");
            nn::rms_norm(&params, &x, &weight, &mut expected);
            let found = kernel::nn::rms_norm(&tensor(&x, [rows, width], &device), &on_weight, 1e-5, variants);
            assert_near(&values(found), &expected, tolerance, &what);
            // Values that share most of what they are, beside which squares of their distances would be lost.
            let far: Vec<f32> = x.iter().map(|x| x + 100.0).collect();
            for (x, tolerance) in [(&x, 2.0 * tolerance), (&far, 400.0 * tolerance)] {
                nn::layer_norm(&params, x, &weight, &bias, &mut expected);
                let x = tensor(x, [rows, width], &device);
                let found = kernel::nn::layer_norm(&x, &on_weight, &on_bias, 1e-5, variants);
                assert_near(&values(found), &expected, tolerance, &format!("layer norm, {what}"));
            }
        }
    }
}

#[test]
fn most_likely() {
    for (device, count) in on_both([1, 2, 255, 256, 257, 32_064]) {
        let mut logits: Vec<f32> = noise(14, count).iter().map(|value| value * 12.0).collect();
        // The highest twice: the first of them is chosen.
        logits[count / 2] = 13.0;
        logits[count - 1] = 13.0;
        for temperature in [1.0, 0.5] {
            let params = MostLikelyParams { count: count as u32, sharpness: 1.0 / temperature };
            let mut expected = [0; 4];
            decode::most_likely(&params, &logits, &mut expected);
            assert_eq!(expected[0] as usize, count / 2);
            let found =
                integers(kernel::decode::most_likely(&tensor(&logits, [1, count], &device), temperature));
            assert_eq!((found[0], found[1], found[3]), (expected[0], expected[1], 0), "{count} logits");
            let (mass, expected) = (f32::from_bits(found[2]), f32::from_bits(expected[2]));
            assert!((mass - expected).abs() <= 1e-4 * expected, "{count} logits: mass {mass} for {expected}");
        }
    }
}

#[test]
fn most_likely_counts_what_is_not_finite_and_orders_zeros() {
    for device in both() {
        let logits = [1.0, f32::NAN, f32::NEG_INFINITY, 2.0, f32::INFINITY];
        let found = integers(kernel::decode::most_likely(&tensor(&logits, [1, 5], &device), 1.0));
        assert_eq!(found[3], 3);
        let found = integers(kernel::decode::most_likely(&tensor(&[-0.0, 0.0, -3.0], [1, 3], &device), 1.0));
        assert_eq!(found[0], 1, "0 orders above -0, as in the sampler");
    }
}

#[test]
fn best_tokens() {
    for (device, count) in on_both([1, 63, 64, 65, 256, 257, 5_000]) {
        // Rounded, so that many are equal and the lower token has to win.
        let logits: Vec<f32> = noise(15, count).iter().map(|value| (value * 40.0).round()).collect();
        let found = integers(kernel::decode::best_tokens(&tensor(&logits, [1, count], &device)));
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        let expected: Vec<u32> =
            order.iter().take(BEST).flat_map(|&token| [logits[token].to_bits(), token as u32]).collect();
        assert_eq!(found[..expected.len()], expected, "{count} logits");
        assert!(
            found[expected.len()..].iter().all(|value| *value == u32::MAX),
            "{count} logits: the rest is empty"
        );
        if count <= decode::BEST_OF {
            let entries: Vec<u32> = logits.iter().map(|logit| logit.to_bits()).collect();
            let mut of_oracle = vec![0; BEST * 2];
            decode::best_tokens(
                &BestTokensParams { count: count as u32, is_paired: 0 },
                &entries,
                &mut of_oracle,
            );
            assert_eq!(found, of_oracle, "{count} logits");
        }
    }
}
