//! What several tests share: fixtures, devices, models, tolerances.

pub mod families;
pub mod ggml;
pub mod gguf;
#[cfg(feature = "serve")]
pub mod http;
pub mod masked;
pub mod synthetic;
pub mod tiny;
pub mod tokenizers;

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
};

use burn::tensor::{Device, Tensor, TensorData};
use mustdrop::{
    DeviceSelect, Llava,
    device::Compute,
    kernel::variants::{Unpack, Variants},
    oracle::nn::AttentionParams,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensors;

/// Both paths of the program. The GPU path needs an adapter, a software one if need be; where none answers,
/// opening it fails with the command that installs one, and so does the test.
pub const DEVICES: [DeviceSelect; 2] = [DeviceSelect::Cpu, DeviceSelect::Gpu];

/// The default model on the CPU path, loaded once for all tests.
pub static MODEL: LazyLock<Llava> = LazyLock::new(|| embedded(DeviceSelect::Cpu));

/// The same on an adapter.
pub static ON_ADAPTER: LazyLock<Llava> = LazyLock::new(|| embedded(DeviceSelect::Gpu));

fn embedded(device: DeviceSelect) -> Llava {
    Llava::embedded().device(device).build().expect("the default model loads")
}

/// The fixtures with expected results of an independent implementation.
pub const GOLDENS: [&str; 2] = ["half_smooth", "grouped_query"];

/// The CPU path, and an adapter with every choice of kernels: for GPUs with tiles or without, and for software.
pub fn computes() -> [Compute; 4] {
    let [cpu, adapter] = DEVICES.map(|select| Compute::open(&select).expect("a device"));
    let tiles = Variants { attention: true, unpack: Unpack::Tile, is_software: false, ..adapter.variants() };
    let registers = Variants { attention: false, unpack: Unpack::Registers, ..tiles };
    let software = Variants { is_software: true, ..registers };
    let [tiles, registers, software] =
        [tiles, registers, software].map(|variants| adapter.clone().with_variants(variants));
    [cpu, tiles, registers, software]
}

/// An adapter, for tests of single kernels.
pub fn adapter() -> Device {
    Compute::open(&DeviceSelect::Gpu).expect("an adapter").burn()
}

/// The adapter, and the CPU path with its own implementations.
pub fn both() -> [Device; 2] {
    [adapter(), Device::flex()]
}

/// Values on a device.
pub fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

/// The values of a tensor, read back.
pub fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_to_vec().expect("float32")
}

/// A path inside the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The sample pictures of the default model with their questions, true answers and transformers' answers.
pub fn samples() -> Vec<serde_json::Value> {
    let bytes = std::fs::read(repository("models/picture-book/samples.json")).expect("in the repository");
    let json: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    json["samples"].as_array().expect("a list of samples").clone()
}

/// The parameters of attention of `rows` rows to `columns`, of which row `i` sees 0 to `past + i`, with so many heads, key
/// heads and numbers in each.
pub fn attention_params(
    (rows, columns, past): (usize, usize, usize),
    (heads, key_heads, head_dim): (usize, usize, usize),
) -> AttentionParams {
    AttentionParams {
        start: 0,
        rows: rows as u32,
        columns: columns as u32,
        heads: heads as u32,
        key_heads: key_heads as u32,
        head_dim: head_dim as u32,
        past: past as u32,
        scale: 1.0 / (head_dim as f32).sqrt(),
        is_packed: 0,
        window: 0,
    }
}

/// Positions of so many columns, between which some were dropped: ascending, one to three apart.
pub fn positions(columns: usize) -> Vec<u32> {
    (0..columns as u32).map(|column| 5 + 2 * column + column * column % 3).collect()
}

/// Windows that hide nothing, all but a row itself, and some columns.
pub const WINDOWS: [u32; 4] = [0, 1, 7, 90];

/// The folder of a golden fixture.
pub fn golden(name: &str) -> PathBuf {
    repository("tests/golden").join(name)
}

/// The JSON of a golden fixture's file.
pub fn golden_json(name: &str, file: &str) -> serde_json::Value {
    let bytes = std::fs::read(golden(name).join(file)).expect("the fixture is in the repository");
    serde_json::from_slice(&bytes).expect("the fixture is JSON")
}

/// A float32 tensor of a golden fixture's `expected.safetensors`, with its shape.
pub fn golden_tensor(name: &str, tensor: &str) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(golden(name).join("expected.safetensors")).expect("in the repository");
    let file = SafeTensors::deserialize(&bytes).expect("the fixture is valid");
    let tensor = file.tensor(tensor).expect("the fixture has this tensor");
    (tensor.shape().to_vec(), bytemuck::pod_collect_to_vec(tensor.data()))
}

/// Asserts that two tensors differ by at most 1e-3 of the largest magnitude: the goldens' own measure.
pub fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    let scale = expected.iter().fold(0.0f32, |scale, value| scale.max(value.abs()));
    let worst = found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0f32, f32::max);
    assert!(worst <= 1e-3 * scale, "{what}: differs by {worst:e}, the scale is {scale:e}");
    assert!(scale > 0.0, "{what}: the expectation is all zeros and proves nothing");
}

/// Seeded values in [-1, 1).
pub fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| (generator.next_u32() >> 8) as f32 / (1u32 << 23) as f32 - 1.0).collect()
}
