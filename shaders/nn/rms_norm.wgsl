// RMSNorm (arXiv 1910.07467) of many rows; products of a few rows compute it themselves.

struct Params {
    rows: u32,
    width: u32, // of a row
    eps: f32,
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>;      // [rows, width]
@group(0) @binding(1) var<storage, read_write> weight: array<f32>; // [width]
@group(0) @binding(2) var<storage, read_write> normed: array<f32>; // [rows, width]
@group(0) @binding(3) var<uniform> params: Params;

const WORKGROUP_SIZE: u32 = 128u;

var<workgroup> squares: array<f32, WORKGROUP_SIZE>;

// One workgroup a row.
@compute @workgroup_size(WORKGROUP_SIZE)
fn rms_norm(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let start = group.x * params.width;
    var square = 0.0;
    for (var i = thread; i < params.width; i += WORKGROUP_SIZE) {
        square = fma(x[start + i], x[start + i], square);
    }
    squares[thread] = square;
    workgroupBarrier();
    for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
        if thread < half {
            squares[thread] += squares[thread + half];
        }
        workgroupBarrier();
    }
    let factor = inverseSqrt(squares[0] / f32(params.width) + params.eps);
    for (var i = thread; i < params.width; i += WORKGROUP_SIZE) {
        normed[start + i] = x[start + i] * factor * weight[i];
    }
}
