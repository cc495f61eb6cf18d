//! Attention by burn's products, for adapters that this crate's kernels do not suit.

use burn::tensor::{Device, Tensor, TensorData, activation::softmax};

/// Query rows whose scores are in memory at a time: no matrix of all rows by all columns ever is.
pub const CHUNK: usize = 128;

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
