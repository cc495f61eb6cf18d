//! Kernels of `shaders/nn`: parts of any transformer.

use burn::tensor::{DType, Tensor};

use super::{
    Kernel, MAX_GROUPS, from_host, host,
    launch::{Launch, from_adapter, on_adapter},
};
use crate::oracle::nn::{self as oracle, RotaryParams};

/// `shaders/nn/rotary.wgsl`
pub const ROTARY: Kernel = Kernel::new("rotary", include_str!("../../shaders/nn/rotary.wgsl"), [64, 1, 1]);

/// Rotates every head by its token's position; see [`oracle::rotary`].
///
/// # Panics
///
/// If the shapes of `x` and `table` disagree, or there are more tokens than a dispatch has workgroups.
pub fn rotary(x: Tensor<3>, table: &Tensor<2>) -> Tensor<3> {
    let [tokens, heads, head_dim] = x.dims();
    assert_eq!(table.dims(), [tokens, head_dim], "the rotary table has one row a token");
    assert!(tokens <= MAX_GROUPS as usize, "at most {MAX_GROUPS} tokens in one pass");
    let params = RotaryParams { tokens: tokens as u32, heads: heads as u32, head_dim: head_dim as u32 };
    if let (Some(x), Some(table)) = (on_adapter(&x), on_adapter(table)) {
        let groups = (params.heads * params.head_dim / 2).div_ceil(ROTARY.workgroup[0]);
        let launch = Launch::new(ROTARY).input(x).input(table).output([tokens, heads, head_dim], DType::F32);
        return from_adapter(launch.run([groups, params.tokens, 1], &params).remove(0));
    }
    let device = x.device();
    let (x, table) = (host(x), host(table.clone()));
    let mut rotated = vec![0.0; x.len()];
    oracle::rotary(&params, &x, &table, &mut rotated);
    from_host(rotated, [tokens, heads, head_dim], &device)
}
