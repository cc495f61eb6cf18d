// What the kernels of attention share: their sizes, what they look at, and where it lies.

struct Params {
    start: u32,     // the first query of this dispatch
    rows: u32,      // and the one behind the last
    columns: u32,   // keys and values
    heads: u32,     // of queries
    key_heads: u32, // of keys and values, dividing heads
    head_dim: u32,  // a multiple of 4
    past: u32,      // row i sees columns 0 to past + i
    scale: f32,     // of the scores
    is_packed: u32, // whether queries, keys and values of a row lie behind each other in one buffer
    window: u32,    // positions that a row looks back at, its own included; 0: at all
}

@group(0) @binding(0) var<storage, read_write> query: array<vec4<f32>>; // [rows, heads, head_dim / 4]
@group(0) @binding(1) var<storage, read_write> key: array<vec4<f32>>;   // [columns or more, key_heads, head_dim / 4]
@group(0) @binding(2) var<storage, read_write> value: array<vec4<f32>>; // [columns or more, key_heads, head_dim / 4]
@group(0) @binding(3) var<storage, read_write> positions: array<u32>;   // [columns or more], ascending; with a window alone
@group(0) @binding(6) var<uniform> params: Params;

const LOWEST: f32 = -3.0e38;

// Of one head, in heads: how far rows are apart, and where the first key and the first value are.
struct Places {
    query_stride: u32,
    key_stride: u32,
    first_key: u32,
    first_value: u32,
}

fn places_of(head: u32) -> Places {
    let key_head = head / (params.heads / params.key_heads);
    if params.is_packed == 1u {
        let stride = params.heads + 2u * params.key_heads;
        return Places(stride, stride, params.heads + key_head, params.heads + params.key_heads + key_head);
    }
    return Places(params.heads, params.key_heads, key_head, key_head);
}

// Behind the last column that a row sees.
fn visible_to(row: u32) -> u32 {
    return min(params.columns, params.past + row + 1u);
}

// The first column that a row sees. Rows may be missing between columns, so positions tell.
fn first_to(row: u32) -> u32 {
    if params.window == 0u {
        return 0u;
    }
    var first = 0u;
    var last = visible_to(row) - 1u; // its own, which it always sees
    let position = positions[last];
    for (var turn = 0u; turn < 32u && first < last; turn++) {
        let middle = (first + last) / 2u;
        if position - positions[middle] < params.window {
            last = middle;
        } else {
            first = middle + 1u;
        }
    }
    return first;
}

fn sum_of(x: vec4<f32>) -> f32 {
    return x.x + x.y + x.z + x.w;
}
