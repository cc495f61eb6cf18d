// The product of a few rows with a matrix of floats, for decoding: bound by reading the weights once, whatever the number
// of rows. Halves are unpacked by hand, so that adapters without 16-bit arithmetic can have them too.

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;      // [rows, inputs / 4]
@group(0) @binding(1) var<storage, read_write> weight: array<vec2<u32>>; // [outputs, inputs] floats, or halves two by two
@group(0) @binding(2) var<storage, read_write> norm: array<vec4<f32>>;   // [inputs / 4] weights of an RMSNorm of x, or anything
@group(0) @binding(3) var<storage, read_write> bias: array<f32>;         // [all outputs], or anything
@group(0) @binding(4) var<storage, read_write> residual: array<f32>;     // [rows, columns], or anything
@group(0) @binding(5) var<storage, read_write> y: array<f32>;            // [rows, columns]
@group(0) @binding(6) var<uniform> params: Params;

const BITS: u32 = 32u;   // of a weight: 16 or 32
const SHARES: u32 = 32u; // threads an output
const OUTPUTS: u32 = 8u; // of a workgroup

var<workgroup> partial: array<vec4<f32>, THREADS>; // a component a row

// One row of threads an output; the y axis of the grid counts ROWS rows of x.
@compute @workgroup_size(SHARES, OUTPUTS)
fn float_vector(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let quads = params.inputs / 4u;
    let output = group.x * OUTPUTS + local.y;
    let first_row = params.start + group.y * ROWS;
    let starts = starts_from(first_row);
    let factors = norm_factors(starts, thread);
    var sums = vec4(0.0);
    if output < params.outputs {
        for (var quad = local.x; quad < quads; quad += SHARES) {
            let at = output * quads + quad;
            var weights: vec4<f32>;
            if BITS == 16u {
                let halves = weight[at];
                weights = vec4(unpack2x16float(halves.x), unpack2x16float(halves.y));
            } else {
                weights = vec4(bitcast<vec2<f32>>(weight[at * 2u]), bitcast<vec2<f32>>(weight[at * 2u + 1u]));
            }
            if HAS_NORM == 1u {
                weights *= norm[quad];
            }
            sums.x += dot(x[starts.x + quad], weights);
            if ROWS > 1u {
                sums.y += dot(x[starts.y + quad], weights);
            }
            if ROWS > 2u {
                sums.z += dot(x[starts.z + quad], weights);
                sums.w += dot(x[starts.w + quad], weights);
            }
        }
    }
    partial[thread] = sums;
    workgroupBarrier();
    for (var half = SHARES / 2u; half > 0u; half /= 2u) {
        if local.x < half {
            partial[thread] += partial[thread + half];
        }
        workgroupBarrier();
    }
    // Of a pair of outputs, the even one's first thread stores both.
    if local.x == 0u && local.y % 2u == 0u {
        let even = partial[thread] * factors;
        let odd = partial[thread + SHARES] * factors;
        for (var r = 0u; r < ROWS; r++) {
            store_pair(first_row + r, output, vec2(even[r], odd[r]));
        }
    }
}
