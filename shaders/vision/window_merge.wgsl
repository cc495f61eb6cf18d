// Each token is the mean of the rows it stands for: one patch, or all of a merged window (MustDrop, stage V).

struct Params {
    tokens: u32,  // rows of the result
    members: u32, // places in a token's list of rows
    width: u32,   // of a row
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>;      // [rows, width]
@group(0) @binding(1) var<storage, read_write> member: array<u32>; // [tokens, members]: rows of x, then ABSENT
@group(0) @binding(2) var<storage, read_write> merged: array<f32>; // [tokens, width]
@group(0) @binding(3) var<uniform> params: Params;

const WORKGROUP_SIZE: u32 = 64u;
const ABSENT: u32 = 0xffffffffu;

// One thread a column; the y axis is the token.
@compute @workgroup_size(WORKGROUP_SIZE)
fn window_merge(@builtin(global_invocation_id) thread: vec3<u32>) {
    if thread.x >= params.width || thread.y >= params.tokens {
        return;
    }
    var sum = 0.0;
    var count = 0.0;
    for (var i = 0u; i < params.members; i++) {
        let row = member[thread.y * params.members + i];
        if row != ABSENT {
            sum += x[row * params.width + thread.x];
            count += 1.0;
        }
    }
    merged[thread.y * params.width + thread.x] = sum / max(count, 1.0);
}
