// The product with a matrix of any format without workgroup memory and barriers, which software adapters pay for dearly:
// a thread computes four outputs of up to 16 rows, and its neighbours read the same values of x. Of few rows each computes
// the norm, too, rather than wait for others.

@group(0) @binding(3) var<storage, read_write> norm: array<vec4<f32>>;   // [inputs / 4] weights of an RMSNorm of x, or anything
@group(0) @binding(4) var<storage, read_write> bias: array<f32>;         // [all outputs], or anything
@group(0) @binding(5) var<storage, read_write> residual: array<f32>;     // [rows, columns], or anything
@group(0) @binding(6) var<storage, read_write> y: array<f32>;            // [rows, columns]
@group(0) @binding(7) var<uniform> params: Params;

const ROWS: u32 = 16u;    // of a thread
const HAS_NORM: u32 = 0u; // 0 or 1
const WORKGROUP_SIZE: u32 = 16u;

// Four values of a row, with the weights of the norm.
fn values_at(start: u32, quad: u32) -> vec4<f32> {
    if HAS_NORM == 1u {
        return x[start + quad] * norm[quad];
    }
    return x[start + quad];
}

// One thread four outputs of ROWS rows; the y axis counts those.
@compute @workgroup_size(WORKGROUP_SIZE)
fn product_registers(@builtin(global_invocation_id) thread: vec3<u32>) {
    let quads = params.inputs / 4u;
    let fours = (params.outputs + 3u) / 4u;
    let four = thread.x;
    let first_row = params.start + thread.y * ROWS;
    if four >= fours || first_row >= params.rows {
        return;
    }
    var starts: array<u32, ROWS>;
    var sums: array<vec4<f32>, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        // A row too many is computed from the last, and not stored.
        starts[r] = min(first_row + r, params.rows - 1u) * quads;
    }
    if BITS <= 8u {
        for (var block = 0u; block < quads / 8u; block++) {
            let range = range_of(ranges[block * fours + four]);
            for (var part = 0u; part < BITS; part++) {
                let word = weight[(block * BITS + part) * fours + four];
                for (var q = 0u; q < 8u / BITS; q++) {
                    let at = block * 8u + part * (8u / BITS) + q;
                    let w = weights_of_words(word, range, q * 4u * BITS);
                    for (var r = 0u; r < ROWS; r++) {
                        let values = values_at(starts[r], at);
                        sums[r] += values.x * w.a + values.y * w.b + values.z * w.c + values.w * w.d;
                    }
                }
            }
        }
    } else {
        for (var quad = 0u; quad < quads; quad++) {
            let w = weights_of_floats(four * 4u, quad);
            for (var r = 0u; r < ROWS; r++) {
                let values = values_at(starts[r], quad);
                sums[r] += values.x * w.a + values.y * w.b + values.z * w.c + values.w * w.d;
            }
        }
    }
    for (var r = 0u; r < ROWS; r++) {
        var factor = 1.0;
        if HAS_NORM == 1u {
            var square = 0.0;
            for (var quad = 0u; quad < quads; quad++) {
                let values = x[starts[r] + quad];
                square += dot(values, values);
            }
            factor = inverseSqrt(square / f32(params.inputs) + params.eps);
        }
        store_four(first_row + r, four * 4u, sums[r] * factor);
    }
}
