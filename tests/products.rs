//! Products on an adapter against their oracle: every format, few rows and many, with all that surrounds them.

use crate::common::{adapter, noise, tensor};
use burn::tensor::{DType, Device};
use mustdrop::{
    config::Activation,
    kernel::{
        product::{Around, FEW_ROWS, Operand, product},
        quantised::QuantisedMatrix,
        variants::{Unpack, Variants},
    },
    oracle::{
        nn::{self, ProductInputs, ProductParams},
        quantised as format,
    },
    quantise::Blocks,
};

const EPS: f32 = 1e-5;
/// Formats by the bits of a weight.
const BITS: [u32; 4] = [4, 8, 16, 32];

/// A matrix of noise in a format, and the weights that it stands for.
fn matrix(bits: u32, inputs: usize, outputs: usize, seed: u64, device: &Device) -> (Operand, Vec<f32>) {
    let weights = noise(seed, inputs * outputs);
    if bits > 8 {
        let dtype = if bits == 16 { DType::F16 } else { DType::F32 };
        let weight = tensor(&weights, [outputs, inputs], device).cast(dtype);
        let rounded = weight.clone().cast(DType::F32).into_data().try_to_vec().expect("float32");
        return (Operand::floats(&weight).expect("on an adapter"), rounded);
    }
    let blocks = Blocks::new(&weights, inputs, bits);
    let rounded = (0..outputs).flat_map(|output| {
        (0..inputs / format::BLOCK)
            .flat_map(move |block| [(output, block)])
            .flat_map(|(output, block)| {
                format::block(&blocks.params, &blocks.words, &blocks.ranges, block, output)
            })
            .map(|weight| weight as f32)
            .collect::<Vec<_>>()
    });
    let rounded = rounded.collect();
    (QuantisedMatrix::new(blocks, device, true).operand().expect("on an adapter"), rounded)
}

/// What surrounds a product, in every combination that a transformer has and some that it has not.
const SURROUNDINGS: [(bool, bool, Option<Activation>, bool, bool); 9] = [
    (false, false, None, false, false),
    (true, false, None, false, true),
    (true, true, Some(Activation::Silu), true, false),
    (false, false, Some(Activation::GeluTanh), true, false),
    (false, true, Some(Activation::QuickGelu), false, false),
    (false, true, Some(Activation::Gelu), false, true),
    (false, false, Some(Activation::GeluTanh), false, false),
    (false, true, Some(Activation::Relu), false, false),
    (true, true, Some(Activation::Silu), false, true),
];

/// One product against the oracle, of a matrix in parts of these outputs.
fn assert_product(
    bits: u32,
    unpack: Unpack,
    (rows, inputs, outputs): (usize, usize, &[usize]),
    (has_norm, has_bias, activation, is_gated, has_residual): (bool, bool, Option<Activation>, bool, bool),
    device: &Device,
) {
    let all: usize = outputs.iter().sum();
    let columns = if is_gated { all / 2 } else { all };
    let (x, norm) = (noise(1, rows * inputs), noise(2, inputs));
    let (bias, residual) = (noise(3, all), noise(4, rows * columns));
    let parts: Vec<_> =
        outputs.iter().zip(5..).map(|(count, seed)| matrix(bits, inputs, *count, seed, device)).collect();
    let mut expected = vec![f32::NAN; rows * columns];
    let mut first = 0;
    for ((_, weight), count) in parts.iter().zip(outputs) {
        let params = ProductParams {
            start: 0,
            rows: rows as u32,
            inputs: inputs as u32,
            outputs: *count as u32,
            first,
            columns: columns as u32,
            has_bias: u32::from(has_bias),
            has_residual: u32::from(has_residual),
            activation: match activation {
                None => 0,
                Some(Activation::QuickGelu) => 1,
                Some(Activation::Gelu) => 2,
                Some(Activation::GeluTanh) => 3,
                Some(Activation::Silu) => 4,
                _ => 5,
            },
            is_gated: u32::from(is_gated),
            eps: EPS,
        };
        let read = ProductInputs {
            x: &x,
            weight,
            norm: has_norm.then_some(&norm[..]),
            bias: &bias,
            residual: &residual,
        };
        nn::product(&params, &read, &mut expected);
        first += *count as u32;
    }

    let (norm, bias) = (tensor(&norm, [inputs], device), tensor(&bias, [all], device));
    let residual = tensor(&residual, [rows, columns], device);
    let around = Around {
        norm: has_norm.then_some((&norm, EPS)),
        bias: has_bias.then_some(&bias),
        activation,
        is_gated,
        residual: has_residual.then_some(&residual),
    };
    let operands: Vec<_> = parts.into_iter().map(|(operand, _)| operand).collect();
    let x = tensor(&x, [rows, inputs], device);
    // Sums of `inputs` products of values below 1, of normed ones below the root of `inputs`; gated, of two of them.
    let sum = inputs as f32 * if has_norm { (inputs as f32).sqrt() } else { 1.0 };
    let largest = if is_gated { (inputs as f32).sqrt() * 4.0 } else { 1.0 };
    let tolerance = (sum * largest + 4.0) * f32::EPSILON;
    // Few rows have a kernel for software adapters.
    for is_software in if rows <= FEW_ROWS { &[false, true][..] } else { &[false] } {
        let variants = Variants { unpack, is_software: *is_software, ..Variants::default() };
        let found = product(&x, &operands, &around, variants);
        assert_eq!(found.dims(), [rows, columns]);
        let found: Vec<f32> = found.into_data().try_to_vec().expect("float32");
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!(
                (found - expected).abs() <= tolerance,
                "{found} for {expected} at {i}: {bits} bits, {variants:?}, {rows} rows, {inputs} inputs, {outputs:?} \
                 outputs, norm {has_norm}, bias {has_bias}, {activation:?}, gated {is_gated}, residual {has_residual}"
            );
        }
    }
}

