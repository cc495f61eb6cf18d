// The rows of a matrix that survive, one behind the other: hidden states after a filter, and keys and values
// when a cache is cut (MustDrop, stages P and D).

struct Params {
    rows: u32,  // of the result
    width: u32, // of a row
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>;        // [any, width]
@group(0) @binding(1) var<storage, read_write> index: array<u32>;    // [rows]: which row of x
@group(0) @binding(2) var<storage, read_write> gathered: array<f32>; // [rows, width]
@group(0) @binding(3) var<uniform> params: Params;

const WORKGROUP_SIZE: u32 = 64u;

// One thread a column; the y axis is the row.
@compute @workgroup_size(WORKGROUP_SIZE)
fn gather_rows(@builtin(global_invocation_id) thread: vec3<u32>) {
    if thread.x >= params.width || thread.y >= params.rows {
        return;
    }
    gathered[thread.y * params.width + thread.x] = x[index[thread.y] * params.width + thread.x];
}
