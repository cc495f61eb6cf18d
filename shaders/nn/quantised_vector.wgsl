// The product of a few rows with a quantised matrix, for decoding: bound by reading the weights once. Several threads
// share an output's blocks, so that a small matrix still fills a device.

struct Params {
    rows: u32,    // of x
    inputs: u32,  // columns of the matrix, a multiple of 32
    outputs: u32, // rows of the matrix
    bits: u32,    // of a number: 4 or 8
}

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>; // [rows, inputs / 4]
@group(0) @binding(1) var<storage, read_write> words: array<u32>;   // [inputs / 32, bits, outputs]
@group(0) @binding(2) var<storage, read_write> ranges: array<u32>;  // [inputs / 32, outputs]: scale, minimum
@group(0) @binding(3) var<storage, read_write> y: array<f32>;       // [rows, outputs]
@group(0) @binding(4) var<uniform> params: Params;

const OUTPUTS: u32 = 32u; // of a workgroup, side by side
const SHARES: u32 = 4u;   // of an output's blocks

var<workgroup> partial: array<f32, OUTPUTS * SHARES>;

// One row of threads a share; the y axis of the grid is the row of x.
@compute @workgroup_size(OUTPUTS, SHARES)
fn quantised_vector(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let output = group.x * OUTPUTS + local.x;
    let bits = params.bits;
    let mask = (1u << bits) - 1u;
    let quads = 8u / bits; // fours of numbers in a word
    let row = group.y * (params.inputs / 4u);
    var sum = 0.0;
    if output < params.outputs {
        for (var block = local.y; block < params.inputs / 32u; block += SHARES) {
            let range = unpack2x16float(ranges[block * params.outputs + output]);
            for (var w = 0u; w < bits; w++) {
                let word = words[(block * bits + w) * params.outputs + output];
                for (var quad = 0u; quad < quads; quad++) {
                    let shift = vec4(0u, 1u, 2u, 3u) * bits + quad * 4u * bits;
                    let number = (vec4(word) >> shift) & vec4(mask);
                    sum += dot(x[row + block * 8u + w * quads + quad], range.y + range.x * vec4<f32>(number));
                }
            }
        }
    }
    partial[thread] = sum;
    workgroupBarrier();
    if local.y == 0u && output < params.outputs {
        for (var share = 1u; share < SHARES; share++) {
            sum += partial[share * OUTPUTS + local.x];
        }
        y[group.y * params.outputs + output] = sum;
    }
}
