//! The attention kernels and what surrounds them on an adapter, each against its oracle.

use crate::common::{attention_params, noise};
use burn::tensor::{Device, Int, Tensor, TensorData};
use mustdrop::{
    DeviceSelect,
    device::Compute,
    kernel,
    oracle::{
        decode::{self, BEST, BestTokensParams, CachedAttentionParams, MostLikelyParams},
        nn::{self, RmsNormParams},
    },
};

fn adapter() -> Device {
    Compute::open(&DeviceSelect::Gpu).expect("an adapter").burn()
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_to_vec().expect("float32")
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

#[test]
fn attention() {
    let device = adapter();
    // Rows, rows before them, room beyond them, heads, heads of keys, components.
    for (rows, past, room, heads, key_heads, head_dim) in [
        (1, 0, 0, 1, 1, 4),
        (5, 0, 3, 2, 2, 64),
        (15, 17, 0, 4, 2, 32),
        (16, 0, 0, 3, 1, 128),
        (17, 1, 255, 2, 2, 36),
        (65, 31, 0, 6, 3, 20),
        (130, 0, 1, 1, 1, 128),
    ] {
        let columns = rows + past;
        for sees_all in [false, true] {
            let past = if sees_all { columns } else { past };
            let params = attention_params((rows, columns, past), (heads, key_heads, head_dim));
            let query = noise(1, rows * heads * head_dim);
            // What lies beyond the columns must not be read.
            let mut key = noise(2, columns * key_heads * head_dim);
            let mut value = noise(3, columns * key_heads * head_dim);
            key.resize((columns + room) * key_heads * head_dim, f32::NAN);
            value.resize((columns + room) * key_heads * head_dim, f32::NAN);
            let (mut mixed, mut log_sum) = (vec![0.0; query.len()], vec![0.0; rows * heads]);
            nn::attention(&params, &query, &key, &value, &mut mixed, &mut log_sum);

            let shape = [columns + room, key_heads, head_dim];
            let (found, found_log_sum) = kernel::nn::attention(
                &tensor(&query, [rows, heads, head_dim], &device),
                &tensor(&key, shape, &device),
                &tensor(&value, shape, &device),
                columns,
                past,
            );
            // Scores are sums of `head_dim` products below 1, scaled; weights of values below 1 sum to 1.
            let tolerance = (head_dim + columns) as f32 * f32::EPSILON;
            assert_near(&values(found), &mixed, tolerance, &format!("{params:?}"));
            let tolerance = (head_dim + columns) as f32 * f32::EPSILON * 4.0;
            assert_near(&values(found_log_sum), &log_sum, tolerance, &format!("log sum of {params:?}"));
        }
    }
}

#[test]
fn cached_attention() {
    let device = adapter();
    for (columns, room, heads, key_heads, head_dim) in [
        (1, 0, 1, 1, 4),
        (63, 1, 9, 3, 64),
        (127, 129, 2, 2, 128),
        (128, 0, 4, 1, 36),
        (129, 0, 2, 1, 256),
        (640, 128, 1, 1, 132),
    ] {
        let params = CachedAttentionParams {
            columns: columns as u32,
            heads: heads as u32,
            key_heads: key_heads as u32,
            head_dim: head_dim as u32,
            scale: 1.0 / (head_dim as f32).sqrt(),
        };
        let query = noise(4, heads * head_dim);
        let mut key = noise(5, columns * key_heads * head_dim);
        let mut value = noise(6, columns * key_heads * head_dim);
        key.resize((columns + room) * key_heads * head_dim, f32::NAN);
        value.resize((columns + room) * key_heads * head_dim, f32::NAN);
        let mut mixed = vec![0.0; query.len()];
        decode::cached_attention(&params, &query, &key, &value, &mut mixed);
        let shape = [columns + room, key_heads, head_dim];
        let found = kernel::decode::cached_attention(
            &tensor(&query, [1, heads, head_dim], &device),
            &tensor(&key, shape, &device),
            &tensor(&value, shape, &device),
            columns,
        );
        let tolerance = (head_dim + columns) as f32 * f32::EPSILON;
        assert_near(&values(found), &mixed, tolerance, &format!("{params:?}"));
    }
}

#[test]
fn rms_norm() {
    let device = adapter();
    for (rows, width) in [(1, 1), (3, 127), (2, 128), (65, 129), (4, 2048)] {
        let params = RmsNormParams { rows: rows as u32, width: width as u32, eps: 1e-5 };
        let (x, weight) = (noise(7, rows * width), noise(9, width));
        let mut normed = vec![0.0; x.len()];
        nn::rms_norm(&params, &x, &weight, &mut normed);
        let x = tensor(&x, [rows, width], &device);
        let found = kernel::nn::rms_norm(&x, &tensor(&weight, [width], &device), 1e-5);
        // A sum of squares is right to its number of roundings; the largest result is sqrt(width).
        let tolerance = f32::EPSILON * (4.0 + (width as f32).log2()) * (width as f32).sqrt().max(1.0);
        assert_near(&values(found), &normed, tolerance, &format!("{params:?}"));
    }
}

#[test]
fn most_likely() {
    let device = adapter();
    for count in [1, 2, 255, 256, 257, 32_064] {
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
    let device = adapter();
    let logits = [1.0, f32::NAN, f32::NEG_INFINITY, 2.0, f32::INFINITY];
    let found = integers(kernel::decode::most_likely(&tensor(&logits, [1, 5], &device), 1.0));
    assert_eq!(found[3], 3);
    let found = integers(kernel::decode::most_likely(&tensor(&[-0.0, 0.0, -3.0], [1, 3], &device), 1.0));
    assert_eq!(found[0], 1, "0 orders above -0, as in the sampler");
}

#[test]
fn best_tokens() {
    let device = adapter();
    for count in [1, 63, 64, 65, 256, 257, 5_000] {
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
