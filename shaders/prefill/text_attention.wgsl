// What each vision token receives of the text tokens' attention: its sum and its maximum over the text rows of
// the mean over heads (MustDrop, stage P). The softmax denominators come from log_sum_exp.

struct Params {
    rows: u32,      // text tokens
    first: u32,     // column of the first vision token
    columns: u32,   // vision tokens
    heads: u32,     // of queries
    key_heads: u32, // of keys, dividing heads
    head_dim: u32,
    scale: f32,     // of the scores
}

@group(0) @binding(0) var<storage, read_write> query: array<f32>;         // [rows, heads, head_dim]
@group(0) @binding(1) var<storage, read_write> key: array<f32>;           // [first + columns or more, key_heads, head_dim]
@group(0) @binding(2) var<storage, read_write> log_sum_exp: array<f32>;   // [rows, heads]
@group(0) @binding(3) var<storage, read_write> attention_sum: array<f32>; // [columns]
@group(0) @binding(4) var<storage, read_write> attention_max: array<f32>; // [columns]
@group(0) @binding(5) var<uniform> params: Params;

const WORKGROUP_SIZE: u32 = 64u;

// One thread a vision token: queries and denominators are the same for a whole workgroup, and no thread waits.
@compute @workgroup_size(WORKGROUP_SIZE)
fn text_attention(@builtin(global_invocation_id) thread: vec3<u32>) {
    if thread.x >= params.columns {
        return;
    }
    let group_size = params.heads / params.key_heads;
    let column = (params.first + thread.x) * params.key_heads;
    var sum = 0.0;
    var maximum = 0.0; // attention is never negative
    for (var row = 0u; row < params.rows; row++) {
        var mean = 0.0;
        for (var head = 0u; head < params.heads; head++) {
            let q = (row * params.heads + head) * params.head_dim;
            let k = (column + head / group_size) * params.head_dim;
            var score = 0.0;
            for (var i = 0u; i < params.head_dim; i++) {
                score += query[q + i] * key[k + i];
            }
            mean += exp(score * params.scale - log_sum_exp[row * params.heads + head]);
        }
        mean /= f32(params.heads);
        sum += mean;
        maximum = max(maximum, mean);
    }
    attention_sum[thread.x] = sum;
    attention_max[thread.x] = maximum;
}
