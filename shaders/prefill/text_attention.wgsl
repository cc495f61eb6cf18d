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

var<workgroup> sums: array<f32, WORKGROUP_SIZE>;
var<workgroup> maxima: array<f32, WORKGROUP_SIZE>;

// One workgroup a vision token, a thread some of the text rows.
@compute @workgroup_size(WORKGROUP_SIZE)
fn text_attention(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let group_size = params.heads / params.key_heads;
    let column = (params.first + group.x) * params.key_heads;
    var sum = 0.0;
    var maximum = 0.0; // attention is never negative
    for (var row = thread; row < params.rows; row += WORKGROUP_SIZE) {
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
    sums[thread] = sum;
    maxima[thread] = maximum;
    workgroupBarrier();
    for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
        if thread < half {
            sums[thread] += sums[thread + half];
            maxima[thread] = max(maxima[thread], maxima[thread + half]);
        }
        workgroupBarrier();
    }
    if thread == 0u {
        attention_sum[group.x] = sums[0];
        attention_max[group.x] = maxima[0];
    }
}
