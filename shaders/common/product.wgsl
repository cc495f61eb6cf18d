// What all products share: their sizes, and what becomes of a sum before it is stored.

struct Params {
    start: u32,        // the first row of x that is multiplied
    rows: u32,         // the one behind the last
    inputs: u32,       // columns of the matrix, a multiple of 4
    outputs: u32,      // rows of the matrix
    first: u32,        // of all outputs, the number of this matrix's first
    columns: u32,      // of y
    has_bias: u32,     // 0 or 1
    has_residual: u32, // 0 or 1
    activation: u32,   // of the sum: 0 none, 1 QuickGELU, 2 GELU, 3 GELU by tanh, 4 SiLU, 5 ReLU
    is_gated: u32,     // whether outputs come in pairs, of which the first, activated, is multiplied with the second
    eps: f32,          // of the norm
}

// What turns the numbers of four outputs into weights: minimum + scale * number.
struct Range {
    scale: vec4<f32>,
    minimum: vec4<f32>,
}

fn range_of(halves: vec4<u32>) -> Range {
    let a = unpack2x16float(halves.x);
    let b = unpack2x16float(halves.y);
    let c = unpack2x16float(halves.z);
    let d = unpack2x16float(halves.w);
    return Range(vec4(a.x, b.x, c.x, d.x), vec4(a.y, b.y, c.y, d.y));
}

// |error| < 1.5e-7 (Abramowitz and Stegun, 7.1.26).
fn error_function(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.3275911 * abs(x));
    let series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    return sign(x) * (1.0 - series * exp(-x * x));
}

fn activated(x: f32) -> f32 {
    switch params.activation {
        case 1u: { return x / (1.0 + exp(-1.702 * x)); }
        case 2u: { return 0.5 * x * (1.0 + error_function(x * 0.70710678)); }
        // (1 + tanh(z)) / 2 = 1 / (1 + exp(-2 z))
        case 3u: { return x / (1.0 + exp(-1.5957691 * (x + 0.044715 * x * x * x))); }
        case 4u: { return x / (1.0 + exp(-x)); }
        case 5u: { return max(x, 0.0); }
        default: { return x; }
    }
}

fn biased(output: u32, sum: f32) -> f32 {
    if params.has_bias == 1u {
        return sum + bias[params.first + output];
    }
    return sum;
}

// Stores one value of y, and what it is added to.
fn store(at: u32, value: f32) {
    var sum = value;
    if params.has_residual == 1u {
        sum += residual[at];
    }
    y[at] = sum;
}

// Stores the sums of an even output and of the next; of a row or an output too many, nothing.
fn store_pair(row: u32, output: u32, sums: vec2<f32>) {
    if row >= params.rows || output >= params.outputs {
        return;
    }
    let value = activated(biased(output, sums.x));
    let at = row * params.columns + params.first + output;
    if params.is_gated == 1u {
        y[row * params.columns + (params.first + output) / 2u] = value * biased(output + 1u, sums.y);
        return;
    }
    store(at, value);
    if output + 1u < params.outputs {
        store(at + 1u, activated(biased(output + 1u, sums.y)));
    }
}

// As store_pair, for four outputs.
fn store_four(row: u32, output: u32, sums: vec4<f32>) {
    store_pair(row, output, sums.xy);
    store_pair(row, output + 2u, sums.zw);
}
