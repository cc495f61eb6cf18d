// Attention of many rows, for prefill (FlashAttention-2, arXiv 2307.08691): scores live in workgroup memory, a tile of
// keys at a time, for heads of at most 128 components. Each row's log-sum-exp comes along, from which filters compute single attention weights.

@group(0) @binding(4) var<storage, read_write> mixed: array<vec4<f32>>; // [rows, heads, head_dim / 4]
@group(0) @binding(5) var<storage, read_write> log_sum: array<f32>;     // [rows, heads]

const ROWS: u32 = 16u;    // of a workgroup
const COLUMNS: u32 = 16u; // of a tile
const SHARES: u32 = 8u;   // threads a row
const QUADS: u32 = 32u;   // vec4s of a head, at most

// One more than a head needs lies between two: threads beside each other then meet no bank twice.
var<workgroup> rows_tile: array<vec4<f32>, ROWS * (QUADS + 1u)>;
// Keys, then the values of the same columns.
var<workgroup> columns_tile: array<vec4<f32>, COLUMNS * (QUADS + 1u)>;
var<workgroup> scores: array<f32, ROWS * COLUMNS>;
var<workgroup> weights: array<f32, ROWS * COLUMNS>;
var<workgroup> first_tile: u32;

// One row of threads a query; the y axis of the grid is the head.
@compute @workgroup_size(SHARES, ROWS)
fn attention(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let first = params.start + group.x * ROWS;
    let row = first + local.y;
    let head = group.y;
    let quads = params.head_dim / 4u;
    let stride = quads + 1u;
    let places = places_of(head);
    for (var i = thread; i < ROWS * quads; i += ROWS * SHARES) {
        let at = min(first + i / quads, params.rows - 1u);
        rows_tile[i / quads * stride + i % quads] = query[(at * places.query_stride + head) * quads + i % quads] * params.scale;
    }

    var highest = LOWEST;
    var total = 0.0;
    // Of every eighth quad of the result, from local.x on. Sums have names, as in product_tile.
    var s0 = vec4(0.0);
    var s1 = vec4(0.0);
    var s2 = vec4(0.0);
    var s3 = vec4(0.0);
    // Quads beyond the last are computed from the last, and not stored.
    let own = min(vec4(local.x) + vec4(0u, 1u, 2u, 3u) * SHARES, vec4(quads - 1u));
    // What the last row of the tile sees, all rows' tiles end at.
    let end = min(params.columns, params.past + min(first + ROWS, params.rows));
    let visible = visible_to(row);
    let hidden = first_to(min(row, params.rows - 1u));
    if thread == 0u {
        first_tile = hidden / COLUMNS * COLUMNS;
    }
    for (var tile = workgroupUniformLoad(&first_tile); tile < end; tile += COLUMNS) {
        workgroupBarrier();
        for (var i = thread; i < COLUMNS * quads; i += ROWS * SHARES) {
            let at = min(tile + i / quads, params.columns - 1u);
            columns_tile[i / quads * stride + i % quads] = key[(at * places.key_stride + places.first_key) * quads + i % quads];
        }
        workgroupBarrier();
        // Two columns a thread.
        var first_score = vec4(0.0);
        var second_score = vec4(0.0);
        for (var i = 0u; i < quads; i++) {
            let own_query = rows_tile[local.y * stride + i];
            first_score = fma(own_query, columns_tile[local.x * stride + i], first_score);
            second_score = fma(own_query, columns_tile[(local.x + SHARES) * stride + i], second_score);
        }
        let place = local.y * COLUMNS + local.x;
        let columns = vec2(tile + local.x) + vec2(0u, SHARES);
        let is_seen = vec2(hidden) <= columns & columns < vec2(visible);
        scores[place] = select(LOWEST, sum_of(first_score), is_seen.x);
        scores[place + SHARES] = select(LOWEST, sum_of(second_score), is_seen.y);
        workgroupBarrier();
        for (var i = thread; i < COLUMNS * quads; i += ROWS * SHARES) {
            let at = min(tile + i / quads, params.columns - 1u);
            columns_tile[i / quads * stride + i % quads] = value[(at * places.key_stride + places.first_value) * quads + i % quads];
        }
        var new_highest = highest;
        for (var column = 0u; column < COLUMNS; column++) {
            new_highest = max(new_highest, scores[local.y * COLUMNS + column]);
        }
        let shrink = exp(highest - new_highest);
        highest = new_highest;
        total *= shrink;
        s0 *= shrink;
        s1 *= shrink;
        s2 *= shrink;
        s3 *= shrink;
        // 0 where hidden, once `highest` is a score; what a row adds up before it sees anything, the first score shrinks to 0.
        weights[place] = exp(scores[place] - highest);
        weights[place + SHARES] = exp(scores[place + SHARES] - highest);
        workgroupBarrier();
        for (var column = 0u; column < min(COLUMNS, end - tile); column++) {
            let weight = weights[local.y * COLUMNS + column];
            let at = column * stride;
            total += weight;
            s0 = fma(vec4(weight), columns_tile[at + own.x], s0);
            if quads > SHARES {
                s1 = fma(vec4(weight), columns_tile[at + own.y], s1);
            }
            if quads > 2u * SHARES {
                s2 = fma(vec4(weight), columns_tile[at + own.z], s2);
                s3 = fma(vec4(weight), columns_tile[at + own.w], s3);
            }
        }
    }
    if row >= params.rows {
        return;
    }
    let at = (row * params.heads + head) * quads + local.x;
    if local.x < quads {
        mixed[at] = s0 / total;
    }
    if local.x + SHARES < quads {
        mixed[at + SHARES] = s1 / total;
    }
    if local.x + 2u * SHARES < quads {
        mixed[at + 2u * SHARES] = s2 / total;
    }
    if local.x + 3u * SHARES < quads {
        mixed[at + 3u * SHARES] = s3 / total;
    }
    if local.x == 0u {
        log_sum[row * params.heads + head] = highest + log(total);
    }
}
