// The product of many rows with a matrix of any format, for prefill on devices with fast workgroup memory: 64 outputs of
// 32 or 64 rows at a time. A tile of weights is unpacked once for all its rows.

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;      // [rows, inputs / 4]
@group(0) @binding(1) var<storage, read_write> weight: array<vec4<u32>>; // [outputs, inputs] floats or halves, or words
@group(0) @binding(2) var<storage, read_write> ranges: array<vec4<u32>>; // of words, as quantised_vector has them, or anything
@group(0) @binding(3) var<storage, read_write> bias: array<f32>;         // [all outputs], or anything
@group(0) @binding(4) var<storage, read_write> residual: array<f32>;     // [rows, columns], or anything
@group(0) @binding(5) var<storage, read_write> y: array<f32>;            // [rows, columns]
@group(0) @binding(6) var<uniform> params: Params;

const BITS: u32 = 4u;     // of a weight: 4 or 8 in blocks, 16 or 32 as floats
const OWN_ROWS: u32 = 4u; // of a thread: 4 or 8
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
    var sums: array<vec4<f32>, OWN_ROWS>;
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
            for (var r = 0u; r < OWN_ROWS; r++) {
                let values = rows_tile[place(local.y * OWN_ROWS + r, quad)];
                sums[r] = fma(vec4(values.x), w0, sums[r]);
                sums[r] = fma(vec4(values.y), w1, sums[r]);
                sums[r] = fma(vec4(values.z), w2, sums[r]);
                sums[r] = fma(vec4(values.w), w3, sums[r]);
            }
        }
    }
    for (var r = 0u; r < OWN_ROWS; r++) {
        store_four(first_row + local.y * OWN_ROWS + r, (first_four + local.x) * 4u, sums[r]);
    }
}
