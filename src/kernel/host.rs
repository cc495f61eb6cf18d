//! Tensors of the CPU path: their values, where they lie.

use std::{marker::PhantomData, ops::Deref};

use burn::tensor::{Device, Element, Int, Tensor, TensorData};
use burn_flex::{Flex, FlexTensor};

use super::tally;

/// The values of a tensor in host memory, row by row; of other strides or another type, a copy.
pub struct Values<E> {
    tensor: FlexTensor,
    of: PhantomData<E>,
}

impl<E: Element + bytemuck::Pod> Values<E> {
    fn new(tensor: FlexTensor) -> Self {
        let tensor = match tensor.dtype() == E::dtype() {
            true => tensor,
            false => FlexTensor::from_data(tensor.into_data().convert::<E>()),
        };
        let tensor = if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() };
        Self { tensor, of: PhantomData }
    }
}

impl<E: Element + bytemuck::Pod> Deref for Values<E> {
    type Target = [E];

    fn deref(&self) -> &[E] {
        // Contiguous, and of this type, it always has values.
        self.tensor.as_slice().unwrap_or_default()
    }
}

/// Whether a device is the CPU path's.
pub fn is_host(device: &Device) -> bool {
    *device == Device::flex()
}

/// The values of a tensor on the CPU path; of one that is not, a copy.
pub fn host<const D: usize>(tensor: &Tensor<D>) -> Values<f32> {
    elements(tensor)
}

/// As [`host`], for floats of the width that the caller knows.
pub fn elements<const D: usize, E: Element + bytemuck::Pod>(tensor: &Tensor<D>) -> Values<E> {
    let here = tensor.clone().try_into_primitive::<Flex>();
    Values::new(here.unwrap_or_else(|_| FlexTensor::from_data(tensor.to_data())))
}

/// As [`host`], for whole numbers as shaders take them.
pub fn host_integers<const D: usize>(tensor: &Tensor<D, Int>) -> Values<u32> {
    let here = tensor.clone().try_into_primitive::<Flex>();
    Values::new(here.unwrap_or_else(|_| FlexTensor::from_data(tensor.to_data())))
}

/// Counts what is about to be brought to a device, unless the values are there already.
pub fn note_upload(device: &Device, bytes: usize) {
    if !is_host(device) && bytes > 0 {
        tally::note_write(bytes as u64);
    }
}

/// A tensor on `device`, from values in host memory.
pub fn from_host<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    note_upload(device, 4 * values.len());
    Tensor::from_data(TensorData::new(values, shape), device)
}
