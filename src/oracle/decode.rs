//! Oracles of `shaders/decode`.

/// Sizes of [`gather_rows`], laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct GatherRowsParams {
    /// Rows of the result.
    pub rows: u32,
    /// Width of a row.
    pub width: u32,
}

/// Row `index[i]` of `x` as row `i`: what survives a filter, or an eviction from a cache.
///
/// # Shapes
///
/// - `x`: `[any, width]`
/// - `index`: `[rows]`
/// - `gathered`: `[rows, width]`
pub fn gather_rows(params: &GatherRowsParams, x: &[f32], index: &[u32], gathered: &mut [f32]) {
    let width = params.width as usize;
    for (gathered, index) in gathered.chunks_exact_mut(width).zip(index).take(params.rows as usize) {
        gathered.copy_from_slice(&x[*index as usize * width..][..width]);
    }
}
