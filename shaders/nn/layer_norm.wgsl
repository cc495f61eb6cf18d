// LayerNorm (arXiv 1607.06450) of every row: the vision tower's.

struct Params {
    rows: u32,
    width: u32, // of a row
    eps: f32,
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>;      // [rows, width]
@group(0) @binding(1) var<storage, read_write> weight: array<f32>; // [width]
@group(0) @binding(2) var<storage, read_write> bias: array<f32>;   // [width]
@group(0) @binding(3) var<storage, read_write> normed: array<f32>; // [rows, width]
@group(0) @binding(4) var<uniform> params: Params;

const SHARES: u32 = 128u; // threads a row: a power of two; with 1 nobody waits, which software adapters pay for dearly
const ROWS: u32 = 1u;     // of a workgroup

var<workgroup> partial: array<f32, SHARES * ROWS>;

// The sum of the values of a row's threads.
fn sum_of_row(value: f32, local: vec3<u32>) -> f32 {
    if SHARES == 1u {
        return value;
    }
    let thread = local.y * SHARES + local.x;
    partial[thread] = value;
    workgroupBarrier();
    for (var half = SHARES / 2u; half > 0u; half /= 2u) {
        if local.x < half {
            partial[thread] += partial[thread + half];
        }
        workgroupBarrier();
    }
    let sum = partial[local.y * SHARES];
    workgroupBarrier();
    return sum;
}

// One line of threads a row. The mean goes first: squares of what is far from 0 would hide what is between values.
@compute @workgroup_size(SHARES, ROWS)
fn layer_norm(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let row = group.x * ROWS + local.y;
    // A row too many is computed from the last, and not stored.
    let start = min(row, params.rows - 1u) * params.width;
    var sum = 0.0;
    for (var i = local.x; i < params.width; i += SHARES) {
        sum += x[start + i];
    }
    let mean = sum_of_row(sum, local) / f32(params.width);
    var squares = 0.0;
    for (var i = local.x; i < params.width; i += SHARES) {
        let value = x[start + i] - mean;
        squares = fma(value, value, squares);
    }
    let factor = inverseSqrt(sum_of_row(squares, local) / f32(params.width) + params.eps);
    if row < params.rows {
        for (var i = local.x; i < params.width; i += SHARES) {
            normed[start + i] = (x[start + i] - mean) * factor * weight[i] + bias[i];
        }
    }
}
