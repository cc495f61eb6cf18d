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

var<workgroup> best_gain: array<f32, WORKGROUP_SIZE>;
var<workgroup> best_token: array<u32, WORKGROUP_SIZE>;
var<workgroup> tile: array<f32, WORKGROUP_SIZE>; // what is covered of so many tokens
var<workgroup> sums: array<f32, WORKGROUP_SIZE>;

// The highest gain of all threads'.
fn highest_of(gain: f32, thread: u32) -> f32 {
    best_gain[thread] = gain;
    workgroupBarrier();
    for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
        if thread < half {
            best_gain[thread] = max(best_gain[thread], best_gain[thread + half]);
        }
        workgroupBarrier();
    }
    return best_gain[0];
}

// The first token of all threads'.
fn first_of(token: u32, thread: u32) -> u32 {
    best_token[thread] = token;
    workgroupBarrier();
    for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
        if thread < half {
            best_token[thread] = min(best_token[thread], best_token[thread + half]);
        }
        workgroupBarrier();
    }
    return best_token[0];
}

// The token of the highest gain, the first of equals.
fn pick(plane: u32, thread: u32) -> u32 {
    var gain = TAKEN;
    for (var i = thread; i < params.tokens; i += WORKGROUP_SIZE) {
        gain = max(gain, gains[plane + i]);
    }
    let least = highest_of(gain, thread) * (1.0 - TIE);
    var token = params.tokens - 1u;
    for (var i = thread; i < params.tokens; i += WORKGROUP_SIZE) {
        if gains[plane + i] >= least {
            token = min(token, i);
        }
    }
    return first_of(token, thread);
}

// One workgroup for COLUMNS tokens. Every one of them finds the pick by itself: a round is one dispatch.
@compute @workgroup_size(WORKGROUP_SIZE)
fn coverage_pick(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
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
