// Rotates every head of queries or keys by its token's position (RoFormer, arXiv 2104.09864, section 3.4.2).
// Component i is paired with i + head_dim / 2, as Llama checkpoints are laid out.

struct Params {
    tokens: u32,   // rows
    heads: u32,    // heads of a row
    head_dim: u32, // components of a head, even
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>;       // [tokens, heads, head_dim]
@group(0) @binding(1) var<storage, read_write> table: array<f32>;   // [tokens, head_dim]: cosines, then sines
@group(0) @binding(2) var<storage, read_write> rotated: array<f32>; // [tokens, heads, head_dim]
@group(0) @binding(3) var<uniform> params: Params;

const WORKGROUP_SIZE: u32 = 64u;

// One thread a pair; the y axis is the token.
@compute @workgroup_size(WORKGROUP_SIZE)
fn rotary(@builtin(global_invocation_id) thread: vec3<u32>) {
    let half_dim = params.head_dim / 2u;
    let token = thread.y;
    if token >= params.tokens || thread.x >= params.heads * half_dim {
        return;
    }
    let head = thread.x / half_dim;
    let pair = thread.x % half_dim;

    let cosine = table[token * params.head_dim + pair];
    let sine = table[token * params.head_dim + half_dim + pair];
    let first = (token * params.heads + head) * params.head_dim + pair;
    let second = first + half_dim;
    rotated[first] = x[first] * cosine - x[second] * sine;
    rotated[second] = x[second] * cosine + x[first] * sine;
}
