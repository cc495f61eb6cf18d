// Which scores are among the k highest. Preferred ones come before all others, equal ones in the order of their
// indices, so that every device chooses the same.

struct Params {
    count: u32,
    k: u32,
}

@group(0) @binding(0) var<storage, read_write> score: array<f32>;     // [count]
@group(0) @binding(1) var<storage, read_write> preferred: array<u32>; // [count]: 1 comes first
@group(0) @binding(2) var<storage, read_write> is_top: array<u32>;    // [count]: 1 for k of them
@group(0) @binding(3) var<uniform> params: Params;

const WORKGROUP_SIZE: u32 = 64u;

// One thread a score.
@compute @workgroup_size(WORKGROUP_SIZE)
fn top_k(@builtin(global_invocation_id) thread: vec3<u32>) {
    let i = thread.x;
    if i >= params.count {
        return;
    }
    var before = 0u;
    for (var j = 0u; j < params.count; j++) {
        var is_before = score[j] > score[i] || (score[j] == score[i] && j < i);
        if preferred[j] != preferred[i] {
            is_before = preferred[j] > preferred[i];
        }
        before += select(0u, 1u, is_before);
    }
    is_top[i] = select(0u, 1u, before < params.k);
}
