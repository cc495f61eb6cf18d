//! The CPU path's own implementations against the oracles, at sizes on both sides of their blocks and shares.

use half::f16;
use mustdrop::{
    cpu::{
        attention,
        matrix::MatrixMut,
        nn,
        product::{Floats, product},
        quantised::BlockMatrix,
        scores,
    },
    oracle::{
        self,
        nn::{AttentionParams, NormParams, RotaryParams},
        prefill::{TextAttentionParams, TopKParams},
        vision::WindowSimilarityParams,
    },
};
use proptest::prelude::*;

use crate::common::{WINDOWS, attention_params, noise, positions};

/// Asserts `|found - expected| <= tolerance * max(1, |expected|)` everywhere.
fn assert_near(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= tolerance * e.abs().max(1.0), "{what}: {f} instead of {e} at {index}");
    }
}

/// What rounding does to a sum of so many products of values below 1.
fn rounding(terms: usize) -> f32 {
    (terms as f32).sqrt().max(4.0) * 2.0 * f32::EPSILON
}

/// Heads, key heads and components: one query head a key head and several, whole vectors and what is left over.
const HEADS: [(usize, usize, usize); 5] = [(1, 1, 1), (4, 4, 16), (8, 2, 33), (6, 3, 64), (2, 1, 100)];

/// Rows, columns, and what of them the first row sees before itself.
const SIZES: [(usize, usize, usize); 8] = [
    (1, 1, 0),
    (3, 40, 37),
    (63, 63, 0),
    (64, 64, 0),
    (65, 70, 5),
    (130, 130, 130),
    (2, 577, 577),
    (200, 640, 440),
];

#[test]
fn attention_and_its_log_sum_exp() {
    for ((rows, columns, past), heads) in SIZES.into_iter().flat_map(|size| HEADS.map(|heads| (size, heads)))
    {
        // Rows that all see everything look as far back as they like.
        for window in if past < columns { &WINDOWS[..] } else { &[0] } {
            let params =
                AttentionParams { window: *window, ..attention_params((rows, columns, past), heads) };
            let positions = positions(columns + 3);
            let (heads, key_heads, head_dim) = heads;
            let query = noise(1, rows * heads * head_dim);
            let mut key = noise(2, columns * key_heads * head_dim);
            let mut value = noise(3, columns * key_heads * head_dim);
            // A cache has room behind its rows, which must not be read.
            key.resize((columns + 3) * key_heads * head_dim, f32::NAN);
            value.resize((columns + 3) * key_heads * head_dim, f32::NAN);
            let (mut mixed, mut log_sum) = (vec![0.0; query.len()], vec![0.0; rows * heads]);
            oracle::nn::attention(&params, &query, &key, &value, &positions, &mut mixed, &mut log_sum);
            let (mut found, mut logs, mut alone) =
                (vec![f32::NAN; query.len()], vec![f32::NAN; rows * heads], vec![f32::NAN; rows * heads]);
            attention::attention(&params, &query, &key, &value, &positions, &mut found, &mut logs);
            attention::log_sum_exp(&params, &query, &key, &positions, &mut alone);
            let what = format!("{params:?}");
            assert_near(&found, &mixed, rounding(columns), &what);
            assert_near(&logs, &log_sum, rounding(columns), &what);
            assert_eq!(alone, logs, "{what}");
        }
    }
}

#[test]
fn attention_of_one_row() {
    for (columns, (heads, key_heads, head_dim)) in
        [1, 3, 4, 8, 65, 577].into_iter().flat_map(|columns| HEADS.map(|heads| (columns, heads))).chain([
            // So much that several threads share it.
            (4000, (8, 4, 64)),
            (3000, (6, 6, 100)),
        ])
    {
        for window in WINDOWS {
            let sizes = (1, columns, columns - 1);
            let params = AttentionParams { window, ..attention_params(sizes, (heads, key_heads, head_dim)) };
            let positions = positions(columns);
            let query = noise(1, heads * head_dim);
            let mut key = noise(2, columns * key_heads * head_dim);
            let mut value = noise(3, columns * key_heads * head_dim);
            key.resize((columns + 3) * key_heads * head_dim, f32::NAN);
            value.resize((columns + 3) * key_heads * head_dim, f32::NAN);
            let (mut expected, mut found) = (vec![0.0; query.len()], vec![f32::NAN; query.len()]);
            let (mut expected_log, mut found_log) = (vec![0.0; heads], vec![f32::NAN; heads]);
            oracle::nn::attention(
                &params,
                &query,
                &key,
                &value,
                &positions,
                &mut expected,
                &mut expected_log,
            );
            attention::cached_attention(
                &params,
                &query,
                &key,
                &value,
                &positions,
                &mut found,
                &mut found_log,
            );
            assert_near(&found, &expected, rounding(columns), &format!("{params:?}"));
            assert_near(&found_log, &expected_log, rounding(columns), &format!("{params:?}"));
        }
    }
}

