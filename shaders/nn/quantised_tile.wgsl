// The product of many rows with a quantised matrix, for prefill on devices with fast workgroup memory: a tile of weights
// is unpacked once for 32 rows.

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

const ACROSS: u32 = 16u; // threads along the outputs
const DOWN: u32 = 8u;    // threads along the rows
const OWN: u32 = 4u;     // rows and outputs of a thread
const ROWS: u32 = DOWN * OWN;
const OUTPUTS: u32 = ACROSS * OWN;
const BLOCK: u32 = 32u;  // inputs of a tile

var<workgroup> rows_tile: array<vec4<f32>, ROWS * BLOCK / 4u>;
var<workgroup> weights_tile: array<f32, BLOCK * OUTPUTS>; // [inputs, outputs]

// One workgroup 32 rows of 64 outputs; the y axis of the grid counts the rows.
@compute @workgroup_size(ACROSS, DOWN)
fn quantised_tile(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first_row = group.y * ROWS;
    let first_output = group.x * OUTPUTS;
    let bits = params.bits;
    let mask = (1u << bits) - 1u;
    let per_word = 32u / bits;
    var sums: array<vec4<f32>, OWN>; // a row's outputs
    for (var block = 0u; block < params.inputs / BLOCK; block++) {
        workgroupBarrier();
        for (var i = thread; i < ROWS * BLOCK / 4u; i += ACROSS * DOWN) {
            // Rows and outputs beyond the last are computed from the last, and not stored.
            let row = min(first_row + i / 8u, params.rows - 1u);
            rows_tile[i] = x[row * (params.inputs / 4u) + block * 8u + i % 8u];
        }
        for (var i = thread; i < bits * OUTPUTS; i += ACROSS * DOWN) {
            let column = i % OUTPUTS;
            let output = min(first_output + column, params.outputs - 1u);
            let range = unpack2x16float(ranges[block * params.outputs + output]);
            var word = words[(block * bits + i / OUTPUTS) * params.outputs + output];
            for (var j = 0u; j < per_word; j++) {
                weights_tile[(i / OUTPUTS * per_word + j) * OUTPUTS + column] = range.y + range.x * f32(word & mask);
                word >>= bits;
            }
        }
        workgroupBarrier();
        for (var quad = 0u; quad < BLOCK / 4u; quad++) {
            var weights: array<vec4<f32>, 4>; // of four inputs
            for (var k = 0u; k < 4u; k++) {
                let at = (quad * 4u + k) * OUTPUTS + local.x * OWN;
                weights[k] = vec4(weights_tile[at], weights_tile[at + 1u], weights_tile[at + 2u], weights_tile[at + 3u]);
            }
            for (var r = 0u; r < OWN; r++) {
                let values = rows_tile[(local.y * OWN + r) * 8u + quad];
                sums[r] += values.x * weights[0] + values.y * weights[1] + values.z * weights[2] + values.w * weights[3];
            }
        }
    }
    for (var r = 0u; r < OWN; r++) {
        let row = first_row + local.y * OWN + r;
        for (var c = 0u; c < OWN; c++) {
            let output = first_output + local.x * OWN + c;
            if row < params.rows && output < params.outputs {
                y[row * params.outputs + output] = sums[r][c];
            }
        }
    }
}
