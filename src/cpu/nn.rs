//! Norms, rotations and activations.

use multiversion::multiversion;
use rayon::prelude::*;

use super::{
    rows_at_once,
    simd::{dot, exp, sum},
    threads::together,
};
use crate::oracle::nn::{NormParams, RotaryParams};

/// See [`oracle::rms_norm`](crate::oracle::nn::rms_norm).
pub fn rms_norm(params: &NormParams, x: &[f32], weight: &[f32], normed: &mut [f32]) {
    let width = params.width as usize;
    let at_once = rows_at_once(params.rows as usize, width) * width;
    shares(normed, at_once, |start, normed| rms_norm_rows(&x[start..], weight, params.eps, normed));
}

/// `x += delta`
pub fn add_to(x: &mut [f32], delta: &[f32]) {
    shares(x, rows_at_once(x.len(), 1), |start, x| add(x, &delta[start..]));
}

/// `x += delta`
#[multiversion(targets = "simd")]
fn add(x: &mut [f32], delta: &[f32]) {
    for (x, delta) in x.iter_mut().zip(delta) {
        *x += delta;
    }
}

fn rms_norm_rows(x: &[f32], weight: &[f32], eps: f32, normed: &mut [f32]) {
    let width = weight.len();
    for (x, normed) in x.chunks_exact(width).zip(normed.chunks_exact_mut(width)) {
        let factor = 1.0 / (dot(x, x) / width as f32 + eps).sqrt();
        normed.copy_from_slice(x);
        scale(normed, factor, weight);
    }
}

/// `x = factor x weight`
#[multiversion(targets = "simd")]
fn scale(x: &mut [f32], factor: f32, weight: &[f32]) {
    for (x, weight) in x.iter_mut().zip(weight) {
        *x *= factor * weight;
    }
}

/// See [`oracle::layer_norm`](crate::oracle::nn::layer_norm).
pub fn layer_norm(params: &NormParams, x: &[f32], weight: &[f32], bias: &[f32], normed: &mut [f32]) {
    let width = params.width as usize;
    let at_once = rows_at_once(params.rows as usize, width) * width;
    shares(normed, at_once, |start, normed| layer_norm_rows(&x[start..], weight, bias, params.eps, normed));
}

fn layer_norm_rows(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, normed: &mut [f32]) {
    let width = weight.len();
    for (x, normed) in x.chunks_exact(width).zip(normed.chunks_exact_mut(width)) {
        subtract(x, sum(x) / width as f32, normed);
        let factor = 1.0 / (dot(normed, normed) / width as f32 + eps).sqrt();
        scale(normed, factor, weight);
        add(normed, bias);
    }
}

/// `y = x - value`
#[multiversion(targets = "simd")]
fn subtract(x: &[f32], value: f32, y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = x - value;
    }
}

/// See [`oracle::rotary`](crate::oracle::nn::rotary).
pub fn rotary(params: &RotaryParams, x: &[f32], table: &[f32], rotated: &mut [f32]) {
    let (heads, head_dim) = (params.heads as usize, params.head_dim as usize);
    let at_once = rows_at_once(params.tokens as usize, heads * head_dim) * heads * head_dim;
    shares(rotated, at_once, |start, rotated| {
        rotate_rows(heads, head_dim, &x[start..], &table[start / heads..], rotated);
    });
}

#[multiversion(targets = "simd")]
fn rotate_rows(heads: usize, head_dim: usize, x: &[f32], table: &[f32], rotated: &mut [f32]) {
    let half = head_dim / 2;
    for (head, (x, rotated)) in x.chunks_exact(head_dim).zip(rotated.chunks_exact_mut(head_dim)).enumerate() {
        let (cosines, sines) = table[head / heads * head_dim..][..head_dim].split_at(half);
        let (a, b) = x.split_at(half);
        let (to_a, to_b) = rotated.split_at_mut(half);
        for (((to, a), b), (cosine, sine)) in to_a.iter_mut().zip(a).zip(b).zip(cosines.iter().zip(sines)) {
            *to = a * cosine - b * sine;
        }
        for (((to, a), b), (cosine, sine)) in to_b.iter_mut().zip(a).zip(b).zip(cosines.iter().zip(sines)) {
            *to = b * cosine + a * sine;
        }
    }
}

/// `silu(gate) up` (SwiGLU, arXiv 2002.05202), where each row of `x` holds the gates, then as many values.
pub fn swiglu(x: &[f32], inner: usize, gated: &mut [f32]) {
    let at_once = rows_at_once(gated.len() / inner.max(1), inner) * inner;
    shares(gated, at_once, |start, gated| {
        for (x, gated) in x[2 * start..].chunks_exact(2 * inner).zip(gated.chunks_exact_mut(inner)) {
            gate_values(&x[..inner], &x[inner..], gated);
        }
    });
}

#[multiversion(targets = "simd")]
fn gate_values(gate: &[f32], up: &[f32], gated: &mut [f32]) {
    for ((gated, gate), up) in gated.iter_mut().zip(gate).zip(up) {
        *gated = gate / (1.0 + exp(-gate)) * up;
    }
}

/// `x σ(factor x)`: SiLU with 1, CLIP's approximation of GELU with 1.702.
pub fn swish(x: &[f32], factor: f32, y: &mut [f32]) {
    shares(y, rows_at_once(x.len(), 1), |start, y| swish_values(&x[start..], factor, y));
}

#[multiversion(targets = "simd")]
fn swish_values(x: &[f32], factor: f32, y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = x / (1.0 + exp(-factor * x));
    }
}

/// Runs `work` over shares of `values` with their first index, on several threads where there are several.
fn shares(values: &mut [f32], at_once: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    if values.len() <= at_once {
        return work(0, values);
    }
    let shares = values.par_chunks_mut(at_once).enumerate();
    together(|| shares.for_each(|(share, values)| work(share * at_once, values)));
}
