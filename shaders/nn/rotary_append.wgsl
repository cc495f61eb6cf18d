// Queries and keys rotated by their rows' positions (RoFormer, arXiv 2104.09864, section 3.4.2), keys and values into the
// layer's cache, which is written in place. Component i is paired with i + head_dim / 2, as Llama checkpoints are laid
// out.

struct Params {
    rows: u32,
    heads: u32,     // of a query
    key_heads: u32, // of a key and of a value
    head_dim: u32,  // components of a head, even
    past: u32,      // rows that the cache holds already
    first: u32,     // row of the table that is the first row's
}

@group(0) @binding(0) var<storage, read_write> projected: array<f32>; // [rows, heads + 2 key_heads, head_dim]
@group(0) @binding(1) var<storage, read_write> table: array<f32>;     // [first + rows or more, head_dim]: cosines, then sines
@group(0) @binding(2) var<storage, read_write> keys: array<f32>;      // [past + rows or more, key_heads, head_dim]
@group(0) @binding(3) var<storage, read_write> values: array<f32>;    // [past + rows or more, key_heads, head_dim]
@group(0) @binding(4) var<storage, read_write> query: array<f32>;     // [rows, heads, head_dim]
@group(0) @binding(5) var<uniform> params: Params;

const WORKGROUP_SIZE: u32 = 64u;

// One thread a pair of a head; the y axis is the row.
@compute @workgroup_size(WORKGROUP_SIZE)
fn rotary_append(@builtin(global_invocation_id) thread: vec3<u32>) {
    let half_dim = params.head_dim / 2u;
    let all_heads = params.heads + 2u * params.key_heads;
    let row = thread.y;
    if row >= params.rows || thread.x >= all_heads * half_dim {
        return;
    }
    let head = thread.x / half_dim;
    let pair = thread.x % half_dim;
    let at = (row * all_heads + head) * params.head_dim + pair;
    let first = projected[at];
    let second = projected[at + half_dim];
    let held = (params.past + row) * params.key_heads;
    if head >= params.heads + params.key_heads {
        let to = (held + head - params.heads - params.key_heads) * params.head_dim + pair;
        values[to] = first;
        values[to + half_dim] = second;
        return;
    }
    let angle = (params.first + row) * params.head_dim + pair;
    let cosine = table[angle];
    let sine = table[angle + half_dim];
    let rotated = vec2(first * cosine - second * sine, second * cosine + first * sine);
    if head >= params.heads {
        let to = (held + head - params.heads) * params.head_dim + pair;
        keys[to] = rotated.x;
        keys[to + half_dim] = rotated.y;
        return;
    }
    let to = (row * params.heads + head) * params.head_dim + pair;
    query[to] = rotated.x;
    query[to + half_dim] = rotated.y;
}
