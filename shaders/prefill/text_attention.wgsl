// What each vision token receives of each text token's attention: softmax weights, summed over some of the heads (MustDrop,
// stage P). The softmax denominators come from attention itself; select_rows adds up the shares of the heads.

struct Params {
    rows: u32,      // text tokens
    asked: u32,     // the first of them among the queries
    first: u32,     // column of the first vision token
    columns: u32,   // vision tokens
    heads: u32,     // of queries
    key_heads: u32, // of keys, dividing heads
    head_dim: u32,  // a multiple of 4
    scale: f32,     // of the scores
    shares: u32,    // into which the heads are cut
    own: u32,       // column of the first text token
    window: u32,    // positions that a text token looks back at, its own included; 0: at all
}

@group(0) @binding(0) var<storage, read_write> query: array<vec4<f32>>;   // [asked + rows, heads, head_dim / 4]
@group(0) @binding(1) var<storage, read_write> key: array<vec4<f32>>;     // [first + columns or more, key_heads, head_dim / 4]
@group(0) @binding(2) var<storage, read_write> log_sum_exp: array<f32>;   // [asked + rows, heads]
@group(0) @binding(3) var<storage, read_write> positions: array<u32>;     // [own + rows or more], of the columns; with a window alone
@group(0) @binding(4) var<storage, read_write> weights: array<f32>;       // [shares, rows, columns]
@group(0) @binding(5) var<uniform> params: Params;

const WORKGROUP_SIZE: u32 = 64u;
const OWN_ROWS: u32 = 4u;

fn sum_of(x: vec4<f32>) -> f32 {
    return x.x + x.y + x.z + x.w;
}

fn store(share: u32, row: u32, column: u32, weight: f32) {
    if row < params.rows {
        weights[(share * params.rows + row) * params.columns + column] = select(0.0, weight, is_seen(row, column));
    }
}

fn is_seen(row: u32, column: u32) -> bool {
    if params.window == 0u {
        return true;
    }
    return positions[params.own + row] - positions[params.first + column] < params.window;
}

// One thread a vision token, OWN_ROWS text tokens (the y axis of the grid) and a share of the heads (the z axis): a key is
// read once for several queries, which are the same for a whole workgroup.
@compute @workgroup_size(WORKGROUP_SIZE)
fn text_attention(@builtin(global_invocation_id) thread: vec3<u32>) {
    let column = thread.x;
    if column >= params.columns {
        return;
    }
    let quads = params.head_dim / 4u;
    let first_row = thread.y * OWN_ROWS;
    let share = thread.z;
    // A row too many is computed from the last, and not stored.
    let last = params.rows - 1u;
    let lines = (min(vec4(first_row) + vec4(0u, 1u, 2u, 3u), vec4(last)) + vec4(params.asked)) * params.heads;
    let group_size = params.heads / params.key_heads;
    var sums = vec4(0.0);
    for (var head = share * params.heads / params.shares; head < (share + 1u) * params.heads / params.shares; head++) {
        let at = ((params.first + column) * params.key_heads + head / group_size) * quads;
        let own = (lines + vec4(head)) * quads;
        var s0 = vec4(0.0);
        var s1 = vec4(0.0);
        var s2 = vec4(0.0);
        var s3 = vec4(0.0);
        for (var i = 0u; i < quads; i++) {
            let component = key[at + i];
            s0 = fma(query[own.x + i], component, s0);
            s1 = fma(query[own.y + i], component, s1);
            s2 = fma(query[own.z + i], component, s2);
            s3 = fma(query[own.w + i], component, s3);
        }
        let denominators = vec4(
            log_sum_exp[lines.x + head],
            log_sum_exp[lines.y + head],
            log_sum_exp[lines.z + head],
            log_sum_exp[lines.w + head],
        );
        sums += exp(vec4(sum_of(s0), sum_of(s1), sum_of(s2), sum_of(s3)) * params.scale - denominators);
    }
    store(share, first_row, column, sums.x);
    store(share, first_row + 1u, column, sums.y);
    store(share, first_row + 2u, column, sums.z);
    store(share, first_row + 3u, column, sums.w);
}
