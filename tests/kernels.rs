//! Every kernel on an adapter against its oracle, at sizes that straddle its workgroup.

use crate::common::noise;
use burn::tensor::{Tensor, TensorData};
use mustdrop::{
    DeviceSelect,
    device::Compute,
    kernel,
    oracle::nn::{self, RotaryParams},
};

fn worst(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max)
}

#[test]
fn rotary() {
    let device = Compute::open(&DeviceSelect::Gpu).expect("an adapter").burn();
    for (tokens, heads, head_dim) in
        [(1, 1, 2), (1, 32, 128), (3, 2, 62), (63, 2, 64), (64, 1, 128), (65, 3, 66), (577, 4, 8)]
    {
        let x = noise(1, tokens * heads * head_dim);
        let table = noise(2, tokens * head_dim);
        let params = RotaryParams { tokens: tokens as u32, heads: heads as u32, head_dim: head_dim as u32 };
        let mut expected = vec![0.0; x.len()];
        nn::rotary(&params, &x, &table, &mut expected);

        let shape = [tokens, heads, head_dim];
        let table = Tensor::<2>::from_data(TensorData::new(table, [tokens, head_dim]), &device);
        // The same values as a whole tensor, and as a strided view of a transposed one.
        let whole = Tensor::<3>::from_data(TensorData::new(x.clone(), shape), &device);
        let view = whole.clone().swap_dims(0, 1).mul_scalar(1.0).swap_dims(0, 1);
        for (kind, x) in [("contiguous", whole), ("strided", view)] {
            let found = kernel::nn::rotary(x, &table);
            assert_eq!(found.dims(), shape);
            let found: Vec<f32> = found.into_data().try_to_vec().expect("float32");
            // Two products and a sum of values below 1: three roundings of at most 2 * 2^-24 each.
            let worst = worst(&found, &expected);
            assert!(worst <= 6.0 * f32::EPSILON / 2.0 * 2.0, "{kind} {shape:?}: {worst:e}");
        }
    }
}

#[test]
fn rotary_by_position_zero_changes_nothing() {
    let device = Compute::open(&DeviceSelect::Gpu).expect("an adapter").burn();
    let x = noise(3, 5 * 2 * 8);
    let identity: Vec<f32> = (0..5).flat_map(|_| [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]).collect();
    let table = Tensor::<2>::from_data(TensorData::new(identity, [5, 8]), &device);
    let tensor = Tensor::<3>::from_data(TensorData::new(x.clone(), [5, 2, 8]), &device);
    let found: Vec<f32> = kernel::nn::rotary(tensor, &table).into_data().try_to_vec().expect("float32");
    assert_eq!(found, x);
}
