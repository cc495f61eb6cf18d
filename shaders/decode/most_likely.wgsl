// The most likely token, and what is needed to judge the others by it: greedy decoding reads back 16 bytes a token
// rather than a vocabulary.

struct Params {
    count: u32,     // logits
    sharpness: f32, // 1 / temperature
}

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;  // [count]
@group(0) @binding(1) var<storage, read_write> summary: array<u32>; // [4]: token, bits of its logit, of the mass, not finite
@group(0) @binding(2) var<uniform> params: Params;

const WORKGROUP_SIZE: u32 = 256u;

var<workgroup> ranks: array<u32, WORKGROUP_SIZE>;
var<workgroup> tokens: array<u32, WORKGROUP_SIZE>;
var<workgroup> masses: array<f32, WORKGROUP_SIZE>;
var<workgroup> not_finite: atomic<u32>;

// Whole numbers in the order of floats, -0 below 0.
fn rank_of(bits: u32) -> u32 {
    return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

fn bits_of(rank: u32) -> u32 {
    return select(~rank, rank & 0x7fffffffu, (rank >> 31u) == 1u);
}

// One workgroup.
@compute @workgroup_size(WORKGROUP_SIZE)
fn most_likely(@builtin(local_invocation_index) thread: u32) {
    if thread == 0u {
        atomicStore(&not_finite, 0u);
    }
    workgroupBarrier();
    var best = 0u;
    var token = 0u;
    for (var i = thread; i < params.count; i += WORKGROUP_SIZE) {
        let bits = bitcast<u32>(logits[i]);
        // All ones in the exponent: infinite, or no number.
        if (bits & 0x7f800000u) == 0x7f800000u {
            atomicAdd(&not_finite, 1u);
        }
        // Equal logits: the lower index, which comes first, wins.
        let rank = rank_of(bits);
        if rank > best {
            best = rank;
            token = i;
        }
    }
    ranks[thread] = best;
    tokens[thread] = token;
    workgroupBarrier();
    for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
        if thread < half {
            let other = thread + half;
            if ranks[other] > ranks[thread] || (ranks[other] == ranks[thread] && tokens[other] < tokens[thread]) {
                ranks[thread] = ranks[other];
                tokens[thread] = tokens[other];
            }
        }
        workgroupBarrier();
    }
    let highest = bitcast<f32>(bits_of(ranks[0]));
    var mass = 0.0;
    for (var i = thread; i < params.count; i += WORKGROUP_SIZE) {
        mass += exp((logits[i] - highest) * params.sharpness);
    }
    masses[thread] = mass;
    workgroupBarrier();
    for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
        if thread < half {
            masses[thread] += masses[thread + half];
        }
        workgroupBarrier();
    }
    if thread == 0u {
        summary[0] = tokens[0];
        summary[1] = bits_of(ranks[0]);
        summary[2] = bitcast<u32>(masses[0]);
        summary[3] = atomicLoad(&not_finite);
    }
}
