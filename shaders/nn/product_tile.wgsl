// The product of many rows with a matrix of any format, for prefill on devices with fast workgroup memory: 64 outputs of
// 64 rows at a time. A tile of weights is unpacked once for all its rows. Sums have names: arrays of them, indexed in loops,
// are kept in memory by drivers that do not unroll, at a fourth of the speed.

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;      // [rows, inputs / 4]
@group(0) @binding(1) var<storage, read_write> weight: array<vec4<u32>>; // [outputs, inputs] floats or halves, or words
@group(0) @binding(2) var<storage, read_write> ranges: array<vec4<u32>>; // of words, as quantised_vector has them, or anything
@group(0) @binding(3) var<storage, read_write> bias: array<f32>;         // [all outputs], or anything
@group(0) @binding(4) var<storage, read_write> residual: array<f32>;     // [rows, columns], or anything
@group(0) @binding(5) var<storage, read_write> y: array<f32>;            // [rows, columns]
@group(0) @binding(6) var<uniform> params: Params;

const BITS: u32 = 4u;     // of a weight: 4 or 8 in blocks, 16 or 32 as floats
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

// Four weights of an output along the inputs; beyond the last input 0, beyond the last output any.
fn floats(output: u32, quad: u32) -> vec4<f32> {
    let quads = params.inputs / 4u;
    if quad >= quads {
        return vec4(0.0);
    }
    let at = min(output, params.outputs - 1u) * quads + quad;
    if BITS == 16u {
        let halves = weight[at / 2u];
        let own = select(halves.xy, halves.zw, at % 2u == 1u);
        return vec4(unpack2x16float(own.x), unpack2x16float(own.y));
    }
    return bitcast<vec4<f32>>(weight[at]);
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
        let at = own_quad * 4u * ACROSS + own_four;
        if BITS <= 8u {
            let block = tile / QUADS;
            let range = ranges[block * fours + four];
            let a = unpack2x16float(range.x);
            let b = unpack2x16float(range.y);
            let c = unpack2x16float(range.z);
            let d = unpack2x16float(range.w);
            let scale = vec4(a.x, b.x, c.x, d.x);
            let minimum = vec4(a.y, b.y, c.y, d.y);
            let word = weight[(block * BITS + own_quad * BITS / 8u) * fours + four];
            let shift = own_quad * BITS * 4u % 32u;
            let mask = vec4((1u << (BITS % 32u)) - 1u);
            for (var i = 0u; i < 4u; i++) {
                weights_tile[at + i * ACROSS] = minimum + scale * vec4<f32>((word >> vec4(shift + i * BITS)) & mask);
            }
        } else {
            let output = four * 4u;
            let quad = tile + own_quad;
            let a = floats(output, quad);
            let b = floats(output + 1u, quad);
            let c = floats(output + 2u, quad);
            let d = floats(output + 3u, quad);
            weights_tile[at] = vec4(a.x, b.x, c.x, d.x);
            weights_tile[at + ACROSS] = vec4(a.y, b.y, c.y, d.y);
            weights_tile[at + 2u * ACROSS] = vec4(a.z, b.z, c.z, d.z);
            weights_tile[at + 3u * ACROSS] = vec4(a.w, b.w, c.w, d.w);
        }
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
