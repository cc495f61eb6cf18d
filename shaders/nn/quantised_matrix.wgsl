// The product of many rows with a quantised matrix, for prefill. A weight is unpacked once for several rows, in
// registers; neighbouring threads read neighbouring words.

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

const WORKGROUP_SIZE: u32 = 64u;
const ROWS: u32 = 8u; // a thread's

// One thread an output of ROWS rows; the y axis counts those.
@compute @workgroup_size(WORKGROUP_SIZE)
fn quantised_matrix(@builtin(global_invocation_id) thread: vec3<u32>) {
    let output = thread.x;
    let first = thread.y * ROWS;
    if output >= params.outputs || first >= params.rows {
        return;
    }
    let bits = params.bits;
    let mask = (1u << bits) - 1u;
    let quads = 8u / bits; // fours of numbers in a word
    var rows: array<u32, ROWS>;
    var sums: array<f32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        // A thread with fewer rows computes its last one again.
        rows[r] = min(first + r, params.rows - 1u) * (params.inputs / 4u);
    }
    for (var block = 0u; block < params.inputs / 32u; block++) {
        let range = unpack2x16float(ranges[block * params.outputs + output]);
        for (var w = 0u; w < bits; w++) {
            let word = words[(block * bits + w) * params.outputs + output];
            for (var quad = 0u; quad < quads; quad++) {
                let shift = vec4(0u, 1u, 2u, 3u) * bits + quad * 4u * bits;
                let number = (vec4(word) >> shift) & vec4(mask);
                let weight = range.y + range.x * vec4<f32>(number);
                let at = block * 8u + w * quads + quad;
                for (var r = 0u; r < ROWS; r++) {
                    sums[r] += dot(x[rows[r] + at], weight);
                }
            }
        }
    }
    for (var r = 0u; r < min(ROWS, params.rows - first); r++) {
        y[(first + r) * params.outputs + output] = sums[r];
    }
}
