// What the workgroups of attention_split found, as one result and its log-sum-exp.

struct Params {
    rows: u32,
    heads: u32,
    head_dim: u32, // a multiple of 4
    tiles: u32,    // workgroups a row and head
}

@group(0) @binding(0) var<storage, read_write> sums: array<vec4<f32>>;   // [rows, heads, tiles, head_dim / 4]
@group(0) @binding(1) var<storage, read_write> totals: array<vec2<f32>>; // [rows, heads, tiles]: highest score, sum of weights
@group(0) @binding(2) var<storage, read_write> mixed: array<vec4<f32>>;  // [rows, heads, head_dim / 4]
@group(0) @binding(3) var<storage, read_write> log_sum: array<f32>;      // [rows, heads]
@group(0) @binding(4) var<uniform> params: Params;

const WORKGROUP_SIZE: u32 = 64u;
const LOWEST: f32 = -3.0e38;

// One thread a quad of the result.
@compute @workgroup_size(WORKGROUP_SIZE)
fn attention_join(@builtin(global_invocation_id) thread: vec3<u32>) {
    let quads = params.head_dim / 4u;
    let line = thread.x / quads;
    let quad = thread.x % quads;
    if line >= params.rows * params.heads {
        return;
    }
    let first = line * params.tiles;
    var highest = LOWEST;
    for (var tile = 0u; tile < params.tiles; tile++) {
        highest = max(highest, totals[first + tile].x);
    }
    var total = 0.0;
    var sum = vec4(0.0);
    for (var tile = 0u; tile < params.tiles; tile++) {
        let weight = exp(totals[first + tile].x - highest);
        total = fma(weight, totals[first + tile].y, total);
        sum = fma(vec4(weight), sums[(first + tile) * quads + quad], sum);
    }
    mixed[thread.x] = sum / total;
    if quad == 0u {
        log_sum[line] = highest + log(total);
    }
}
