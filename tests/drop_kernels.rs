//! The kernels of the three dropping stages against their oracles, at sizes that straddle their workgroups.

use crate::common::{WINDOWS, attention_params, both, noise, positions, tensor, values};
use burn::tensor::{Int, Tensor, TensorData};
use mustdrop::{
    kernel::{
        self,
        attention::Window,
        prefill::{Received, text_attention as text_attention_of},
        variants::Variants,
    },
    oracle,
};
use oracle::{
    decode::GatherRowsParams,
    nn::AttentionParams,
    prefill::{CompactParams, GatherSurvivorsParams, TextAttentionParams, TopKParams},
    vision::{ABSENT, WindowMergeParams, WindowSimilarityParams},
};

/// Lengths on both sides of a workgroup, and of LLaVA's 576 patches.
const LENGTHS: [usize; 7] = [1, 63, 64, 65, 575, 576, 577];

/// The same values as a strided view, which the host side must make contiguous.
fn strided<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.swap_dims(0, 1).mul_scalar(1.0).swap_dims(0, 1)
}

fn integers(x: Tensor<1, Int>) -> Vec<u32> {
    kernel::read_integers(x, "test").expect("whole numbers")
}

/// Asserts `|found - expected| <= tolerance * max(1, |expected|)` everywhere.
fn assert_near(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= tolerance * e.abs().max(1.0), "{what}: {f} instead of {e} at {index}");
    }
}

#[test]
fn window_similarity() {
    for (grid, window, first, width) in [
        (24, 3, 1, 1024),
        (24, 3, 1, 33),
        (4, 3, 0, 7),
        (7, 3, 1, 64),
        (1, 3, 0, 5),
        (5, 2, 1, 65),
        (9, 4, 1, 8),
    ] {
        let params = WindowSimilarityParams { grid, window, first, width };
        let (rows, width) = ((first + grid * grid) as usize, width as usize);
        let mut x = noise(1, rows * width);
        // One row of zeros: its cosine with any other is 0, not NaN.
        x[first as usize * width..][..width].fill(0.0);
        let mut expected = vec![0.0; params.windows() * params.windows()];
        oracle::vision::window_similarity(&params, &x, &mut expected);
        for x in both().into_iter().flat_map(|device| {
            let x = tensor(&x, [rows, width], &device);
            [x.clone(), strided(x)]
        }) {
            let found = values(kernel::vision::window_similarity(&x, params));
            // Sums of `width` products, and one of at most 256 divided by at least 2.
            let tolerance = (width as f32).sqrt().max(16.0) * 4.0 * f32::EPSILON;
            assert_near(&found, &expected, tolerance, &format!("{params:?}"));
        }
    }
}

#[test]
fn window_merge() {
    for (rows, width, tokens) in [(10, 1, 1), (577, 63, 64), (577, 65, 577), (20, 64, 3)] {
        let x = noise(2, rows * width);
        let member: Vec<u32> = (0..tokens)
            .flat_map(|token| {
                (0..9).map(move |i| if i <= token % 9 { ((token * 7 + i * 3) % rows) as u32 } else { ABSENT })
            })
            .collect();
        let params = WindowMergeParams { tokens: tokens as u32, members: 9, width: width as u32 };
        let mut expected = vec![f32::NAN; tokens * width];
        oracle::vision::window_merge(&params, &x, &member, &mut expected);
        for (device, is_strided) in
            both().into_iter().flat_map(|device| [false, true].map(|s| (device.clone(), s)))
        {
            let member = kernel::integers(member.clone(), [tokens, 9], &device);
            let x = tensor(&x, [rows, width], &device);
            let x = if is_strided { strided(x) } else { x };
            let found = values(kernel::vision::window_merge(&x, &member));
            assert_near(&found, &expected, 10.0 * f32::EPSILON, &format!("{params:?}"));
        }
    }
}

/// Heads, key heads and their size, one query head a key head and several.
const HEADS: [(usize, usize, usize); 4] = [(1, 1, 1), (4, 4, 16), (8, 2, 33), (6, 3, 64)];

#[test]
fn log_sum_exp() {
    for (heads, key_heads, head_dim) in HEADS {
        for (rows, columns) in [(1, 1), (1, 577), (25, 65), (40, 640), (3, 63), (2, 64)] {
            let (q, k) = (noise(3, rows * heads * head_dim), noise(4, columns * key_heads * head_dim));
            let params = attention_params((rows, columns, columns), (heads, key_heads, head_dim));
            let mut expected = vec![0.0; rows * heads];
            oracle::nn::log_sum_exp(&params, &q, &k, &[], &mut expected);
            for device in both() {
                let q = tensor(&q, [rows, heads, head_dim], &device);
                let k = tensor(&k, [columns, key_heads, head_dim], &device);
                let found = kernel::attention::log_sum_exp(&strided(q), &strided(k), Variants::default());
                // exp and log of adapters are good to a few units in the last place.
                assert_near(&values(found), &expected, 64.0 * f32::EPSILON, &format!("{params:?}"));
            }
        }
    }
}

