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

const SHARES: u32 = 128u; // threads a row: a power of two; with 1 nobody waits, which software adapters pay for dearly
const ROWS: u32 = 1u;     // of a workgroup

var<workgroup> squares: array<f32, SHARES * ROWS>;

// One line of threads a row.
@compute @workgroup_size(SHARES, ROWS)
fn rms_norm(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group.x * ROWS + local.y;
    // A row too many is computed from the last, and not stored.
    let start = min(row, params.rows - 1u) * params.width;
    var square = 0.0;
    for (var i = local.x; i < params.width; i += SHARES) {
        square = fma(x[start + i], x[start + i], square);
    }
    if SHARES > 1u {
        squares[thread] = square;
        workgroupBarrier();
        for (var half = SHARES / 2u; half > 0u; half /= 2u) {
            if local.x < half {
                squares[thread] += squares[thread + half];
            }
            workgroupBarrier();
        }
        square = squares[local.y * SHARES];
    }
    let factor = inverseSqrt(square / f32(params.width) + params.eps);
    if row < params.rows {
        for (var i = local.x; i < params.width; i += SHARES) {
            normed[start + i] = x[start + i] * factor * weight[i];
        }
    }
}
