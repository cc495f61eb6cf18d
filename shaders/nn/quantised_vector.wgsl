// The product of a few rows with a quantised matrix, for decoding: bound by reading the weights once, whatever the number
// of rows. 32 threads share four outputs' blocks, so that a small matrix still fills a device; what they sum is
// scale * sum(q x) + minimum * sum(x), so that a weight costs a shift, a mask, a conversion and a multiplication.

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;      // [rows, inputs / 4]
@group(0) @binding(1) var<storage, read_write> words: array<vec4<u32>>;  // [inputs / 32, BITS, outputs / 4]
@group(0) @binding(2) var<storage, read_write> ranges: array<vec4<u32>>; // [inputs / 32, outputs / 4]: scale, minimum
@group(0) @binding(3) var<storage, read_write> norm: array<vec4<f32>>;   // [inputs / 4] weights of an RMSNorm of x, or anything
@group(0) @binding(4) var<storage, read_write> bias: array<f32>;         // [all outputs], or anything
@group(0) @binding(5) var<storage, read_write> residual: array<f32>;     // [rows, columns], or anything
@group(0) @binding(6) var<storage, read_write> y: array<f32>;            // [rows, columns]
@group(0) @binding(7) var<uniform> params: Params;

const BITS: u32 = 4u;    // of a number: 4 or 8
const LANES: u32 = 8u;   // fours of outputs, side by side
const SHARES: u32 = 32u; // threads that share them

const ROOM: u32 = THREADS * ROWS;

var<workgroup> partial: array<vec4<f32>, ROOM>;

// What a block's numbers and the values of one row give: the products by output, and the values themselves.
struct Dots {
    products: vec4<f32>,
    total: vec4<f32>,
}

// Adds four inputs of four outputs.
fn dots_with(dots: Dots, values: vec4<f32>, n0: vec4<f32>, n1: vec4<f32>, n2: vec4<f32>, n3: vec4<f32>) -> Dots {
    let two = fma(vec4(values.y), n1, fma(vec4(values.x), n0, dots.products));
    return Dots(fma(vec4(values.w), n3, fma(vec4(values.z), n2, two)), dots.total + values);
}

// A block's dots as sums of products with weights.
fn scaled(dots: Dots, range: Range) -> vec4<f32> {
    let total = dots.total.x + dots.total.y + dots.total.z + dots.total.w;
    return fma(range.scale, dots.products, range.minimum * total);
}

// Four values of a row, with the weights of the norm.
fn values_at(start: u32, quad: u32) -> vec4<f32> {
    if HAS_NORM == 1u {
        return x[start + quad] * norm[quad];
    }
    return x[start + quad];
}

// One row of threads a share; the y axis of the grid counts ROWS rows of x. Rows have names: arrays of them, indexed in
// loops, are kept in memory by drivers that do not unroll.
@compute @workgroup_size(LANES, SHARES)
fn quantised_vector(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let quads = params.inputs / 4u;
    let fours = (params.outputs + 3u) / 4u;
    let four = group.x * LANES + local.x;
    let first_row = params.start + group.y * ROWS;
    let starts = starts_from(first_row);
    let factors = norm_factors(starts, thread);
    var s0 = vec4(0.0);
    var s1 = vec4(0.0);
    var s2 = vec4(0.0);
    var s3 = vec4(0.0);
    if four < fours {
        for (var block = local.y; block < params.inputs / 32u; block += SHARES) {
            let range = range_of(ranges[block * fours + four]);
            var d0 = Dots(vec4(0.0), vec4(0.0));
            var d1 = Dots(vec4(0.0), vec4(0.0));
            var d2 = Dots(vec4(0.0), vec4(0.0));
            var d3 = Dots(vec4(0.0), vec4(0.0));
            for (var w = 0u; w < BITS; w++) {
                let word = words[(block * BITS + w) * fours + four];
                for (var q = 0u; q < 8u / BITS; q++) {
                    let quad = block * 8u + w * (8u / BITS) + q;
                    let shift = q * 4u * BITS;
                    let mask = vec4((1u << BITS) - 1u);
                    let n0 = vec4<f32>((word >> vec4(shift)) & mask);
                    let n1 = vec4<f32>((word >> vec4(shift + BITS)) & mask);
                    let n2 = vec4<f32>((word >> vec4(shift + 2u * BITS)) & mask);
                    let n3 = vec4<f32>((word >> vec4(shift + 3u * BITS)) & mask);
                    d0 = dots_with(d0, values_at(starts.x, quad), n0, n1, n2, n3);
                    if ROWS > 1u {
                        d1 = dots_with(d1, values_at(starts.y, quad), n0, n1, n2, n3);
                    }
                    if ROWS > 2u {
                        d2 = dots_with(d2, values_at(starts.z, quad), n0, n1, n2, n3);
                        d3 = dots_with(d3, values_at(starts.w, quad), n0, n1, n2, n3);
                    }
                }
            }
            s0 += scaled(d0, range);
            s1 += scaled(d1, range);
            s2 += scaled(d2, range);
            s3 += scaled(d3, range);
        }
    }
    partial[thread] = s0;
    // A variant of fewer rows has no room for the others, and never gets there.
    if ROWS > 1u {
        partial[THREADS % ROOM + thread] = s1;
    }
    if ROWS > 2u {
        partial[2u * THREADS % ROOM + thread] = s2;
        partial[3u * THREADS % ROOM + thread] = s3;
    }
    workgroupBarrier();
    for (var half = SHARES / 2u; half > 0u; half /= 2u) {
        if local.y < half {
            for (var r = 0u; r < ROWS; r++) {
                let at = r * THREADS + thread;
                partial[at] += partial[at + half * LANES];
            }
        }
        workgroupBarrier();
    }
    if local.y == 0u && four < fours {
        for (var r = 0u; r < ROWS; r++) {
            store_four(first_row + r, four * 4u, partial[r * THREADS + thread] * factors[r]);
        }
    }
}
