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

const WORKGROUP_SIZE: u32 = 128u;

var<workgroup> partial: array<f32, WORKGROUP_SIZE>;

fn workgroup_sum(value: f32, thread: u32) -> f32 {
    partial[thread] = value;
    workgroupBarrier();
    for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
        if thread < half {
            partial[thread] += partial[thread + half];
        }
        workgroupBarrier();
    }
    let sum = partial[0];
    workgroupBarrier();
    return sum;
}

// One workgroup a row. The mean goes first: squares of what is far from 0 would hide what is between values.
@compute @workgroup_size(WORKGROUP_SIZE)
fn layer_norm(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let start = group.x * params.width;
    var sum = 0.0;
    for (var i = thread; i < params.width; i += WORKGROUP_SIZE) {
        sum += x[start + i];
    }
    let mean = workgroup_sum(sum, thread) / f32(params.width);
    var squares = 0.0;
    for (var i = thread; i < params.width; i += WORKGROUP_SIZE) {
        let value = x[start + i] - mean;
        squares = fma(value, value, squares);
    }
    let factor = inverseSqrt(workgroup_sum(squares, thread) / f32(params.width) + params.eps);
    for (var i = thread; i < params.width; i += WORKGROUP_SIZE) {
        normed[start + i] = (x[start + i] - mean) * factor * weight[i] + bias[i];
    }
}