/// Few rows, with all that surrounds them.
fn assert_few_rows(bits: u32) {
    let device = adapter();
    for (number, surroundings) in SURROUNDINGS.into_iter().enumerate() {
        // Rows of every variant, some too few for the last workgroup.
        for rows in [1, 2, 3, 4, 5, 8] {
            let shapes: [(usize, &[usize]); 4] = [(32, &[2]), (96, &[62, 4]), (576, &[64]), (1056, &[34])];
            let shape = shapes[(number + rows) % shapes.len()];
            assert_product(bits, Unpack::default(), (rows, shape.0, shape.1), surroundings, &device);
        }
    }
    for outputs in [1, 33, 63, 65] {
        assert_product(bits, Unpack::default(), (1, 64, &[outputs]), SURROUNDINGS[1], &device);
    }
}

#[test]
fn quantised_vector() {
    [4, 8].into_iter().for_each(assert_few_rows);
}

#[test]
fn float_vector() {
    [16, 32].into_iter().for_each(assert_few_rows);
}

/// Many rows of every format, with all that surrounds them.
fn assert_many_rows(unpack: Unpack) {
    let device = adapter();
    for bits in BITS {
        for (number, surroundings) in SURROUNDINGS.into_iter().enumerate() {
            let rows = [9, 16, 17, 32, 33, 64, 65][number % 7];
            let shapes: [(usize, &[usize]); 4] = [(32, &[2]), (96, &[62, 4]), (576, &[64]), (64, &[130])];
            let shape = shapes[number % shapes.len()];
            assert_product(bits, unpack, (rows, shape.0, shape.1), surroundings, &device);
        }
        for outputs in [1, 63, 65] {
            assert_product(bits, unpack, (11, 64, &[outputs]), SURROUNDINGS[4], &device);
        }
    }
}

#[test]
fn product_tile() {
    assert_many_rows(Unpack::Tile);
}

#[test]
fn product_registers() {
    assert_many_rows(Unpack::Registers);
}

#[test]
fn floats_of_odd_shapes() {
    let device = adapter();
    for bits in [16, 32] {
        for (inputs, outputs) in [(1, 1), (4, 1), (4, 3), (30, 5), (588, 7)] {
            for rows in [1, 3, 10] {
                for unpack in Unpack::ALL {
                    assert_product(bits, unpack, (rows, inputs, &[outputs]), SURROUNDINGS[5], &device);
                    assert_product(bits, unpack, (rows, inputs, &[outputs]), SURROUNDINGS[8], &device);
                }
            }
        }
    }
}

#[test]
fn products_repeat_bit_by_bit() {
    let device = adapter();
    let x = tensor(&noise(1, 40 * 576), [40, 576], &device);
    for bits in BITS {
        let operands = [matrix(bits, 576, 70, 2, &device).0];
        for (rows, unpack) in
            [(1, Unpack::Tile), (4, Unpack::Tile), (40, Unpack::Tile), (40, Unpack::Registers)]
        {
            let variants = Variants { unpack, ..Variants::default() };
            let x = x.clone().slice([0..rows]);
            let run = || -> Vec<u32> {
                let y = product(&x, &operands, &Around::default(), variants).into_data();
                y.try_to_vec::<f32>().expect("float32").into_iter().map(f32::to_bits).collect()
            };
            let first = run();
            assert!((0..20).all(|_| run() == first), "{bits} bits, {rows} rows, {unpack:?}");
        }
    }
}
