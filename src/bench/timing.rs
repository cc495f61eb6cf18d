//! Medians, and inputs that are neither zero nor alike.

use burn::tensor::{Device, Distribution, Tensor};

/// The middle of the sorted values; the default of none.
pub fn median<T: PartialOrd + Copy + Default>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Values in [-1, 1), made on the device.
pub fn noise<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), device)
}

/// So many values in [-1, 1), the same each time.
pub fn pixels(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        // Numerical Recipes' generator: its upper bits are random enough for pixels.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
