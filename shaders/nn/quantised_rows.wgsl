// Rows of a quantised matrix as floats: embeddings of tokens.

struct Params {
    rows: u32,    // of the result
    inputs: u32,  // columns of the matrix, a multiple of 32
    outputs: u32, // rows of the matrix
    bits: u32,    // of a number: 4 or 8
}

@group(0) @binding(0) var<storage, read_write> words: array<u32>;  // [inputs / 32, bits, outputs]
@group(0) @binding(1) var<storage, read_write> ranges: array<u32>; // [inputs / 32, outputs]: scale, minimum
@group(0) @binding(2) var<storage, read_write> index: array<u32>;  // [rows]: which row of the matrix
@group(0) @binding(3) var<storage, read_write> values: array<f32>; // [rows, inputs]
@group(0) @binding(4) var<uniform> params: Params;

const WORKGROUP_SIZE: u32 = 64u;

// One thread a word; the y axis is the row.
@compute @workgroup_size(WORKGROUP_SIZE)
fn quantised_rows(@builtin(global_invocation_id) thread: vec3<u32>) {
    let block = thread.x / params.bits;
    if block >= params.inputs / 32u || thread.y >= params.rows {
        return;
    }
    let output = index[thread.y];
    let range = unpack2x16float(ranges[block * params.outputs + output]);
    let word = words[thread.x * params.outputs + output];
    let count = 32u / params.bits;
    let mask = (1u << params.bits) - 1u;
    for (var i = 0u; i < count; i++) {
        let number = (word >> (i * params.bits)) & mask;
        values[thread.y * params.inputs + thread.x * count + i] = range.y + range.x * f32(number);
    }
}
