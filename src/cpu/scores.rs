//! What MustDrop judges by: attention that vision tokens receive, and how alike the patches of a window are.

use multiversion::multiversion;
use rayon::prelude::*;

use super::{
    matrix::{Matrix, MatrixMut},
    simd::{dot, exp},
    threads::{self, together},
};
use crate::oracle::{
    prefill::{TextAttentionParams, TopKParams},
    vision::WindowSimilarityParams,
};

/// Columns that a thread takes at a time, at least.
const COLUMNS: usize = 32;
/// Rows whose scores are in memory at a time.
const ROWS: usize = 64;

/// The sum and the maximum of the attention that tokens receive; see
/// [`oracle::attention_received`](crate::oracle::prefill::attention_received).
pub fn text_attention(
    params: &TextAttentionParams,
    query: &[f32],
    key: &[f32],
    log_sum: &[f32],
    positions: &[u32],
    attention_sum: &mut [f32],
    attention_max: &mut [f32],
) {
    let (heads, head_dim) = (params.heads as usize, params.head_dim as usize);
    let stride = params.key_heads as usize * head_dim;
    let asked = params.asked as usize * heads;
    let (query, log_sum) = (&query[asked * head_dim..], &log_sum[asked..]);
    let share = attention_sum.len().div_ceil(threads::count()).max(COLUMNS);
    let shares = attention_sum.par_chunks_mut(share).zip(attention_max.par_chunks_mut(share)).enumerate();
    let work = |(number, (sums, maxima)): (usize, (&mut [f32], &mut [f32]))| {
        let columns = sums.len();
        sums.fill(0.0);
        maxima.fill(0.0);
        let key = &key[(params.first as usize + number * share) * stride..];
        let rows_at_once = ROWS.min(params.rows as usize);
        let (mut scores, mut means) = (vec![0.0; rows_at_once * columns], vec![0.0; rows_at_once * columns]);
        for start in (0..params.rows as usize).step_by(ROWS) {
            let rows = ROWS.min(params.rows as usize - start);
            means.fill(0.0);
            for head in 0..heads {
                let query = &query[(start * heads + head) * head_dim..];
                let query = Matrix::new(query, rows, head_dim, heads * head_dim);
                let key = &key[head / params.group() * head_dim..];
                let key = Matrix::new(key, columns, head_dim, stride);
                let mut scores_of_rows = MatrixMut::new(&mut scores[..rows * columns], rows, columns);
                query.multiply(key.turned(), &mut scores_of_rows, false);
                let lines = means.chunks_exact_mut(columns).zip(scores.chunks_exact(columns));
                for (row, (means, scores)) in lines.take(rows).enumerate() {
                    // Columns that a window hides come first.
                    let is_hidden =
                        |column: usize| !params.is_seen(start + row, number * share + column, positions);
                    let seen = (0..columns).take_while(|column| is_hidden(*column)).count();
                    let log_sum = log_sum[(start + row) * heads + head];
                    add_weights(&scores[seen..], params.scale, log_sum, &mut means[seen..]);
                }
            }
            for means in means.chunks_exact(columns).take(rows) {
                for ((mean, sum), max) in means.iter().zip(&mut *sums).zip(&mut *maxima) {
                    *sum += mean / heads as f32;
                    *max = f32::max(*max, mean / heads as f32);
                }
            }
        }
    };
    together(|| shares.for_each(work));
}

/// `means += exp(scale scores - log_sum)`
#[multiversion(targets = "simd")]
fn add_weights(scores: &[f32], scale: f32, log_sum: f32, means: &mut [f32]) {
    for (mean, score) in means.iter_mut().zip(scores) {
        *mean += exp(scale * score - log_sum);
    }
}

/// See [`oracle::window_similarity`](crate::oracle::vision::window_similarity); rows' squares are summed in float32.
pub fn window_similarity(params: &WindowSimilarityParams, x: &[f32], similarity: &mut [f32]) {
    let width = params.width as usize;
    let work = |(window, similarity): (usize, &mut f32)| {
        let rows: Vec<&[f32]> =
            params.rows(window).into_iter().map(|row| &x[row * width..][..width]).collect();
        let pairs = rows.len() * rows.len().saturating_sub(1) / 2;
        *similarity = if pairs > 0 { (sum_of_cosines(&rows) / pairs as f64) as f32 } else { -1.0 };
    };
    together(|| similarity.par_iter_mut().enumerate().for_each(work));
}

/// The sum of the cosines of all pairs.
fn sum_of_cosines(rows: &[&[f32]]) -> f64 {
    let mut squares = Vec::with_capacity(rows.len());
    let mut sum = 0.0;
    for (j, b) in rows.iter().enumerate() {
        squares.push(f64::from(dot(b, b)));
        for (i, a) in rows[..j].iter().enumerate() {
            let norms = (squares[i] * squares[j]).sqrt();
            sum += if norms > 0.0 { f64::from(dot(a, b)) / norms } else { 0.0 };
        }
    }
    sum
}

/// See [`oracle::top_k`](crate::oracle::prefill::top_k); the oracle compares each score with each.
pub fn top_k(params: &TopKParams, score: &[f32], preferred: &[u32], is_top: &mut [u32]) {
    let mut order: Vec<usize> = (0..params.count as usize).collect();
    // Adding 0 makes -0 the 0 that it equals.
    let rank = |i: usize| score[i] + 0.0;
    order.sort_by(|&i, &j| preferred[j].cmp(&preferred[i]).then(rank(j).total_cmp(&rank(i))));
    is_top.fill(0);
    order.iter().take(params.k as usize).for_each(|i| is_top[*i] = 1);
}
