// Attention of many rows without workgroup memory and barriers, which software adapters pay for dearly, and for heads too
// wide for tiles: a thread four rows of a head, so that a key is read once for all of them. Log-sum-exp as in attention.

@group(0) @binding(4) var<storage, read_write> mixed: array<vec4<f32>>; // [rows, heads, head_dim / 4]
@group(0) @binding(5) var<storage, read_write> log_sum: array<f32>;     // [rows, heads]

const QUADS: u32 = 16u; // head_dim / 4
const ROWS: u32 = 4u;   // of a thread
const WORKGROUP_SIZE: u32 = 8u;

// One thread ROWS rows; the y axis of the grid is the head.
@compute @workgroup_size(WORKGROUP_SIZE)
fn attention_rows(@builtin(global_invocation_id) thread: vec3<u32>) {
    let first = params.start + thread.x * ROWS;
    let head = thread.y;
    if first >= params.rows {
        return;
    }
    let places = places_of(head);
    let last_row = params.rows - 1u;
    let last = params.columns - 1u;
    var own: array<vec4<f32>, ROWS * QUADS>;
    var sums: array<vec4<f32>, ROWS * QUADS>;
    var highest: array<f32, ROWS>;
    var total: array<f32, ROWS>;
    var hidden: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        highest[r] = LOWEST;
        hidden[r] = first_to(min(first + r, last_row));
        // A row too many is computed from the last, and not stored.
        let start = (min(first + r, last_row) * places.query_stride + head) * QUADS;
        for (var i = 0u; i < QUADS; i++) {
            own[r * QUADS + i] = query[start + i] * params.scale;
        }
    }
    // What the last of the rows sees.
    let end = min(params.columns, params.past + min(first + ROWS, params.rows));
    for (var column = hidden[0]; column < end; column += 4u) {
        let columns = vec4(column) + vec4(0u, 1u, 2u, 3u);
        let lines = min(columns, vec4(last)) * places.key_stride;
        let keys = (lines + vec4(places.first_key)) * QUADS;
        let values = (lines + vec4(places.first_value)) * QUADS;
        // Of four columns, row by row.
        var products: array<vec4<f32>, 4u * ROWS>;
        for (var i = 0u; i < QUADS; i++) {
            let k0 = key[keys.x + i];
            let k1 = key[keys.y + i];
            let k2 = key[keys.z + i];
            let k3 = key[keys.w + i];
            for (var r = 0u; r < ROWS; r++) {
                let own_query = own[r * QUADS + i];
                products[4u * r] += own_query * k0;
                products[4u * r + 1u] += own_query * k1;
                products[4u * r + 2u] += own_query * k2;
                products[4u * r + 3u] += own_query * k3;
            }
        }
        var weights: array<vec4<f32>, ROWS>;
        var shrink: array<f32, ROWS>;
        for (var r = 0u; r < ROWS; r++) {
            let scores = vec4(
                sum_of(products[4u * r]),
                sum_of(products[4u * r + 1u]),
                sum_of(products[4u * r + 2u]),
                sum_of(products[4u * r + 3u]),
            );
            let visible = visible_to(min(first + r, last_row));
            let seen = select(vec4(LOWEST), scores, vec4(hidden[r]) <= columns & columns < vec4(visible));
            let new_highest = max(highest[r], max(max(seen.x, seen.y), max(seen.z, seen.w)));
            shrink[r] = exp(highest[r] - new_highest);
            highest[r] = new_highest;
            // 0 where hidden, once `highest` is a score, as in attention.
            weights[r] = exp(seen - vec4(new_highest));
            total[r] = total[r] * shrink[r] + sum_of(weights[r]);
        }
        for (var i = 0u; i < QUADS; i++) {
            let v0 = value[values.x + i];
            let v1 = value[values.y + i];
            let v2 = value[values.z + i];
            let v3 = value[values.w + i];
            for (var r = 0u; r < ROWS; r++) {
                let at = r * QUADS + i;
                let w = weights[r];
                sums[at] = sums[at] * shrink[r] + w.x * v0 + w.y * v1 + w.z * v2 + w.w * v3;
            }
        }
    }
    for (var r = 0u; r < ROWS; r++) {
        let row = first + r;
        if row < params.rows {
            for (var i = 0u; i < QUADS; i++) {
                mixed[(row * params.heads + head) * QUADS + i] = sums[r * QUADS + i] / total[r];
            }
            log_sum[row * params.heads + head] = highest[r] + log(total[r]);
        }
    }
}
