// What products of many rows share: a matrix of any format, and its weights four by four.

@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>;      // [rows, inputs / 4]
@group(0) @binding(1) var<storage, read_write> weight: array<vec4<u32>>; // [outputs, inputs] floats or halves, or words
@group(0) @binding(2) var<storage, read_write> ranges: array<vec4<u32>>; // of words, as quantised_vector has them, or anything

const BITS: u32 = 4u; // of a weight: 4 or 8 in blocks, 16 or 32 as floats

// Of four inputs, each of four outputs.
struct Weights {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
}

// Four weights of an output along the inputs; beyond the last output any.
fn floats(output: u32, quad: u32) -> vec4<f32> {
    let at = min(output, params.outputs - 1u) * (params.inputs / 4u) + quad;
    if BITS == 16u {
        let halves = weight[at / 2u];
        let own = select(halves.xy, halves.zw, at % 2u == 1u);
        return vec4(unpack2x16float(own.x), unpack2x16float(own.y));
    }
    return bitcast<vec4<f32>>(weight[at]);
}

fn weights_of_floats(output: u32, quad: u32) -> Weights {
    let a = floats(output, quad);
    let b = floats(output + 1u, quad);
    let c = floats(output + 2u, quad);
    let d = floats(output + 3u, quad);
    return Weights(
        vec4(a.x, b.x, c.x, d.x),
        vec4(a.y, b.y, c.y, d.y),
        vec4(a.z, b.z, c.z, d.z),
        vec4(a.w, b.w, c.w, d.w),
    );
}

// Of words, from the number at the bit `shift` on.
fn weights_of_words(word: vec4<u32>, range: Range, shift: u32) -> Weights {
    let mask = vec4((1u << (BITS % 32u)) - 1u);
    return Weights(
        range.minimum + range.scale * vec4<f32>((word >> vec4(shift)) & mask),
        range.minimum + range.scale * vec4<f32>((word >> vec4(shift + BITS)) & mask),
        range.minimum + range.scale * vec4<f32>((word >> vec4(shift + 2u * BITS)) & mask),
        range.minimum + range.scale * vec4<f32>((word >> vec4(shift + 3u * BITS)) & mask),
    );
}