#[test]
fn products_of_few_some_and_many_rows() {
    for rows in [1, 3, 4, 5, 64, 128, 129, 300] {
        for (inputs, outputs) in [(1, 1), (7, 5), (64, 31), (100, 97), (192, 300), (1000, 600)] {
            let (x, weights, bias) = (noise(1, rows * inputs), noise(2, outputs * inputs), noise(3, outputs));
            let halves: Vec<f16> = weights.iter().map(|weight| f16::from_f32(*weight)).collect();
            let widened: Vec<f32> = halves.iter().map(|half| half.to_f32()).collect();
            for (floats, weights) in [(Floats::Single(&weights), &weights), (Floats::Half(&halves), &widened)]
            {
                for bias in [None, Some(&bias[..])] {
                    // Columns 2 to 2 + outputs of a matrix, whose others stay as they are.
                    let width = outputs + 3;
                    let mut y = vec![-7.0; rows * width];
                    let (left, rest) = MatrixMut::new(&mut y, rows, width).split(2);
                    let (columns, right) = rest.split(outputs);
                    assert_eq!((left.columns(), right.columns()), (2, 1));
                    product(&x, inputs, floats, bias, columns);
                    let what = format!("{rows} rows, {inputs} to {outputs}");
                    for (x, y) in x.chunks_exact(inputs).zip(y.chunks_exact(width)) {
                        let expected: Vec<f32> = weights
                            .chunks_exact(inputs)
                            .enumerate()
                            .map(|(output, weights)| {
                                let terms = x.iter().zip(weights).map(|(x, w)| f64::from(*x) * f64::from(*w));
                                (terms.sum::<f64>() + bias.map_or(0.0, |bias| f64::from(bias[output]))) as f32
                            })
                            .collect();
                        // One sum over all inputs, whose steps round what is there: as large as the root of their number.
                        let tolerance = (inputs as f32).max(32.0) * f32::EPSILON / 2.0;
                        assert_near(&y[2..2 + outputs], &expected, tolerance, &what);
                        assert_eq!([y[0], y[1], y[width - 1]], [-7.0; 3], "{what}");
                    }
                }
            }
        }
    }
}

