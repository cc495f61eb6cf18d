// One round of choosing the tokens that cover a picture best, greedily (facility location): the pick of the round before is
// found, what it covers is noted, and the next gains are computed. As many rounds as there are picks, and one to find the last.

struct Params {
    tokens: u32,
    round: u32, // from 0
    picks: u32, // of all rounds
}

@group(0) @binding(0) var<storage, read_write> similarity: array<f32>; // [tokens, tokens], symmetric; 1 to itself, whatever is there
@group(0) @binding(1) var<storage, read_write> gains: array<f32>;      // [2, tokens]: of every other round; TAKEN for a pick
@group(0) @binding(2) var<storage, read_write> covered: array<f32>;    // [2, tokens]: likeness to the nearest pick, of every other round
@group(0) @binding(3) var<storage, read_write> priority: array<f32>;   // [tokens]: picks for the first pick, 1 for the last, else 0
@group(0) @binding(4) var<uniform> params: Params;

const WORKGROUP_SIZE: u32 = 256u;
const COLUMNS: u32 = 32u; // of a workgroup
const LANES: u32 = 8u;    // partial sums of a column, WORKGROUP_SIZE / COLUMNS
const TAKEN: f32 = -1.0;
const TIE: f32 = 1.0 / 65536.0; // gains below the highest by less than this share of it are equal to it

var<workgroup> highest: atomic<u32>; // gain; bits of floats from 0 on are in the floats' order
var<workgroup> first: atomic<u32>;   // token of that gain
var<workgroup> tile: array<f32, WORKGROUP_SIZE>; // what is covered of so many tokens
var<workgroup> sums: array<f32, WORKGROUP_SIZE>;

// The token of the highest gain, the first of equals.
fn pick(plane: u32, thread: u32) -> u32 {
    if thread == 0u {
        atomicStore(&highest, 0u);
        atomicStore(&first, params.tokens - 1u);
    }
    workgroupBarrier();
    var gain = 0.0; // TAKEN is less
    for (var i = thread; i < params.tokens; i += WORKGROUP_SIZE) {
        gain = max(gain, gains[plane + i]);
    }
    atomicMax(&highest, bitcast<u32>(gain));
    workgroupBarrier();
    let least = bitcast<f32>(atomicLoad(&highest)) * (1.0 - TIE);
    for (var i = thread; i < params.tokens; i += WORKGROUP_SIZE) {
        if gains[plane + i] >= least {
            atomicMin(&first, i);
            break;
        }
    }
    workgroupBarrier();
    return atomicLoad(&first);
}

// One workgroup for COLUMNS tokens. Every one of them finds the pick by itself: a round is one dispatch.
@compute @workgroup_size(WORKGROUP_SIZE)
fn coverage_picks(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let tokens = params.tokens;
    let now = params.round % 2u * tokens;
    let before = tokens - now;
    let is_first = params.round == 0u;
    let column = group.x * COLUMNS + thread % COLUMNS;
    let lane = thread / COLUMNS;
    let is_inside = column < tokens;

    var picked = 0u;
    if !is_first {
        picked = pick(before, thread);
        if group.x == 0u && thread == 0u {
            priority[picked] = f32(params.picks - params.round + 1u);
        }
    } else if lane == 0u && is_inside {
        priority[column] = 0.0;
    }
    if params.round == params.picks {
        return;
    }

    var sum = 0.0;
    for (var start = 0u; start < tokens; start += WORKGROUP_SIZE) {
        workgroupBarrier();
        let own = start + thread;
        if own < tokens {
            let nearer = select(similarity[picked * tokens + own], 1.0, own == picked);
            let known = covered[before + own];
            tile[thread] = select(select(known, nearer, nearer > known), 0.0, is_first);
            if own / COLUMNS == group.x {
                covered[now + own] = tile[thread];
            }
        }
        workgroupBarrier();
        if is_inside {
            for (var i = lane; i < min(WORKGROUP_SIZE, tokens - start); i += LANES) {
                let likeness = select(similarity[(start + i) * tokens + column], 1.0, start + i == column);
                let more = likeness - tile[i];
                sum += select(0.0, more, more > 0.0); // 0 for what is no number, which max leaves open
            }
        }
    }
    sums[thread] = sum;
    workgroupBarrier();
    if lane == 0u && is_inside {
        for (var i = 1u; i < LANES; i++) {
            sum += sums[i * COLUMNS + thread];
        }
        let is_taken = !is_first && (column == picked || gains[before + column] == TAKEN);
        gains[now + column] = select(sum, TAKEN, is_taken);
    }
}
