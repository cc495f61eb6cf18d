//! Scaled dot-product attention over grouped heads.

use burn::tensor::Tensor;

use super::cache::Held;
use crate::kernel::{
    self,
    chunked::{CausalMask, attention},
    variants::Variants,
};

/// What attention leaves behind.
#[derive(Debug)]
pub struct Mixed {
    /// `[rows, heads * head_dim]`
    pub output: Tensor<2>,
    /// The logarithms of the rows' softmax denominators, `[rows, heads]`, where they came along.
    pub log_sum: Option<Tensor<2>>,
}

/// Attention of the newest rows to all that a layer's cache holds, each up to itself: by this crate's kernels on the CPU,
/// and on an adapter where they suit; else by burn's operations with the mask that `mask` makes.
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
    let is_on_adapter = kernel::is_on_adapter(query);
    if rows == 1 && (!is_on_adapter || suits(query, kernel::decode::WIDEST_HEAD)) {
        let output = kernel::decode::cached_attention(query, &held.keys, &held.values, held.rows);
        return Mixed { output, log_sum: None };
    }
    if !is_on_adapter || variants.attention && suits(query, kernel::nn::WIDEST_HEAD) {
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
    let is_suited = variants.attention && suits(&query, kernel::nn::WIDEST_HEAD);
    if is_suited || !kernel::is_on_adapter(&query) {
        let rows = key.dims()[0];
        return kernel::nn::attention(&query, &key, &value, rows, rows).0;
    }
    attention(query, key, value, None)
}

/// Whether this crate's shaders for heads of up to `widest` components take these.
fn suits(query: &Tensor<3>, widest: usize) -> bool {
    let head_dim = query.dims()[2];
    head_dim <= widest && head_dim.is_multiple_of(4)
}
