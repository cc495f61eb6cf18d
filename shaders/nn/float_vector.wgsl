// The product of a few rows with a matrix of floats, for decoding: bound by reading the weights once, which neighbouring
// threads do side by side. Halves are unpacked by hand, so that adapters without 16-bit arithmetic can have them too.

struct Params {
    rows: u32,    // of x
    inputs: u32,  // columns of the matrix, a multiple of 4
    outputs: u32, // rows of the matrix
    is_half: u32, // whether weights have 16 bits: 0 or 1
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>; // [rows, inputs / 4]
@group(0) @binding(1) var<storage, read_write> weight: array<u32>;  // [outputs, inputs] floats, or halves two by two
@group(0) @binding(2) var<storage, read_write> y: array<f32>;       // [rows, outputs]
@group(0) @binding(3) var<uniform> params: Params;

const SHARES: u32 = 16u; // threads an output
const OUTPUTS: u32 = 8u; // of a workgroup

var<workgroup> partial: array<f32, SHARES * OUTPUTS>;

// One row of threads an output; the y axis of the grid is the row of x.
@compute @workgroup_size(SHARES, OUTPUTS)
fn float_vector(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let output = group.x * OUTPUTS + local.y;
    let quads = params.inputs / 4u;
    var sum = 0.0;
    if output < params.outputs {
        for (var quad = local.x; quad < quads; quad += SHARES) {
            let at = output * quads + quad;
            var weights: vec4<f32>;
            if params.is_half == 1u {
                weights = vec4(unpack2x16float(weight[at * 2u]), unpack2x16float(weight[at * 2u + 1u]));
            } else {
                let i = at * 4u;
                weights = bitcast<vec4<f32>>(vec4(weight[i], weight[i + 1u], weight[i + 2u], weight[i + 3u]));
            }
            sum += dot(x[group.y * quads + quad], weights);
        }
    }
    partial[thread] = sum;
    workgroupBarrier();
    if local.x == 0u && output < params.outputs {
        for (var share = 1u; share < SHARES; share++) {
            sum += partial[thread + share];
        }
        y[group.y * params.outputs + output] = sum;
    }
}
