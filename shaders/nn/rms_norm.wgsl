// RMSNorm (arXiv 1910.07467) of many rows; products of a few rows compute it themselves.

@group(0) @binding(0) var<storage, read_write> x: array<f32>;      // [rows, width]
@group(0) @binding(1) var<storage, read_write> weight: array<f32>; // [width]
@group(0) @binding(2) var<storage, read_write> normed: array<f32>; // [rows, width]
@group(0) @binding(3) var<uniform> params: Params;

// One line of threads a row.
@compute @workgroup_size(SHARES, ROWS)
fn rms_norm(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let row = group.x * ROWS + local.y;
    // A row too many is computed from the last, and not stored.
    let start = min(row, params.rows - 1u) * params.width;
    var square = 0.0;
    for (var i = local.x; i < params.width; i += SHARES) {
        square = fma(x[start + i], x[start + i], square);
    }
    let factor = inverseSqrt(sum_of_row(square, local) / f32(params.width) + params.eps);
    if row < params.rows {
        for (var i = local.x; i < params.width; i += SHARES) {
            normed[start + i] = x[start + i] * factor * weight[i];
        }
    }
}
