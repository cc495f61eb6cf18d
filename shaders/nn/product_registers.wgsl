// The product with a matrix of any format without workgroup memory and barriers, which software adapters pay for dearly:
// a thread computes four outputs of up to 16 rows, and its neighbours read the same values of x. Of few rows each computes
// the norm, too, rather than wait for others.

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;      // [rows, inputs / 4]
@group(0) @binding(1) var<storage, read_write> weight: array<vec4<u32>>; // [outputs, inputs] floats or halves, or words
@group(0) @binding(2) var<storage, read_write> ranges: array<vec4<u32>>; // of words, as quantised_vector has them, or anything
@group(0) @binding(3) var<storage, read_write> norm: array<vec4<f32>>;   // [inputs / 4] weights of an RMSNorm of x, or anything
@group(0) @binding(4) var<storage, read_write> bias: array<f32>;         // [all outputs], or anything
@group(0) @binding(5) var<storage, read_write> residual: array<f32>;     // [rows, columns], or anything
@group(0) @binding(6) var<storage, read_write> y: array<f32>;            // [rows, columns]
@group(0) @binding(7) var<uniform> params: Params;

const BITS: u32 = 4u;     // of a weight: 4 or 8 in blocks, 16 or 32 as floats
const ROWS: u32 = 16u;    // of a thread
const HAS_NORM: u32 = 0u; // 0 or 1
const WORKGROUP_SIZE: u32 = 16u;

// Four weights of an output along the inputs.
fn floats(output: u32, quad: u32) -> vec4<f32> {
    let at = min(output, params.outputs - 1u) * (params.inputs / 4u) + quad;
    if BITS == 16u {
        let halves = weight[at / 2u];
        let own = select(halves.xy, halves.zw, at % 2u == 1u);
        return vec4(unpack2x16float(own.x), unpack2x16float(own.y));
    }
    return bitcast<vec4<f32>>(weight[at]);
}

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
            let range = ranges[block * fours + four];
            let a = unpack2x16float(range.x);
            let b = unpack2x16float(range.y);
            let c = unpack2x16float(range.z);
            let d = unpack2x16float(range.w);
            let scale = vec4(a.x, b.x, c.x, d.x);
            let minimum = vec4(a.y, b.y, c.y, d.y);
            for (var w = 0u; w < BITS; w++) {
                let word = weight[(block * BITS + w) * fours + four];
                for (var q = 0u; q < 8u / BITS; q++) {
                    let at = block * 8u + w * (8u / BITS) + q;
                    let shift = q * 4u * BITS;
                    let mask = vec4((1u << (BITS % 32u)) - 1u);
                    let w0 = minimum + scale * vec4<f32>((word >> vec4(shift)) & mask);
                    let w1 = minimum + scale * vec4<f32>((word >> vec4(shift + BITS)) & mask);
                    let w2 = minimum + scale * vec4<f32>((word >> vec4(shift + 2u * BITS)) & mask);
                    let w3 = minimum + scale * vec4<f32>((word >> vec4(shift + 3u * BITS)) & mask);
                    for (var r = 0u; r < ROWS; r++) {
                        let values = values_at(starts[r], at);
                        sums[r] += values.x * w0 + values.y * w1 + values.z * w2 + values.w * w3;
                    }
                }
            }
        }
    } else {
        for (var quad = 0u; quad < quads; quad++) {
            let a = floats(four * 4u, quad);
            let b = floats(four * 4u + 1u, quad);
            let c = floats(four * 4u + 2u, quad);
            let d = floats(four * 4u + 3u, quad);
            let w0 = vec4(a.x, b.x, c.x, d.x);
            let w1 = vec4(a.y, b.y, c.y, d.y);
            let w2 = vec4(a.z, b.z, c.z, d.z);
            let w3 = vec4(a.w, b.w, c.w, d.w);
            for (var r = 0u; r < ROWS; r++) {
                let values = values_at(starts[r], quad);
                sums[r] += values.x * w0 + values.y * w1 + values.z * w2 + values.w * w3;
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
