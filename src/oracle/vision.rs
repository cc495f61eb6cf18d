//! Oracles of `shaders/vision`.

/// Sizes of [`window_similarity`], laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct WindowSimilarityParams {
    /// Patches along a side of the picture.
    pub grid: u32,
    /// Patches along a side of a window, at most 4; edge windows may have fewer.
    pub window: u32,
    /// Row of the first patch: 1 behind a class token.
    pub first: u32,
    /// Width of a row.
    pub width: u32,
}

impl WindowSimilarityParams {
    /// Windows along a side of the picture.
    pub fn windows(&self) -> usize {
        self.grid.div_ceil(self.window) as usize
    }

    /// Rows of the patches of window `index`, in raster order.
    pub fn rows(&self, index: usize) -> Vec<usize> {
        let (grid, window) = (self.grid as usize, self.window as usize);
        let (top, left) = (index / self.windows() * window, index % self.windows() * window);
        let lines = top..grid.min(top + window);
        lines
            .flat_map(|y| (left..grid.min(left + window)).map(move |x| y * grid + x))
            .map(|patch| self.first as usize + patch)
            .collect()
    }
}

/// The mean cosine over all pairs of a window's patches (MustDrop, stage V); -1 for a window of one patch.
///
/// A row of zeros has cosine 0 with every other.
///
/// # Shapes
///
/// - `x`: `[first + grid², width]`
/// - `similarity`: `[windows²]`, row-major
pub fn window_similarity(params: &WindowSimilarityParams, x: &[f32], similarity: &mut [f32]) {
    let width = params.width as usize;
    for (window, similarity) in similarity.iter_mut().enumerate() {
        let rows: Vec<&[f32]> =
            params.rows(window).into_iter().map(|row| &x[row * width..(row + 1) * width]).collect();
        let (mut sum, mut pairs) = (0.0, 0.0);
        for (i, a) in rows.iter().enumerate() {
            for b in &rows[i + 1..] {
                sum += cosine(a, b);
                pairs += 1.0;
            }
        }
        *similarity = if pairs > 0.0 { (sum / pairs) as f32 } else { -1.0 };
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms > 0.0 { dot(a, b) / norms } else { 0.0 }
}

/// Fills a token's list of rows up.
pub const ABSENT: u32 = u32::MAX;

/// Sizes of [`window_merge`], laid out as the shader's uniform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct WindowMergeParams {
    /// Rows of the result.
    pub tokens: u32,
    /// Places in a token's list of rows.
    pub members: u32,
    /// Width of a row.
    pub width: u32,
}

/// Each token as the plain mean of the rows it stands for (MustDrop, stage V).
///
/// # Shapes
///
/// - `x`: `[rows, width]`
/// - `member`: `[tokens, members]`: rows of `x`, then [`ABSENT`]
/// - `merged`: `[tokens, width]`
pub fn window_merge(params: &WindowMergeParams, x: &[f32], member: &[u32], merged: &mut [f32]) {
    let (members, width) = (params.members as usize, params.width as usize);
    for (member, merged) in member.chunks_exact(members).zip(merged.chunks_exact_mut(width)) {
        let rows: Vec<usize> = member.iter().filter(|row| **row != ABSENT).map(|row| *row as usize).collect();
        for (column, merged) in merged.iter_mut().enumerate() {
            let sum: f64 = rows.iter().map(|row| f64::from(x[row * width + column])).sum();
            *merged = (sum / rows.len().max(1) as f64) as f32;
        }
    }
}
