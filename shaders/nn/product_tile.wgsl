// The product of many rows with a matrix of any format, for prefill on devices with fast workgroup memory: 64 outputs of
// 64 rows at a time. A tile of weights is unpacked once for all its rows. Sums have names: arrays of them, indexed in loops,
// are kept in memory by drivers that do not unroll, at a fourth of the speed.

@group(0) @binding(3) var<storage, read_write> bias: array<f32>;         // [all outputs], or anything
@group(0) @binding(4) var<storage, read_write> residual: array<f32>;     // [rows, columns], or anything
@group(0) @binding(5) var<storage, read_write> y: array<f32>;            // [rows, columns]
@group(0) @binding(6) var<uniform> params: Params;

const OWN_ROWS: u32 = 8u; // of a thread
const ACROSS: u32 = 16u;  // threads along the outputs, each with four
const DOWN: u32 = 8u;     // threads along the rows
const ROWS: u32 = DOWN * OWN_ROWS;
const QUADS: u32 = 8u;    // fours of inputs of a tile
const THREADS: u32 = ACROSS * DOWN;

var<workgroup> rows_tile: array<vec4<f32>, ROWS * QUADS>;
var<workgroup> weights_tile: array<vec4<f32>, QUADS * 4u * ACROSS>; // [inputs, fours of outputs]

// Where a row's quad lies in its tile: turned by the thread's place, so that threads above each other meet no bank twice.
fn place(row: u32, quad: u32) -> u32 {
    return row * QUADS + (quad + row / OWN_ROWS) % QUADS;
}

// A row's sums of four outputs, and the products of four more inputs.
fn add(sums: vec4<f32>, values: vec4<f32>, w0: vec4<f32>, w1: vec4<f32>, w2: vec4<f32>, w3: vec4<f32>) -> vec4<f32> {
    let two = fma(vec4(values.y), w1, fma(vec4(values.x), w0, sums));
    return fma(vec4(values.w), w3, fma(vec4(values.z), w2, two));
}

// One workgroup ROWS rows of 64 outputs; the y axis of the grid counts the rows.
@compute @workgroup_size(ACROSS, DOWN)
fn product_tile(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let quads = params.inputs / 4u;
    let fours = (params.outputs + 3u) / 4u;
    let first_row = params.start + group.y * ROWS;
    let first_four = group.x * ACROSS;
    // What a thread unpacks: four inputs of four outputs.
    let own_four = thread % ACROSS;
    let own_quad = thread / ACROSS;
    let four = min(first_four + own_four, fours - 1u);
    var s0 = vec4(0.0);
    var s1 = vec4(0.0);
    var s2 = vec4(0.0);
    var s3 = vec4(0.0);
    var s4 = vec4(0.0);
    var s5 = vec4(0.0);
    var s6 = vec4(0.0);
    var s7 = vec4(0.0);
    for (var tile = 0u; tile < quads; tile += QUADS) {
        workgroupBarrier();
        for (var i = thread; i < ROWS * QUADS; i += THREADS) {
            let row = i / QUADS;
            let quad = i % QUADS;
            // Rows beyond the last are computed from the last, and not stored; inputs beyond the last meet weights of 0.
            rows_tile[place(row, quad)] = x[min(first_row + row, params.rows - 1u) * quads + min(tile + quad, quads - 1u)];
        }
        let quad = tile + own_quad;
        var own = Weights(vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
        if BITS <= 8u {
            let block = tile / QUADS;
            let word = weight[(block * BITS + own_quad * BITS / 8u) * fours + four];
            own = weights_of_words(word, range_of(ranges[block * fours + four]), own_quad * BITS * 4u % 32u);
        } else if quad < quads {
            own = weights_of_floats(four * 4u, quad);
        }
        let at = own_quad * 4u * ACROSS + own_four;
        weights_tile[at] = own.a;
        weights_tile[at + ACROSS] = own.b;
        weights_tile[at + 2u * ACROSS] = own.c;
        weights_tile[at + 3u * ACROSS] = own.d;
        workgroupBarrier();
        for (var quad = 0u; quad < QUADS; quad++) {
            let w0 = weights_tile[(quad * 4u) * ACROSS + local.x];
            let w1 = weights_tile[(quad * 4u + 1u) * ACROSS + local.x];
            let w2 = weights_tile[(quad * 4u + 2u) * ACROSS + local.x];
            let w3 = weights_tile[(quad * 4u + 3u) * ACROSS + local.x];
            let at = local.y * OWN_ROWS * QUADS + (quad + local.y) % QUADS;
            s0 = add(s0, rows_tile[at], w0, w1, w2, w3);
            s1 = add(s1, rows_tile[at + QUADS], w0, w1, w2, w3);
            s2 = add(s2, rows_tile[at + 2u * QUADS], w0, w1, w2, w3);
            s3 = add(s3, rows_tile[at + 3u * QUADS], w0, w1, w2, w3);
            s4 = add(s4, rows_tile[at + 4u * QUADS], w0, w1, w2, w3);
            s5 = add(s5, rows_tile[at + 5u * QUADS], w0, w1, w2, w3);
            s6 = add(s6, rows_tile[at + 6u * QUADS], w0, w1, w2, w3);
            s7 = add(s7, rows_tile[at + 7u * QUADS], w0, w1, w2, w3);
        }
    }
    let row = first_row + local.y * OWN_ROWS;
    let output = (first_four + local.x) * 4u;
    store_four(row, output, s0);
    store_four(row + 1u, output, s1);
    store_four(row + 2u, output, s2);
    store_four(row + 3u, output, s3);
    store_four(row + 4u, output, s4);
    store_four(row + 5u, output, s5);
    store_four(row + 6u, output, s6);
    store_four(row + 7u, output, s7);
}
