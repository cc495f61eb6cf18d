//! Oracles of `shaders/nn`.

/// Sizes of [`rotary`], laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct RotaryParams {
    /// Rows.
    pub tokens: u32,
    /// Heads of a row.
    pub heads: u32,
    /// Components of a head; even.
    pub head_dim: u32,
}

/// Rotates every head by its token's position: `(a, b) -> (a cos - b sin, b cos + a sin)`.
///
/// `a` and `b` are components `i` and `i + head_dim / 2` of a head (RoFormer, arXiv 2104.09864, section
/// 3.4.2, in the pairing of Llama checkpoints).
///
/// # Shapes
///
/// - `x`, `rotated`: `[tokens, heads, head_dim]`
/// - `table`: `[tokens, head_dim]`, the cosines of a token's angles, then their sines
pub fn rotary(params: &RotaryParams, x: &[f32], table: &[f32], rotated: &mut [f32]) {
    let (heads, head_dim) = (params.heads as usize, params.head_dim as usize);
    let rows = x.chunks_exact(heads * head_dim).zip(rotated.chunks_exact_mut(heads * head_dim));
    for ((x, rotated), table) in rows.zip(table.chunks_exact(head_dim)).take(params.tokens as usize) {
        let (cosines, sines) = table.split_at(head_dim / 2);
        for (x, rotated) in x.chunks_exact(head_dim).zip(rotated.chunks_exact_mut(head_dim)) {
            let (a, b) = x.split_at(head_dim / 2);
            let (ra, rb) = rotated.split_at_mut(head_dim / 2);
            for i in 0..head_dim / 2 {
                let (cosine, sine) = (f64::from(cosines[i]), f64::from(sines[i]));
                let (a, b) = (f64::from(a[i]), f64::from(b[i]));
                ra[i] = (a * cosine - b * sine) as f32;
                rb[i] = (b * cosine + a * sine) as f32;
            }
        }
    }
}
