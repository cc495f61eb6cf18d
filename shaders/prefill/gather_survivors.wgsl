// The rows of three matrices that go on behind a filter, one behind the other: hidden states, the output of attention and
// the angles of positions.

struct Params {
    rows: u32,   // that go on
    first: u32,  // width of the first matrix
    second: u32, // of the second
    third: u32,  // of the third
}

@group(0) @binding(0) var<storage, read_write> index: array<u32>;            // [rows]: which rows
@group(0) @binding(1) var<storage, read_write> x: array<f32>;                // [any, first]
@group(0) @binding(2) var<storage, read_write> mixed: array<f32>;            // [any, second]
@group(0) @binding(3) var<storage, read_write> angles: array<f32>;           // [any, third]
@group(0) @binding(4) var<storage, read_write> gathered_x: array<f32>;       // [rows, first]
@group(0) @binding(5) var<storage, read_write> gathered_mixed: array<f32>;   // [rows, second]
@group(0) @binding(6) var<storage, read_write> gathered_angles: array<f32>;  // [rows, third]
@group(0) @binding(7) var<uniform> params: Params;

const WORKGROUP_SIZE: u32 = 64u;

// One thread a column of the three side by side; the y axis is the row.
@compute @workgroup_size(WORKGROUP_SIZE)
fn gather_survivors(@builtin(global_invocation_id) thread: vec3<u32>) {
    let row = thread.y;
    if row >= params.rows {
        return;
    }
    let from_row = index[row];
    var column = thread.x;
    if column < params.first {
        gathered_x[row * params.first + column] = x[from_row * params.first + column];
        return;
    }
    column -= params.first;
    if column < params.second {
        gathered_mixed[row * params.second + column] = mixed[from_row * params.second + column];
        return;
    }
    column -= params.second;
    if column < params.third {
        gathered_angles[row * params.third + column] = angles[from_row * params.third + column];
    }
}
