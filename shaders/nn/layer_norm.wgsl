// LayerNorm (arXiv 1607.06450) of every row: the vision tower's.

@group(0) @binding(0) var<storage, read_write> x: array<f32>;      // [rows, width]
@group(0) @binding(1) var<storage, read_write> weight: array<f32>; // [width]
@group(0) @binding(2) var<storage, read_write> bias: array<f32>;   // [width]
@group(0) @binding(3) var<storage, read_write> normed: array<f32>; // [rows, width]
@group(0) @binding(4) var<uniform> params: Params;

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
