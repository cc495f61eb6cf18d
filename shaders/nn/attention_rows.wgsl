// Attention of many rows without workgroup memory and barriers, which software adapters pay for dearly, and for heads too
// wide for tiles: a thread a row and head, whose neighbours read the same keys. Log-sum-exp as in attention.

struct Params {
    rows: u32,      // queries
    columns: u32,   // keys and values
    heads: u32,     // of queries
    key_heads: u32, // of keys and values, dividing heads
    head_dim: u32,  // a multiple of 4
    past: u32,      // row i sees columns 0 to past + i
    scale: f32,     // of the scores
    is_packed: u32, // whether queries, keys and values of a row lie behind each other in one buffer
}

@group(0) @binding(0) var<storage, read_write> query: array<vec4<f32>>; // [rows, heads, head_dim / 4]
@group(0) @binding(1) var<storage, read_write> key: array<vec4<f32>>;   // [columns or more, key_heads, head_dim / 4]
@group(0) @binding(2) var<storage, read_write> value: array<vec4<f32>>; // [columns or more, key_heads, head_dim / 4]
@group(0) @binding(3) var<storage, read_write> mixed: array<vec4<f32>>; // [rows, heads, head_dim / 4]
@group(0) @binding(4) var<storage, read_write> log_sum: array<f32>;     // [rows, heads]
@group(0) @binding(5) var<uniform> params: Params;

const QUADS: u32 = 16u; // head_dim / 4
const WORKGROUP_SIZE: u32 = 32u;
const LOWEST: f32 = -3.0e38;

fn sum_of(x: vec4<f32>) -> f32 {
    return x.x + x.y + x.z + x.w;
}

// One thread a row; the y axis of the grid is the head.
@compute @workgroup_size(WORKGROUP_SIZE)
fn attention_rows(@builtin(global_invocation_id) thread: vec3<u32>) {
    let row = thread.x;
    let head = thread.y;
    if row >= params.rows {
        return;
    }
    let key_head = head / (params.heads / params.key_heads);
    let packed = params.heads + 2u * params.key_heads;
    let query_stride = select(params.heads, packed, params.is_packed == 1u);
    let key_stride = select(params.key_heads, packed, params.is_packed == 1u);
    let first_key = select(key_head, params.heads + key_head, params.is_packed == 1u);
    let first_value = select(key_head, params.heads + params.key_heads + key_head, params.is_packed == 1u);
    var own: array<vec4<f32>, QUADS>;
    var sums: array<vec4<f32>, QUADS>;
    for (var i = 0u; i < QUADS; i++) {
        own[i] = query[(row * query_stride + head) * QUADS + i] * params.scale;
    }
    let visible = min(params.columns, params.past + row + 1u);
    let last = params.columns - 1u;
    var highest = LOWEST;
    var total = 0.0;
    for (var column = 0u; column < visible; column += 4u) {
        let columns = min(vec4(column) + vec4(0u, 1u, 2u, 3u), vec4(last));
        let keys = (columns * key_stride + first_key) * QUADS;
        var s0 = vec4(0.0);
        var s1 = vec4(0.0);
        var s2 = vec4(0.0);
        var s3 = vec4(0.0);
        for (var i = 0u; i < QUADS; i++) {
            s0 += own[i] * key[keys.x + i];
            s1 += own[i] * key[keys.y + i];
            s2 += own[i] * key[keys.z + i];
            s3 += own[i] * key[keys.w + i];
        }
        let is_visible = vec4(column) + vec4(0u, 1u, 2u, 3u) < vec4(visible);
        let scores = select(vec4(LOWEST), vec4(sum_of(s0), sum_of(s1), sum_of(s2), sum_of(s3)), is_visible);
        let new_highest = max(highest, max(max(scores.x, scores.y), max(scores.z, scores.w)));
        let shrink = exp(highest - new_highest);
        highest = new_highest;
        // 0 where hidden: every four begin with a column that the row sees.
        let weights = exp(scores - vec4(highest));
        total = total * shrink + sum_of(weights);
        let values = (columns * key_stride + first_value) * QUADS;
        for (var i = 0u; i < QUADS; i++) {
            sums[i] = sums[i] * shrink + weights.x * value[values.x + i] + weights.y * value[values.y + i]
                + weights.z * value[values.z + i] + weights.w * value[values.w + i];
        }
    }
    for (var i = 0u; i < QUADS; i++) {
        mixed[(row * params.heads + head) * QUADS + i] = sums[i] / total;
    }
    log_sum[row * params.heads + head] = highest + log(total);
}
