// Attention of one new row to a layer's cache, for decoding. Caches of different layers hold different numbers of rows
// once some were dropped; what a cache has room for beyond them is not read.

struct Params {
    columns: u32,   // rows of the cache that hold keys and values
    heads: u32,     // of the query
    key_heads: u32, // of keys and values, dividing heads
    head_dim: u32,  // a multiple of 4, at most 256
    scale: f32,     // of the scores
}

@group(0) @binding(0) var<storage, read_write> query: array<vec4<f32>>; // [heads, head_dim / 4]
@group(0) @binding(1) var<storage, read_write> key: array<vec4<f32>>;   // [columns or more, key_heads, head_dim / 4]
@group(0) @binding(2) var<storage, read_write> value: array<f32>;       // [columns or more, key_heads, head_dim]
@group(0) @binding(3) var<storage, read_write> mixed: array<f32>;       // [heads, head_dim]
@group(0) @binding(4) var<uniform> params: Params;

const WORKGROUP_SIZE: u32 = 128u; // and columns of a tile
const OWN: u32 = 2u;              // components of the result a thread computes, at most
const LOWEST: f32 = -3.0e38;

var<workgroup> row: array<vec4<f32>, WORKGROUP_SIZE / 2u>;
var<workgroup> scores: array<f32, WORKGROUP_SIZE>;
var<workgroup> partial: array<f32, WORKGROUP_SIZE>;

// One workgroup a head.
@compute @workgroup_size(WORKGROUP_SIZE)
fn cached_attention(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let head = group.x;
    let key_head = head / (params.heads / params.key_heads);
    let quads = params.head_dim / 4u;
    if thread < quads {
        row[thread] = query[head * quads + thread] * params.scale;
    }
    var highest = LOWEST;
    var total = 0.0;
    var sums: array<f32, OWN>;
    for (var tile = 0u; tile < params.columns; tile += WORKGROUP_SIZE) {
        workgroupBarrier();
        let column = tile + thread;
        var score = LOWEST;
        if column < params.columns {
            let at = (column * params.key_heads + key_head) * quads;
            var products = vec4(0.0);
            for (var i = 0u; i < quads; i++) {
                products = fma(row[i], key[at + i], products);
            }
            score = products.x + products.y + products.z + products.w;
        }
        scores[thread] = score;
        partial[thread] = score;
        workgroupBarrier();
        for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
            if thread < half {
                partial[thread] = max(partial[thread], partial[thread + half]);
            }
            workgroupBarrier();
        }
        let new_highest = max(highest, partial[0]);
        let shrink = exp(highest - new_highest);
        highest = new_highest;
        total *= shrink;
        let count = min(WORKGROUP_SIZE, params.columns - tile);
        for (var i = 0u; i < OWN; i++) {
            sums[i] *= shrink;
        }
        for (var j = 0u; j < count; j++) {
            let weight = exp(scores[j] - highest);
            total += weight;
            for (var i = 0u; i < OWN; i++) {
                let component = thread + i * WORKGROUP_SIZE;
                if component < params.head_dim {
                    let at = ((tile + j) * params.key_heads + key_head) * params.head_dim;
                    sums[i] = fma(weight, value[at + component], sums[i]);
                }
            }
        }
    }
    for (var i = 0u; i < OWN; i++) {
        let component = thread + i * WORKGROUP_SIZE;
        if component < params.head_dim {
            mixed[head * params.head_dim + component] = sums[i] / total;
        }
    }
}
