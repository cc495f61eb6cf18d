// The indices of the tokens that stay, one behind the other, and whether they are protected: the next filter's
// key token set.

struct Params {
    count: u32,  // tokens
    kept: u32,   // of them stay
    offset: u32, // added to every index: the row of token 0
}

@group(0) @binding(0) var<storage, read_write> stays: array<u32>;       // [count]: 1 stays
@group(0) @binding(1) var<storage, read_write> is_key: array<u32>;      // [count]: 1 in the key token set
@group(0) @binding(2) var<storage, read_write> index: array<u32>;       // [kept]
@group(0) @binding(3) var<storage, read_write> kept_is_key: array<u32>; // [kept]
@group(0) @binding(4) var<uniform> params: Params;

const WORKGROUP_SIZE: u32 = 64u;

// One thread a token: its place is the number of those before it that stay.
@compute @workgroup_size(WORKGROUP_SIZE)
fn compact(@builtin(global_invocation_id) thread: vec3<u32>) {
    let i = thread.x;
    if i >= params.count || stays[i] == 0u {
        return;
    }
    var place = 0u;
    for (var j = 0u; j < i; j++) {
        place += stays[j];
    }
    if place < params.kept {
        index[place] = params.offset + i;
        kept_is_key[place] = is_key[i];
    }
}
