//! Attention over blocks of query rows, which leaves the rows' log-sum-exp behind.

use multiversion::multiversion;
use rayon::prelude::*;

use super::{
    matrix::{Matrix, MatrixMut},
    simd::{Heads, exp, head_dots, highest, mix, sum},
    threads::{self, together},
};
use crate::oracle::nn::AttentionParams;

/// Query rows whose scores of one head are in memory at a time.
const BLOCK: usize = 64;
/// Below so many products, one thread does a row's attention faster than several.
const ALONE: usize = 1 << 20;

/// See [`oracle::attention`](crate::oracle::nn::attention).
pub fn attention(
    params: &AttentionParams,
    query: &[f32],
    key: &[f32],
    value: &[f32],
    positions: &[u32],
    mixed: &mut [f32],
    log_sum: &mut [f32],
) {
    let (rows, heads, head_dim) = (params.rows as usize, params.heads as usize, params.head_dim as usize);
    let stride = params.key_heads as usize * head_dim;
    let mixed = MatrixMut::new(mixed, rows, heads * head_dim).tiles(BLOCK, head_dim);
    in_blocks(params, query, key, positions, log_sum, mixed, |block, mixed| {
        let value = &value[block.first * stride + block.head / params.group() * head_dim..];
        let value = Matrix::new(value, block.columns, head_dim, stride);
        Matrix::new(block.weights, mixed.rows(), block.columns, block.columns).multiply(value, mixed, false);
    });
}

/// See [`oracle::log_sum_exp`](crate::oracle::nn::log_sum_exp).
pub fn log_sum_exp(
    params: &AttentionParams,
    query: &[f32],
    key: &[f32],
    positions: &[u32],
    log_sum: &mut [f32],
) {
    in_blocks(params, query, key, positions, log_sum, std::iter::repeat(()), |_, ()| ());
}

/// Some rows of one head.
struct Block<'a> {
    head: usize,
    /// The first column that the first of the rows sees.
    first: usize,
    /// Columns from there to the last that the last of the rows sees.
    columns: usize,
    /// The softmax weights, `[rows, columns]`, 0 for what a row does not see.
    weights: &'a [f32],
}

/// Computes the softmax weights of every head, some rows at a time, and hands them to `then`, each with its own of `places`,
/// which are in the order of rows and then of heads.
fn in_blocks<P: Send>(
    params: &AttentionParams,
    query: &[f32],
    key: &[f32],
    positions: &[u32],
    log_sum: &mut [f32],
    places: impl IntoIterator<Item = P>,
    then: impl Fn(Block, &mut P) + Sync,
) {
    let (rows, heads, head_dim) = (params.rows as usize, params.heads as usize, params.head_dim as usize);
    let key_stride = params.key_heads as usize * head_dim;
    let log_sums = MatrixMut::new(log_sum, rows, heads).tiles(BLOCK, 1);
    let mut blocks: Vec<_> = log_sums.into_iter().zip(places).enumerate().collect();
    // Head by head, so that its keys stay in a core's cache; later rows see more, and come first.
    blocks.sort_by_key(|(number, _)| (number % heads, std::cmp::Reverse(number / heads)));
    let work = |weights: &mut Vec<f32>, (number, (mut log_sum, mut place)): (usize, (MatrixMut, P))| {
        let (head, row, count) = (number % heads, number / heads * BLOCK, log_sum.rows());
        let first = params.first(row, positions);
        let columns = params.visible(row + count - 1) - first;
        let query = Matrix::new(&query[(row * heads + head) * head_dim..], count, head_dim, heads * head_dim);
        let key = &key[first * key_stride + head / params.group() * head_dim..];
        let key = Matrix::new(key, columns, head_dim, key_stride);
        weights.resize(count * columns, 0.0);
        query.multiply(key.turned(), &mut MatrixMut::new(weights, count, columns), false);
        for (i, weights) in weights.chunks_exact_mut(columns).enumerate() {
            let seen = params.first(row + i, positions) - first..params.visible(row + i) - first;
            log_sum.row(i)[0] = softmax(&mut weights[seen.clone()], params.scale);
            weights[..seen.start].fill(0.0);
            weights[seen.end..].fill(0.0);
        }
        then(Block { head, first, columns, weights }, &mut place);
    };
    together(|| blocks.into_par_iter().for_each_init(Vec::new, work));
}

/// `scores = softmax(scale scores)`; returns the logarithm of the denominator.
fn softmax(scores: &mut [f32], scale: f32) -> f32 {
    let highest = scale * highest(scores);
    raise(scores, scale, highest);
    let sum = sum(scores);
    multiply(scores, 1.0 / sum);
    highest + sum.ln()
}

/// `scores = exp(scale scores - highest)`
#[multiversion(targets = "simd")]
fn raise(scores: &mut [f32], scale: f32, highest: f32) {
    for score in scores {
        *score = exp(scale * *score - highest);
    }
}

#[multiversion(targets = "simd")]
fn multiply(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}

/// As [`attention`], of one row, which sees all columns but those before its window.
pub fn cached_attention(
    params: &AttentionParams,
    query: &[f32],
    key: &[f32],
    value: &[f32],
    positions: &[u32],
    mixed: &mut [f32],
    log_sum: &mut [f32],
) {
    let (heads, head_dim) = (params.heads as usize, params.head_dim as usize);
    let first = params.first(0, positions);
    let (group, columns) = (params.group(), params.columns as usize - first);
    let stride = params.key_heads as usize * head_dim;
    let (key, value) = (&key[first * stride..], &value[first * stride..]);
    // Some key heads, with the query heads that share them.
    let of_share = |scores: &mut Vec<f32>, first: usize, mixed: &mut [f32], log_sum: &mut [f32]| {
        let heads = Heads { count: log_sum.len(), group, width: head_dim };
        let part = first / group * head_dim;
        scores.resize(heads.count * columns, 0.0);
        head_dots(heads, &query[first * head_dim..][..mixed.len()], &key[part..], stride, scores);
        for (scores, log_sum) in scores.chunks_exact_mut(columns).zip(log_sum) {
            *log_sum = softmax(scores, params.scale);
        }
        mix(heads, scores, &value[part..], stride, mixed);
    };
    if heads * head_dim * columns < ALONE {
        return of_share(&mut Vec::new(), 0, mixed, log_sum);
    }
    let share = (params.key_heads as usize).div_ceil(threads::count()) * group;
    let shares = mixed.par_chunks_mut(share * head_dim).zip(log_sum.par_chunks_mut(share)).enumerate();
    together(|| {
        shares.for_each_init(Vec::new, |scores, (number, (mixed, log_sum))| {
            of_share(scores, number * share, mixed, log_sum);
        });
    });
}
