// The 64 most likely of every 256 tokens, in order. Run on its own results until one group is left, it finds the 64
// most likely of a vocabulary: all that sampling usually needs.

struct Params {
    count: u32,    // entries
    is_paired: u32, // whether entries are pairs already: 0 in the first pass, then 1
}

@group(0) @binding(0) var<storage, read_write> entries: array<u32>; // [count] bits of logits, or [count, 2]: bits, token
@group(0) @binding(1) var<storage, read_write> best: array<u32>;    // [groups, 64, 2]: bits of a logit, token
@group(0) @binding(2) var<uniform> params: Params;

const WORKGROUP_SIZE: u32 = 256u;
const KEPT: u32 = 64u;
const NOTHING: u32 = 0xffffffffu; // the token of a place without entry

var<workgroup> ranks: array<u32, WORKGROUP_SIZE>;
var<workgroup> tokens: array<u32, WORKGROUP_SIZE>;

// Whole numbers in the order of floats, -0 below 0.
fn rank_of(bits: u32) -> u32 {
    return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

fn bits_of(rank: u32) -> u32 {
    return select(~rank, rank & 0x7fffffffu, (rank >> 31u) == 1u);
}

// Whether entry `a` goes before entry `b`: higher logits first, then lower tokens.
fn is_before(a: u32, b: u32) -> bool {
    return ranks[a] > ranks[b] || (ranks[a] == ranks[b] && tokens[a] < tokens[b]);
}

// One workgroup 256 entries, sorted by a bitonic network.
@compute @workgroup_size(WORKGROUP_SIZE)
fn best_tokens(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = group.x * WORKGROUP_SIZE + thread;
    var rank = 0u;
    var token = NOTHING;
    if i < params.count {
        if params.is_paired == 1u {
            rank = rank_of(entries[i * 2u]);
            token = entries[i * 2u + 1u];
        } else {
            rank = rank_of(entries[i]);
            token = i;
        }
    }
    // A pair without entry from an earlier pass stays last.
    ranks[thread] = select(rank, 0u, token == NOTHING);
    tokens[thread] = token;
    for (var size = 2u; size <= WORKGROUP_SIZE; size *= 2u) {
        for (var stride = size / 2u; stride > 0u; stride /= 2u) {
            workgroupBarrier();
            let other = thread ^ stride;
            // Every second run is sorted the other way round, but for the last, of all.
            let is_descending = (thread & size) == 0u;
            if other > thread && is_before(other, thread) == is_descending {
                let swapped_rank = ranks[thread];
                let swapped_token = tokens[thread];
                ranks[thread] = ranks[other];
                tokens[thread] = tokens[other];
                ranks[other] = swapped_rank;
                tokens[other] = swapped_token;
            }
        }
    }
    workgroupBarrier();
    if thread < KEPT {
        let at = (group.x * KEPT + thread) * 2u;
        best[at] = bits_of(ranks[thread]);
        best[at + 1u] = tokens[thread];
    }
}
