//! Scaled dot-product attention over grouped heads.

use burn::tensor::{Tensor, activation::softmax};

/// `softmax(Q Kᵀ / sqrt(head_dim) + mask) V` for every head.
///
/// With fewer key heads than query heads, consecutive query heads share one (grouped-query attention,
/// arXiv 2305.13245).
///
/// # Shapes
///
/// - `query`: `[rows, heads, head_dim]`
/// - `key`, `value`: `[columns, key_heads, head_dim]`, `key_heads` dividing `heads`
/// - `mask`: `[rows, columns]`, added to the scores
/// - result: `[rows, heads * head_dim]`
pub fn attention(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, mask: Option<&Tensor<2>>) -> Tensor<2> {
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
        let masked = scores.reshape([heads, rows, columns]) + mask.clone().unsqueeze::<3>();
        scores = masked.reshape([key_heads, group * rows, columns]);
    }
    softmax(scores, 2)
        .matmul(value.swap_dims(0, 1))
        .reshape([key_heads, group, rows, head_dim])
        .permute([2, 0, 1, 3])
        .reshape([rows, heads * head_dim])
}
