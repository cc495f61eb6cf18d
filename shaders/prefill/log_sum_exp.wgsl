// The logarithm of each row's softmax denominator, from which any single attention weight follows later:
// no row of the attention matrix is stored.

struct Params {
    rows: u32,      // queries
    columns: u32,   // keys
    heads: u32,     // of queries
    key_heads: u32, // of keys, dividing heads
    head_dim: u32,
    past: u32,      // row i sees columns 0 to past + i
    scale: f32,     // of the scores
}

@group(0) @binding(0) var<storage, read_write> query: array<f32>;       // [rows, heads, head_dim]
@group(0) @binding(1) var<storage, read_write> key: array<f32>;         // [columns, key_heads, head_dim]
@group(0) @binding(2) var<storage, read_write> log_sum: array<f32>;        // [rows, heads]
@group(0) @binding(3) var<uniform> params: Params;

const WORKGROUP_SIZE: u32 = 64u;
const LOWEST: f32 = -3.0e38;

var<workgroup> highest: array<f32, WORKGROUP_SIZE>;
var<workgroup> total: array<f32, WORKGROUP_SIZE>;

// One workgroup a row; the y axis is the head.
@compute @workgroup_size(WORKGROUP_SIZE)
fn log_sum_exp(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group.x;
    let head = group.y;
    let key_head = head / (params.heads / params.key_heads);
    let visible = min(params.columns, params.past + row + 1u);
    let q = (row * params.heads + head) * params.head_dim;

    var thread_highest = LOWEST;
    var thread_total = 0.0;
    for (var column = thread; column < visible; column += WORKGROUP_SIZE) {
        let k = (column * params.key_heads + key_head) * params.head_dim;
        var score = 0.0;
        for (var i = 0u; i < params.head_dim; i++) {
            score += query[q + i] * key[k + i];
        }
        score *= params.scale;
        let new_highest = max(thread_highest, score);
        thread_total = thread_total * exp(thread_highest - new_highest) + exp(score - new_highest);
        thread_highest = new_highest;
    }
    highest[thread] = thread_highest;
    total[thread] = thread_total;
    workgroupBarrier();
    for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
        if thread < half {
            let new_highest = max(highest[thread], highest[thread + half]);
            total[thread] = total[thread] * exp(highest[thread] - new_highest)
                + total[thread + half] * exp(highest[thread + half] - new_highest);
            highest[thread] = new_highest;
        }
        workgroupBarrier();
    }
    if thread == 0u {
        log_sum[row * params.heads + head] = highest[0] + log(total[0]);
    }
}
