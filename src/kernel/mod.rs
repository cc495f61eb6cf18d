//! The WGSL kernels as functions on tensors.
//!
//! A function here bears the name of its shader. On an adapter it launches the shader; on the CPU path it
//! runs the oracle of the same name. Shapes are the oracle's.

pub mod launch;
pub mod nn;

use burn::tensor::{Device, Tensor, TensorData};
pub use launch::Kernel;

/// Every shader of the crate: what the reflection test walks through.
pub const KERNELS: &[Kernel] = &[nn::ROTARY];

/// The most workgroups a dispatch may have along one axis, on every adapter.
const MAX_GROUPS: u32 = 65_535;

/// The values of a tensor on the CPU path.
fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    // Reading a tensor that already lies in host memory cannot fail; a wrong dtype is a bug of the caller.
    tensor.into_data().convert::<f32>().try_to_vec().unwrap_or_default()
}

/// A tensor on `device`, from values in host memory.
fn from_host<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}
