// Attention of many rows without workgroup memory and barriers, which software adapters pay for dearly, and for heads too
// wide for tiles: a thread four rows of a head, so that a key is read once for all of them. Log-sum-exp as in attention.

@group(0) @binding(4) var<storage, read_write> mixed: array<vec4<f32>>; // [rows, heads, head_dim / 4]
@group(0) @binding(5) var<storage, read_write> log_sum: array<f32>;     // [rows, heads]

const QUADS: u32 = 16u; // head_dim / 4
const ROWS: u32 = 4u;   // of a thread: 4, or 1
const WORKGROUP_SIZE: u32 = 8u;

fn store(row: u32, head: u32, at: u32, sum: vec4<f32>) {
    if row < params.rows {
        mixed[(row * params.heads + head) * QUADS + at] = sum;
    }
}

// The scores of columns that a row sees; what it does not see gets no weight.
fn seen(scores: vec4<f32>, columns: vec4<u32>, hidden: u32, visible: u32) -> vec4<f32> {
    return select(vec4(LOWEST), scores, vec4(hidden) <= columns & columns < vec4(visible));
}

fn highest_of(x: vec4<f32>) -> f32 {
    return max(max(x.x, x.y), max(x.z, x.w));
}

// One thread ROWS rows; the y axis of the grid is the head. Rows have names, as in product_tile: where loops pick them from
// arrays, those are in memory instead of registers.
@compute @workgroup_size(WORKGROUP_SIZE)
fn attention_rows(@builtin(global_invocation_id) thread: vec3<u32>) {
    let first = params.start + thread.x * ROWS;
    let head = thread.y;
    if first >= params.rows {
        return;
    }
    let places = places_of(head);
    let last = vec4(params.columns - 1u);
    // A row too many is computed from the last, and not stored.
    let rows = min(vec4(first) + vec4(0u, 1u, 2u, 3u), vec4(params.rows - 1u));
    let lines = (rows * places.query_stride + vec4(head)) * QUADS;
    let visible = vec4(visible_to(rows.x), visible_to(rows.y), visible_to(rows.z), visible_to(rows.w));
    let hidden = vec4(first_to(rows.x), first_to(rows.y), first_to(rows.z), first_to(rows.w));
    var own0: array<vec4<f32>, QUADS>;
    var own1: array<vec4<f32>, QUADS>;
    var own2: array<vec4<f32>, QUADS>;
    var own3: array<vec4<f32>, QUADS>;
    var sums0: array<vec4<f32>, QUADS>;
    var sums1: array<vec4<f32>, QUADS>;
    var sums2: array<vec4<f32>, QUADS>;
    var sums3: array<vec4<f32>, QUADS>;
    for (var i = 0u; i < QUADS; i++) {
        own0[i] = query[lines.x + i] * params.scale;
        if ROWS > 1u {
            own1[i] = query[lines.y + i] * params.scale;
            own2[i] = query[lines.z + i] * params.scale;
            own3[i] = query[lines.w + i] * params.scale;
        }
    }
    var highest = vec4(LOWEST);
    var total = vec4(0.0);
    // What the last of the rows sees.
    let end = select(visible.x, visible.w, ROWS > 1u);
    for (var column = hidden.x; column < end; column += 4u) {
        let columns = vec4(column) + vec4(0u, 1u, 2u, 3u);
        let at = min(columns, last) * places.key_stride;
        let keys = (at + vec4(places.first_key)) * QUADS;
        let values = (at + vec4(places.first_value)) * QUADS;
        // Of each row, with four columns.
        var p00 = vec4(0.0);
        var p01 = vec4(0.0);
        var p02 = vec4(0.0);
        var p03 = vec4(0.0);
        var p10 = vec4(0.0);
        var p11 = vec4(0.0);
        var p12 = vec4(0.0);
        var p13 = vec4(0.0);
        var p20 = vec4(0.0);
        var p21 = vec4(0.0);
        var p22 = vec4(0.0);
        var p23 = vec4(0.0);
        var p30 = vec4(0.0);
        var p31 = vec4(0.0);
        var p32 = vec4(0.0);
        var p33 = vec4(0.0);
        for (var i = 0u; i < QUADS; i++) {
            let k0 = key[keys.x + i];
            let k1 = key[keys.y + i];
            let k2 = key[keys.z + i];
            let k3 = key[keys.w + i];
            let q0 = own0[i];
            p00 = fma(q0, k0, p00);
            p01 = fma(q0, k1, p01);
            p02 = fma(q0, k2, p02);
            p03 = fma(q0, k3, p03);
            if ROWS > 1u {
                let q1 = own1[i];
                p10 = fma(q1, k0, p10);
                p11 = fma(q1, k1, p11);
                p12 = fma(q1, k2, p12);
                p13 = fma(q1, k3, p13);
                let q2 = own2[i];
                p20 = fma(q2, k0, p20);
                p21 = fma(q2, k1, p21);
                p22 = fma(q2, k2, p22);
                p23 = fma(q2, k3, p23);
                let q3 = own3[i];
                p30 = fma(q3, k0, p30);
                p31 = fma(q3, k1, p31);
                p32 = fma(q3, k2, p32);
                p33 = fma(q3, k3, p33);
            }
        }
        let s0 = seen(vec4(sum_of(p00), sum_of(p01), sum_of(p02), sum_of(p03)), columns, hidden.x, visible.x);
        let s1 = seen(vec4(sum_of(p10), sum_of(p11), sum_of(p12), sum_of(p13)), columns, hidden.y, visible.y);
        let s2 = seen(vec4(sum_of(p20), sum_of(p21), sum_of(p22), sum_of(p23)), columns, hidden.z, visible.z);
        let s3 = seen(vec4(sum_of(p30), sum_of(p31), sum_of(p32), sum_of(p33)), columns, hidden.w, visible.w);
        let new_highest = max(highest, vec4(highest_of(s0), highest_of(s1), highest_of(s2), highest_of(s3)));
        let shrink = exp(highest - new_highest);
        highest = new_highest;
        // 0 where hidden, once `highest` is a score, as in attention.
        let w0 = exp(s0 - vec4(highest.x));
        let w1 = exp(s1 - vec4(highest.y));
        let w2 = exp(s2 - vec4(highest.z));
        let w3 = exp(s3 - vec4(highest.w));
        total = total * shrink + vec4(sum_of(w0), sum_of(w1), sum_of(w2), sum_of(w3));
        for (var i = 0u; i < QUADS; i++) {
            let v0 = value[values.x + i];
            let v1 = value[values.y + i];
            let v2 = value[values.z + i];
            let v3 = value[values.w + i];
            sums0[i] = sums0[i] * shrink.x + w0.x * v0 + w0.y * v1 + w0.z * v2 + w0.w * v3;
            if ROWS > 1u {
                sums1[i] = sums1[i] * shrink.y + w1.x * v0 + w1.y * v1 + w1.z * v2 + w1.w * v3;
                sums2[i] = sums2[i] * shrink.z + w2.x * v0 + w2.y * v1 + w2.z * v2 + w2.w * v3;
                sums3[i] = sums3[i] * shrink.w + w3.x * v0 + w3.y * v1 + w3.z * v2 + w3.w * v3;
            }
        }
    }
    for (var i = 0u; i < QUADS; i++) {
        store(first, head, i, sums0[i] / total.x);
        if ROWS > 1u {
            store(first + 1u, head, i, sums1[i] / total.y);
            store(first + 2u, head, i, sums2[i] / total.z);
            store(first + 3u, head, i, sums3[i] / total.w);
        }
    }
    let log_sums = highest + log(total);
    for (var r = 0u; r < min(ROWS, params.rows - first); r++) {
        log_sum[(first + r) * params.heads + head] = log_sums[r];
    }
}