#[test]
fn text_attention() {
    for (heads, key_heads, head_dim) in HEADS {
        for (rows, first, columns) in [(1, 0, 1), (64, 35, 336), (65, 1, 63), (25, 20, 577), (130, 3, 5)] {
            // Other tokens lie between the picture and those that are asked.
            let own = first + columns + 3;
            let all = own + rows;
            let (q, k) = (noise(5, rows * heads * head_dim), noise(6, all * key_heads * head_dim));
            let mut log_sum = vec![0.0; rows * heads];
            for window in WINDOWS {
                let sizes = (rows, all, own);
                let params =
                    AttentionParams { window, ..attention_params(sizes, (heads, key_heads, head_dim)) };
                let positions = positions(all);
                oracle::nn::log_sum_exp(&params, &q, &k, &positions, &mut log_sum);
                let mut params = TextAttentionParams {
                    rows: params.rows,
                    asked: 0,
                    first: first as u32,
                    columns: columns as u32,
                    heads: params.heads,
                    key_heads: params.key_heads,
                    head_dim: params.head_dim,
                    scale: params.scale,
                    shares: 1,
                    own: own as u32,
                    window,
                };
                let mut weights = vec![0.0; rows * columns];
                oracle::prefill::text_attention(&params, &q, &k, &log_sum, &positions, &mut weights);
                let (mut sum, mut max) = (vec![0.0; columns], vec![0.0; columns]);
                oracle::prefill::attention_received(&params, &weights, &mut sum, &mut max);
                assert!(window > 0 || sum.iter().all(|sum| *sum > 0.0));
                assert!(sum.iter().sum::<f32>() <= rows as f32 * 1.001);

                for device in both() {
                    // Rows before those that are asked.
                    let asked = rows % 3;
                    let before =
                        |values: &[f32], width: usize| [noise(7, asked * width), values.to_vec()].concat();
                    let queries =
                        tensor(&before(&q, heads * head_dim), [asked + rows, heads, head_dim], &device);
                    let keys = strided(tensor(&k, [all, key_heads, head_dim], &device));
                    let sums = tensor(&before(&log_sum, heads), [asked + rows, heads], &device);
                    let tokens = (first, columns);
                    let positions_there = kernel::integers(positions.clone(), [all], &device);
                    let window =
                        (window > 0).then_some(Window { tokens: window, positions: positions_there });
                    // The cache holds what is before the rows of the pass, which begins `asked` rows earlier.
                    let past = own - asked;
                    match text_attention_of(
                        &strided(queries),
                        &keys,
                        &sums,
                        asked..asked + rows,
                        tokens,
                        past,
                        window.as_ref(),
                    ) {
                        // Relative to the weights, which sum to at most 1 a row.
                        Received::Reduced { sum: found_sum, max: found_max } => {
                            assert_near(
                                &values(found_sum),
                                &sum,
                                64.0 * f32::EPSILON,
                                &format!("{params:?}"),
                            );
                            assert_near(
                                &values(found_max),
                                &max,
                                16.0 * f32::EPSILON,
                                &format!("{params:?}"),
                            );
                        }
                        Received::Weights { weights: found, .. } => {
                            params.shares = found.dims()[0] as u32;
                            assert_eq!(found.dims(), [heads.min(4), rows, columns]);
                            let mut expected = vec![0.0; heads.min(4) * rows * columns];
                            oracle::prefill::text_attention(
                                &params,
                                &q,
                                &k,
                                &log_sum,
                                &positions,
                                &mut expected,
                            );
                            assert_near(
                                &values(found),
                                &expected,
                                64.0 * f32::EPSILON,
                                &format!("{params:?}"),
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn gather_survivors() {
    for (rows, widths, kept) in [(1, [1, 1, 2], 1), (577, [63, 64, 1], 64), (640, [192, 65, 128], 341)] {
        let index: Vec<u32> = (0..kept).map(|i| ((i * 31 + 7) % rows) as u32).collect();
        let matrices = [1, 2, 3].map(|seed| noise(seed, rows * widths[seed as usize - 1]));
        let [first, second, third] = widths.map(|width| width as u32);
        let params = GatherSurvivorsParams { rows: kept as u32, first, second, third };
        let mut expected = widths.map(|width| vec![0.0; kept * width]);
        let [a, b, c] = &mut expected;
        let of_matrices = [&matrices[0][..], &matrices[1], &matrices[2]];
        oracle::prefill::gather_survivors(&params, &index, of_matrices, [a, b, c]);
        for device in both() {
            let index = kernel::integers(index.clone(), [kept], &device);
            let on_device: [Tensor<2>; 3] =
                std::array::from_fn(|i| tensor(&matrices[i], [rows, widths[i]], &device));
            let [a, b, c] = &on_device;
            let found = kernel::prefill::gather_survivors([a, b, c], &index, kept).map(values);
            assert_eq!(found, expected, "{params:?}");
        }
    }
}

#[test]
fn top_k() {
    for count in LENGTHS {
        for k in [0, 1, count / 3, count, count + 1] {
            // Few different scores: ties everywhere.
            let score: Vec<f32> = noise(9, count).iter().map(|x| (x * 4.0).round()).collect();
            let preferred: Vec<u32> = (0..count as u32).map(|j| u32::from(j % 7 == 3)).collect();
            let mut expected = vec![u32::MAX; count];
            let params = TopKParams { count: count as u32, k: k as u32 };
            oracle::prefill::top_k(&params, &score, &preferred, &mut expected);
            for device in both() {
                let preferred = kernel::integers(preferred.clone(), [count], &device);
                let found =
                    integers(kernel::prefill::top_k(&tensor(&score, [count], &device), &preferred, k));
                assert_eq!(found, expected, "{params:?}");
                assert_eq!(found.iter().sum::<u32>() as usize, k.min(count), "neither more nor less");
            }
        }
    }
}

#[test]
fn compact() {
    for count in LENGTHS {
        for share in [1, 2, 7] {
            let stays: Vec<u32> = (0..count as u32).map(|i| u32::from(i % share == 0)).collect();
            let is_key: Vec<u32> = (0..count as u32).map(|i| u32::from(i % 5 == 0)).collect();
            let kept = stays.iter().sum::<u32>() as usize;
            let params = CompactParams { count: count as u32, kept: kept as u32, offset: 35 };
            let (mut index, mut kept_is_key) = (vec![u32::MAX; kept], vec![u32::MAX; kept]);
            oracle::prefill::compact(&params, &stays, &is_key, &mut index, &mut kept_is_key);
            for device in both() {
                let there = |values: &[u32]| kernel::integers(values.to_vec(), [count], &device);
                let found = kernel::prefill::compact(&there(&stays), &there(&is_key), kept, 35);
                let found = (integers(found.0), integers(found.1));
                assert_eq!(found, (index.clone(), kept_is_key.clone()), "{params:?}");
            }
            assert!(index.into_iter().eq((35..).step_by(share as usize).take(kept)), "ascending, from 35");
        }
    }
}

#[test]
fn several_tensors_come_back_together_as_they_were() {
    for device in both() {
        let whole: Vec<u32> = vec![0, 1, 576, (1 << 24) - 1];
        let numbers = noise(11, 65);
        let mut parts = kernel::ReadBack::default();
        parts.integers(&kernel::integers(whole.clone(), [4], &device));
        parts.integers(&kernel::integers(Vec::new(), [0], &device));
        parts.numbers(&Tensor::from_data(TensorData::new(numbers.clone(), [65]), &device));
        let parts: Vec<Vec<f32>> = parts.read("test").expect("read").collect();
        assert_eq!(parts[0], whole.iter().map(|whole| *whole as f32).collect::<Vec<_>>());
        assert_eq!((parts[1].len(), &parts[2], parts.len()), (0, &numbers, 3));
    }
}

#[test]
fn gather_rows() {
    for (rows, width, kept) in [(1, 1, 1), (577, 63, 64), (577, 65, 577), (640, 1024, 341)] {
        let x = noise(10, rows * width);
        let index: Vec<u32> = (0..kept).map(|i| ((i * 31 + 7) % rows) as u32).collect();
        let params = GatherRowsParams { rows: kept as u32, width: width as u32 };
        let mut expected = vec![0.0; kept * width];
        oracle::decode::gather_rows(&params, &x, &index, &mut expected);
        for device in both() {
            let index = kernel::integers(index.clone(), [kept], &device);
            let x = tensor(&x, [rows, width], &device);
            for x in [x.clone(), strided(x)] {
                assert_eq!(values(kernel::decode::gather_rows(&x, &index)), expected, "{params:?}");
            }
        }
    }
}
