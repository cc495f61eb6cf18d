// The gated non-linearity of Llama's MLP in one pass: silu(gate) * up (SwiGLU, arXiv 2002.05202).

struct Params {
    count: u32, // values
    columns: u32, // threads along the x axis of the grid
}

@group(0) @binding(0) var<storage, read_write> gate: array<f32>;  // [count]
@group(0) @binding(1) var<storage, read_write> up: array<f32>;    // [count]
@group(0) @binding(2) var<storage, read_write> gated: array<f32>; // [count]
@group(0) @binding(3) var<uniform> params: Params;

const WORKGROUP_SIZE: u32 = 256u;

// One thread a value.
@compute @workgroup_size(WORKGROUP_SIZE)
fn swiglu(@builtin(global_invocation_id) thread: vec3<u32>) {
    let i = thread.y * params.columns + thread.x;
    if i >= params.count {
        return;
    }
    gated[i] = gate[i] / (1.0 + exp(-gate[i])) * up[i];
}
