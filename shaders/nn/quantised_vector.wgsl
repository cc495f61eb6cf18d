// The product of a few rows with a quantised matrix, for decoding: bound by reading the weights once, whatever the number
// of rows. 32 threads share four outputs' blocks, so that a small matrix still fills a device; what they sum is
// scale * sum(q x) + minimum * sum(x), so that a weight costs a shift, a mask, a conversion and a multiplication.

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;      // [rows, inputs / 4]
@group(0) @binding(1) var<storage, read_write> words: array<vec4<u32>>;  // [inputs / 32, BITS, outputs / 4]
@group(0) @binding(2) var<storage, read_write> ranges: array<vec4<u32>>; // [inputs / 32, outputs / 4]: scale, minimum
@group(0) @binding(3) var<storage, read_write> norm: array<vec4<f32>>;   // [inputs / 4] weights of an RMSNorm of x, or anything
@group(0) @binding(4) var<storage, read_write> bias: array<f32>;         // [all outputs], or anything
@group(0) @binding(5) var<storage, read_write> residual: array<f32>;     // [rows, columns], or anything
@group(0) @binding(6) var<storage, read_write> y: array<f32>;            // [rows, columns]
@group(0) @binding(7) var<uniform> params: Params;

const BITS: u32 = 4u;     // of a number: 4 or 8
const ROWS: u32 = 1u;     // of a workgroup: 1, 2 or 4
const HAS_NORM: u32 = 0u; // 0 or 1
const LANES: u32 = 8u;    // fours of outputs, side by side
const SHARES: u32 = 32u;  // threads that share them

var<workgroup> partial: array<vec4<f32>, LANES * SHARES * ROWS>;

// One row of threads a share; the y axis of the grid counts ROWS rows of x.
@compute @workgroup_size(LANES, SHARES)
fn quantised_vector(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let quads = params.inputs / 4u;
    let fours = (params.outputs + 3u) / 4u;
    let four = group.x * LANES + local.x;
    let first_row = params.start + group.y * ROWS;
    var starts: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        // A row too many is computed from the last, and not stored.
        starts[r] = min(first_row + r, params.rows - 1u) * quads;
    }
    var factors = vec4(1.0);
    if HAS_NORM == 1u {
        var squares = vec4(0.0);
        for (var quad = thread; quad < quads; quad += LANES * SHARES) {
            for (var r = 0u; r < ROWS; r++) {
                let values = x[starts[r] + quad];
                squares[r] += dot(values, values);
            }
        }
        partial[thread] = squares;
        workgroupBarrier();
        for (var half = LANES * SHARES / 2u; half > 0u; half /= 2u) {
            if thread < half {
                partial[thread] += partial[thread + half];
            }
            workgroupBarrier();
        }
        factors = inverseSqrt(partial[0] / f32(params.inputs) + params.eps);
        workgroupBarrier();
    }
    var sums: array<vec4<f32>, ROWS>;
    if four < fours {
        for (var block = local.y; block < params.inputs / 32u; block += SHARES) {
            let range = ranges[block * fours + four];
            let a = unpack2x16float(range.x);
            let b = unpack2x16float(range.y);
            let c = unpack2x16float(range.z);
            let d = unpack2x16float(range.w);
            var products: array<vec4<f32>, ROWS>;
            var totals: array<vec4<f32>, ROWS>;
            for (var w = 0u; w < BITS; w++) {
                let word = words[(block * BITS + w) * fours + four];
                for (var q = 0u; q < 8u / BITS; q++) {
                    let at = block * 8u + w * (8u / BITS) + q;
                    let shift = q * 4u * BITS;
                    let mask = vec4((1u << BITS) - 1u);
                    let n0 = vec4<f32>((word >> vec4(shift)) & mask);
                    let n1 = vec4<f32>((word >> vec4(shift + BITS)) & mask);
                    let n2 = vec4<f32>((word >> vec4(shift + 2u * BITS)) & mask);
                    let n3 = vec4<f32>((word >> vec4(shift + 3u * BITS)) & mask);
                    for (var r = 0u; r < ROWS; r++) {
                        var values = x[starts[r] + at];
                        if HAS_NORM == 1u {
                            values *= norm[at];
                        }
                        products[r] += values.x * n0 + values.y * n1 + values.z * n2 + values.w * n3;
                        totals[r] += values;
                    }
                }
            }
            for (var r = 0u; r < ROWS; r++) {
                let total = totals[r].x + totals[r].y + totals[r].z + totals[r].w;
                sums[r] += vec4(a.x, b.x, c.x, d.x) * products[r] + vec4(a.y, b.y, c.y, d.y) * total;
            }
        }
    }
    for (var r = 0u; r < ROWS; r++) {
        partial[r * LANES * SHARES + thread] = sums[r];
    }
    workgroupBarrier();
    for (var half = SHARES / 2u; half > 0u; half /= 2u) {
        if local.y < half {
            for (var r = 0u; r < ROWS; r++) {
                let at = r * LANES * SHARES + thread;
                partial[at] += partial[at + half * LANES];
            }
        }
        workgroupBarrier();
    }
    if local.y == 0u && four < fours {
        for (var r = 0u; r < ROWS; r++) {
            store_four(first_row + r, four * 4u, partial[r * LANES * SHARES + thread] * factors[r]);
        }
    }
}
