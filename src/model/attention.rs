//! Scaled dot-product attention over grouped heads.

use burn::tensor::{Device, Tensor, TensorData, activation::softmax};

use super::cache::Held;
use crate::kernel::{self, variants::Variants};

/// Query rows whose scores are in memory at a time: no matrix of all rows by all columns ever is.
pub(crate) const CHUNK: usize = 128;

/// Which columns each new row may look at: all those before it, and itself.
#[derive(Debug, Clone)]
pub struct CausalMask {
    past: usize,
    /// What is added to the scores of a chunk's rows with themselves: 0, or a large negative number.
    triangle: Tensor<2>,
}

impl CausalMask {
    /// The mask of `rows` new rows behind `past` others.
    pub fn new(rows: usize, past: usize, device: &Device) -> Self {
        let side = CHUNK.min(rows);
        let mut mask = vec![0.0; side * side];
        for (row, line) in mask.chunks_exact_mut(side.max(1)).enumerate() {
            line[row + 1..].fill(f32::MIN / 2.0);
        }
        Self { past, triangle: Tensor::from_data(TensorData::new(mask, [side, side]), device) }
    }

    /// The same mask behind `past` others.
    pub fn behind(&self, past: usize) -> Self {
        Self { past, ..self.clone() }
    }

    /// What is added to the scores of `rows` rows from `start` on, `[rows, visible columns]`.
    fn of_chunk(&self, start: usize, rows: usize) -> Tensor<2> {
        let triangle = self.triangle.clone().slice([0..rows, 0..rows]);
        match self.past + start {
            0 => triangle,
            before => Tensor::cat(vec![Tensor::zeros([rows, before], &triangle.device()), triangle], 1),
        }
    }
}

/// What attention leaves behind.
#[derive(Debug)]
pub struct Mixed {
    /// `[rows, heads * head_dim]`
    pub output: Tensor<2>,
    /// The logarithms of the rows' softmax denominators, `[rows, heads]`, where they came along.
    pub log_sum: Option<Tensor<2>>,
}

/// Attention of the newest rows to all that a layer's cache holds, each up to itself: by this crate's kernels on an
/// adapter where they suit, else by burn's operations with the mask that `mask` makes.
///
/// # Shapes
///
/// `query`: `[rows, heads, head_dim]`, the last rows that `held` holds.
pub fn cached_attention(
    query: &Tensor<3>,
    held: &Held,
    variants: Variants,
    mask: impl FnOnce() -> Option<CausalMask>,
) -> Mixed {
    let rows = query.dims()[0];
    if rows == 1 && suits(query, kernel::decode::WIDEST_HEAD) {
        let output = kernel::decode::cached_attention(query, &held.keys, &held.values, held.rows);
        return Mixed { output, log_sum: None };
    }
    if variants.attention && suits(query, kernel::nn::WIDEST_HEAD) {
        let past = held.rows - rows;
        let (output, log_sum) = kernel::nn::attention(query, &held.keys, &held.values, held.rows, past);
        return Mixed { output, log_sum: Some(log_sum) };
    }
    let values = held.values.clone().slice([0..held.rows]);
    let output = attention(query.clone(), held.trimmed_keys(), values, mask().as_ref());
    Mixed { output, log_sum: None }
}

/// Attention of every row to every row, as in a vision tower; shapes are those of [`attention`].
pub fn everywhere(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, variants: Variants) -> Tensor<2> {
    if variants.attention && suits(&query, kernel::nn::WIDEST_HEAD) {
        let rows = key.dims()[0];
        return kernel::nn::attention(&query, &key, &value, rows, rows).0;
    }
    attention(query, key, value, None)
}

/// Whether this crate's kernels for heads of up to `widest` components take these.
fn suits(query: &Tensor<3>, widest: usize) -> bool {
    let head_dim = query.dims()[2];
    head_dim <= widest && head_dim.is_multiple_of(4) && kernel::is_on_adapter(query)
}

/// `softmax(Q Kᵀ / sqrt(head_dim) + mask) V` for every head.
///
/// With fewer key heads than query heads, consecutive query heads share one (grouped-query attention,
/// arXiv 2305.13245). Columns that a mask hides from a whole chunk of rows are not computed.
///
/// # Shapes
///
/// - `query`: `[rows, heads, head_dim]`
/// - `key`, `value`: `[columns, key_heads, head_dim]`, `key_heads` dividing `heads`
/// - result: `[rows, heads * head_dim]`
pub fn attention(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, mask: Option<&CausalMask>) -> Tensor<2> {
    let rows = query.dims()[0];
    let columns = key.dims()[0];
    let chunks = (0..rows).step_by(CHUNK).map(|start| {
        let end = rows.min(start + CHUNK);
        let query = query.clone().slice([start..end]);
        let mask = mask.map(|mask| mask.of_chunk(start, end - start));
        let visible = mask.as_ref().map_or(columns, |mask| mask.dims()[1]);
        let (key, value) = (key.clone().slice([0..visible]), value.clone().slice([0..visible]));
        attention_of_chunk(query, key, value, mask)
    });
    Tensor::cat(chunks.collect(), 0)
}

fn attention_of_chunk(
    query: Tensor<3>,
    key: Tensor<3>,
    value: Tensor<3>,
    mask: Option<Tensor<2>>,
) -> Tensor<2> {
    let [rows, heads, head_dim] = query.dims();
    let [columns, key_heads, _] = key.dims();
    let group = heads / key_heads;
    let scale = 1.0 / (head_dim as f64).sqrt();

    // The query heads that share a key head become more rows of one product.
    let query = (query * scale).reshape([rows, key_heads, group, head_dim]).permute([1, 2, 0, 3]).reshape([
        key_heads,
        group * rows,
        head_dim,
    ]);
    let mut scores = query.matmul(key.permute([1, 2, 0]));
    if let Some(mask) = mask {
        let masked = scores.reshape([heads, rows, columns]) + mask.unsqueeze::<3>();
        scores = masked.reshape([key_heads, group * rows, columns]);
    }
    softmax(scores, 2)
        .matmul(value.swap_dims(0, 1))
        .reshape([key_heads, group, rows, head_dim])
        .permute([2, 0, 1, 3])
        .reshape([rows, heads * head_dim])
}
