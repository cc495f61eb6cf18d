//! Keys and values of the tokens seen so far.

use burn::tensor::Tensor;

use crate::kernel::{decode::gather_rows, integers};

/// Rows a cache grows by when it is full.
pub(crate) const CHUNK: usize = 256;

/// Keys and values of every decoder layer, and the position the next token gets.
///
/// A layer's rows and the rotary positions are separate matters: rows may be dropped, layer by layer,
/// while every surviving row was rotated by the position it had when it was written.
#[derive(Debug, Clone)]
pub struct KeyValueCache {
    pub(super) layers: Vec<LayerCache>,
    /// The rotary position of the next token.
    pub(crate) next_position: u32,
}

impl KeyValueCache {
    /// An empty cache for a decoder of `layers` layers.
    pub fn new(layers: usize) -> Self {
        Self { layers: vec![LayerCache::default(); layers], next_position: 0 }
    }

    /// Rows held by each layer.
    pub fn rows_per_layer(&self) -> Vec<usize> {
        self.layers.iter().map(LayerCache::len).collect()
    }

    /// Bytes of the rows held, over all layers; preallocated room not counted.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.keys.bytes() + layer.values.bytes()).sum()
    }

    /// Forgets the last `rows` rows of every layer, and every position from `next_position` on.
    pub(crate) fn forget_last(&mut self, rows: usize, next_position: u32) {
        for layer in &mut self.layers {
            layer.keys.len = layer.keys.len.saturating_sub(rows);
            layer.values.len = layer.values.len.saturating_sub(rows);
        }
        self.next_position = next_position;
    }
}

/// Keys and values of one layer, `[rows, key_heads, head_dim]` each.
#[derive(Debug, Clone, Default)]
pub struct LayerCache {
    keys: Rows,
    values: Rows,
}

impl LayerCache {
    /// Rows held.
    pub fn len(&self) -> usize {
        self.keys.len
    }

    /// Keeps the first `past` rows, and of those behind them the ones with the given indices.
    pub fn keep(&mut self, past: usize, index: &[u32]) {
        self.keys.keep(past, index);
        self.values.keep(past, index);
    }

    /// Appends rows, and returns all keys and values held.
    pub fn extend(&mut self, keys: Tensor<3>, values: Tensor<3>) -> Held {
        let (keys, values) = (self.keys.extend(keys), self.values.extend(values));
        Held { keys, values, rows: self.keys.len }
    }
}

/// What a layer's cache holds; kernels read the rows where they lie.
#[derive(Debug, Clone)]
pub struct Held {
    /// `[rows or more, key_heads, head_dim]`
    pub keys: Tensor<3>,
    /// `[rows or more, key_heads, head_dim]`
    pub values: Tensor<3>,
    /// How many rows hold something.
    pub rows: usize,
}

impl Held {
    /// The keys alone, `[rows, key_heads, head_dim]`.
    pub fn trimmed_keys(&self) -> Tensor<3> {
        self.keys.clone().slice([0..self.rows])
    }
}

/// A growing matrix in chunks of preallocated rows.
#[derive(Debug, Clone, Default)]
struct Rows {
    storage: Option<Tensor<3>>,
    len: usize,
}

impl Rows {
    /// Appends rows, and returns the storage.
    fn extend(&mut self, new: Tensor<3>) -> Tensor<3> {
        let [count, heads, width] = new.dims();
        let end = self.len + count;
        let storage = match self.storage.take() {
            Some(storage) if storage.dims()[0] >= end => storage,
            full => {
                let grown = Tensor::zeros([end.next_multiple_of(CHUNK), heads, width], &new.device());
                match full {
                    Some(old) if self.len > 0 => {
                        grown.slice_assign([0..self.len, 0..heads, 0..width], old.slice([0..self.len]))
                    }
                    _ => grown,
                }
            }
        };
        // The storage is held by nobody else here, so burn writes in place.
        let storage = storage.slice_assign([self.len..end, 0..heads, 0..width], new);
        self.len = end;
        self.storage = Some(storage.clone());
        storage
    }

    fn keep(&mut self, past: usize, index: &[u32]) {
        let Some(storage) = self.storage.take() else { return };
        let [capacity, heads, width] = storage.dims();
        let device = storage.device();
        let rows: Vec<u32> = (0..past as u32).chain(index.iter().map(|row| past as u32 + row)).collect();
        let count = rows.len();
        let matrix = storage.reshape([capacity, heads * width]);
        let kept = gather_rows(&matrix, &integers(rows, [count], &device)).reshape([count, heads, width]);
        self.len = 0;
        self.extend(kept);
    }

    fn bytes(&self) -> u64 {
        self.storage.as_ref().map_or(0, |storage| {
            let [_, heads, width] = storage.dims();
            (self.len * heads * width * storage.dtype().size()) as u64
        })
    }
}