/// The root of the mean square.
fn spread(values: &[f32]) -> f64 {
    (values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

fn difference(a: &[f32], b: &[f32]) -> Vec<f32> {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

#[test]
fn blocks_hold_weights_and_multiply_them() {
    for (bits, of_weights) in [(8, 0.006), (4, 0.09)] {
        for (inputs, outputs) in [(256, 16), (512, 48), (1024, 272)] {
            let weights = noise(1, outputs * inputs);
            let matrix = BlockMatrix::new(&weights, inputs, bits).expect("a size that fits");
            assert_eq!((matrix.inputs(), matrix.outputs()), (inputs, outputs));
            let all: Vec<u32> = (0..outputs as u32).collect();
            let held = matrix.rows(&all).expect("rows");
            let lost = spread(&difference(&held, &weights)) / spread(&weights);
            assert!(lost < of_weights, "{bits} bits lose {lost} of {inputs} x {outputs}");
            let picked = matrix.rows(&[3, 0, 3]).expect("rows");
            let row = |index: usize| &held[index * inputs..][..inputs];
            assert_eq!(picked, [row(3), row(0), row(3)].concat());

            for rows in [1, 2, 5, 33, 65] {
                let x = noise(2, rows * inputs);
                let mut expected = vec![0.0; rows * outputs];
                let y = MatrixMut::new(&mut expected, rows, outputs);
                product(&x, inputs, Floats::Single(&held), None, y);
                let found = matrix.product(&x).expect("a product");
                // Rows of `x` are of 8 bits, too: half a step of 1/127 of the largest of 256, evenly spread.
                let moved = spread(&difference(&found, &expected)) / spread(&expected);
                assert!(moved < 0.01, "{bits} bits, {rows} rows of {inputs} x {outputs}: {moved}");
            }
        }
    }
}

#[test]
fn blocks_need_whole_blocks_and_tiles() {
    for (inputs, outputs, fits) in
        [(256, 16, true), (192, 16, false), (0, 16, false), (256, 8, false), (256, 0, false)]
    {
        assert_eq!(BlockMatrix::fits(inputs, outputs), fits, "{inputs} x {outputs}");
    }
    let few = noise(1, 16 * 256);
    for bits in [4, 8] {
        let matrix = BlockMatrix::new(&few, 256, bits).expect("a size that fits");
        let repeated = BlockMatrix::repeated(&few, 256, 48, bits).expect("a size that fits");
        let rows = |matrix: &BlockMatrix, index: &[u32]| matrix.rows(index).expect("rows");
        assert_eq!(rows(&repeated, &[0, 17, 47]), rows(&matrix, &[0, 1, 15]));
        assert_eq!(repeated.bytes(), 3 * matrix.bytes());
        assert_eq!(matrix.bytes(), BlockMatrix::block_bytes(256, 16, bits));
    }
}

#[test]
fn norms() {
    for (rows, width) in [(1, 1), (3, 7), (1, 4096), (65, 33), (577, 192)] {
        let x = noise(1, rows * width);
        let (weight, bias) = (noise(3, width), noise(4, width));
        let what = format!("{rows} x {width}");
        let params = NormParams { rows: rows as u32, width: width as u32, eps: 1e-5 };
        let (mut expected, mut normed) = (vec![0.0; x.len()], vec![f32::NAN; x.len()]);
        oracle::nn::rms_norm(&params, &x, &weight, &mut expected);
        nn::rms_norm(&params, &x, &weight, &mut normed);
        assert_near(&normed, &expected, rounding(width), &what);
        oracle::nn::layer_norm(&params, &x, &weight, &bias, &mut expected);
        nn::layer_norm(&params, &x, &weight, &bias, &mut normed);
        assert_near(&normed, &expected, 4.0 * rounding(width), &what);
    }
}

#[test]
fn rotations() {
    for (tokens, heads, head_dim) in [(1, 1, 2), (3, 2, 62), (65, 3, 66), (577, 4, 8), (300, 8, 64)] {
        let (x, table) = (noise(1, tokens * heads * head_dim), noise(2, tokens * head_dim));
        let params = RotaryParams { tokens: tokens as u32, heads: heads as u32, head_dim: head_dim as u32 };
        let (mut expected, mut found) = (vec![0.0; x.len()], vec![f32::NAN; x.len()]);
        oracle::nn::rotary(&params, &x, &table, &mut expected);
        nn::rotary(&params, &x, &table, &mut found);
        assert_near(&found, &expected, 4.0 * f32::EPSILON, &format!("{params:?}"));
    }
}

#[test]
fn activations() {
    for count in [1, 15, 16, 17, 40_000] {
        // From where an exponential is nothing to where it is everything.
        let gate: Vec<f32> = noise(1, count).into_iter().map(|x| 120.0 * x).collect();
        let up = noise(2, count);
        let mut found = vec![f32::NAN; count];
        // Rows of 1, and one row of all.
        for inner in [1, count] {
            let rows = gate.chunks_exact(inner).zip(up.chunks_exact(inner));
            let joined: Vec<f32> = rows.flat_map(|(gate, up)| [gate, up].concat()).collect();
            let gated =
                gate.iter().zip(&up).map(|(g, u)| oracle::nn::activated(4, f64::from(*g)) * f64::from(*u));
            let expected: Vec<f32> = gated.map(|value| value as f32).collect();
            nn::swiglu(&joined, inner, &mut found);
            assert_near(&found, &expected, 8.0 * f32::EPSILON, "swiglu");
        }
        for factor in [1.0, 1.702] {
            nn::swish(&gate, factor, &mut found);
            let of = |x: f64| x / (1.0 + (-f64::from(factor) * x).exp());
            let expected: Vec<f32> = gate.iter().map(|x| of(f64::from(*x)) as f32).collect();
            // The exponent's rounding grows with it, until the result is nothing.
            assert_near(&found, &expected, 32.0 * f32::EPSILON, "swish");
        }
    }
}

#[test]
fn attention_that_vision_tokens_receive() {
    for ((heads, key_heads, head_dim), (rows, first, columns)) in HEADS.into_iter().flat_map(|heads| {
        [(1, 0, 1), (5, 3, 31), (64, 1, 65), (65, 35, 576), (130, 0, 33)].map(|size| (heads, size))
    }) {
        for window in WINDOWS {
            let params = TextAttentionParams {
                rows: rows as u32,
                asked: 0,
                first: first as u32,
                columns: columns as u32,
                heads: heads as u32,
                key_heads: key_heads as u32,
                head_dim: head_dim as u32,
                scale: 1.0 / (head_dim as f32).sqrt(),
                shares: 1,
                own: (first + columns + 2) as u32,
                window,
            };
            let positions = positions(first + columns + 2 + rows);
            let query = noise(1, rows * heads * head_dim);
            let key = noise(2, (first + columns + 2) * key_heads * head_dim);
            // Denominators as they are about: many keys, so that weights stay below 1.
            let log_sum: Vec<f32> =
                noise(3, rows * heads).into_iter().map(|x| x + (columns as f32).ln() + 4.0).collect();
            let mut expected = [vec![0.0; columns], vec![0.0; columns]];
            let [sum, max] = &mut expected;
            let mut weights = vec![0.0; rows * columns];
            oracle::prefill::text_attention(&params, &query, &key, &log_sum, &positions, &mut weights);
            oracle::prefill::attention_received(&params, &weights, sum, max);
            let (mut sum, mut max) = (vec![f32::NAN; columns], vec![f32::NAN; columns]);
            scores::text_attention(&params, &query, &key, &log_sum, &positions, &mut sum, &mut max);
            assert_near(&sum, &expected[0], rounding(rows * head_dim), &format!("{params:?}"));
            assert_near(&max, &expected[1], rounding(rows * head_dim), &format!("{params:?}"));
        }
    }
}

#[test]
fn how_alike_windows_are() {
    for (grid, window, first, width) in
        [(24, 3, 1, 1024), (24, 3, 1, 33), (4, 3, 0, 7), (1, 3, 0, 5), (5, 2, 1, 65), (9, 4, 1, 8)]
    {
        let params = WindowSimilarityParams { grid, window, first, width };
        let mut x = noise(1, ((first + grid * grid) * width) as usize);
        // One row of zeros: its cosine with any other is 0, not NaN.
        x[(first * width) as usize..][..width as usize].fill(0.0);
        let count = params.windows() * params.windows();
        let (mut expected, mut found) = (vec![0.0; count], vec![f32::NAN; count]);
        oracle::vision::window_similarity(&params, &x, &mut expected);
        scores::window_similarity(&params, &x, &mut found);
        assert_near(&found, &expected, rounding(width as usize), &format!("{params:?}"));
    }
}

proptest! {
    /// Few different scores, so that ties abound; both zeros are one score.
    #[test]
    fn the_highest_scores(
        tokens in prop::collection::vec((prop::sample::select(vec![-1.0f32, -0.0, 0.0, 0.5, 2.0]), 0u32..2), 0..200),
        share in 0.0f64..1.2,
    ) {
        let (score, preferred): (Vec<f32>, Vec<u32>) = tokens.iter().copied().unzip();
        let k = (share * tokens.len() as f64) as u32;
        let params = TopKParams { count: tokens.len() as u32, k };
        let (mut expected, mut found) = (vec![0; tokens.len()], vec![9; tokens.len()]);
        oracle::prefill::top_k(&params, &score, &preferred, &mut expected);
        scores::top_k(&params, &score, &preferred, &mut found);
        prop_assert_eq!(found, expected);
    }
}
