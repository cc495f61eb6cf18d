// Which rows go on behind a layer (MustDrop, stage P): from the attention that a picture's tokens receive, how important
// they are, which stay, and their rows one behind the other, with those of the text between pictures. One dispatch a
// picture; the host need not know a result, but for the number of rows where thresholds decide.

struct Params {
    tokens: u32,               // of the picture
    rows: u32,                 // text tokens that were asked
    shares: u32,               // into which the heads were cut
    heads: u32,
    kept: u32,                 // so many stay, or UNKNOWN where thresholds decide
    is_dual: u32,              // whether importance is by two thresholds, else by the sum of attention
    global_threshold: f32,     // of the sum, relative to the sum over all tokens
    individual_threshold: f32, // of the maximum over text tokens
    start: u32,                // row of token 0
    end: u32,                  // row behind the previous picture: text from there on stays
    all: u32,                  // row behind the text that follows the picture and is to stay
    header: u32,               // where in the report this picture's part begins
    previous: u32,             // where the previous picture's begins, or UNKNOWN
}

@group(0) @binding(0) var<storage, read_write> weights: array<f32>;     // [shares, rows, tokens]
@group(0) @binding(1) var<storage, read_write> is_key: array<u32>;      // [tokens]: 1 in the key token set
@group(0) @binding(2) var<storage, read_write> rows: array<u32>;        // [rows that stay]
@group(0) @binding(3) var<storage, read_write> report: array<f32>;      // from the header on: tokens that stay, rows so far, [tokens] rows of those that stay, [tokens] importance
@group(0) @binding(4) var<storage, read_write> kept_is_key: array<u32>; // [tokens that stay]: 1 in the key token set
@group(0) @binding(5) var<uniform> params: Params;

const WORKGROUP_SIZE: u32 = 256u;
const UNKNOWN: u32 = 0xffffffffu;
const TINY: f32 = 1.0e-30; // thresholds of 0 divide by this

var<workgroup> sums: array<f32, WORKGROUP_SIZE>;
var<workgroup> scores: array<f32, WORKGROUP_SIZE>;
var<workgroup> counts: array<u32, WORKGROUP_SIZE>;

// One workgroup.
@compute @workgroup_size(WORKGROUP_SIZE)
fn select_rows(@builtin(local_invocation_index) thread: u32) {
    // Of the report: first maxima, then whether a token stays, then which rows do; and sums, then importance.
    let staying = params.header + 2u;
    let importance = staying + params.tokens;
    var total = 0.0;
    for (var j = thread; j < params.tokens; j += WORKGROUP_SIZE) {
        var sum = 0.0;
        var maximum = 0.0; // attention is never negative
        for (var row = 0u; row < params.rows; row++) {
            var mean = 0.0;
            for (var share = 0u; share < params.shares; share++) {
                mean += weights[(share * params.rows + row) * params.tokens + j];
            }
            mean /= f32(params.heads);
            sum += mean;
            maximum = max(maximum, mean);
        }
        report[importance + j] = sum;
        report[staying + j] = maximum;
        total += sum;
    }
    sums[thread] = total;
    workgroupBarrier();
    for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
        if thread < half {
            sums[thread] += sums[thread + half];
        }
        workgroupBarrier();
    }
    let bound = params.global_threshold * sums[0];
    for (var j = thread; j < params.tokens; j += WORKGROUP_SIZE) {
        let sum = report[importance + j];
        let maximum = report[staying + j];
        var stays = 1u;
        if params.is_dual == 1u {
            let is_low = sum < bound && maximum < params.individual_threshold;
            stays = select(1u, is_key[j], is_low);
            report[importance + j] = max(sum / max(bound, TINY), maximum / max(params.individual_threshold, TINY));
        }
        report[staying + j] = f32(stays);
    }
    storageBarrier();
    workgroupBarrier();
    if params.kept != UNKNOWN {
        for (var first = 0u; first < params.tokens; first += WORKGROUP_SIZE) {
            let j = first + thread;
            let own = min(j, params.tokens - 1u);
            let own_score = report[importance + own];
            let own_key = is_key[own];
            var before = 0u;
            for (var other = 0u; other < params.tokens; other += WORKGROUP_SIZE) {
                let i = min(other + thread, params.tokens - 1u);
                workgroupBarrier();
                scores[thread] = report[importance + i];
                counts[thread] = is_key[i];
                workgroupBarrier();
                for (var k = 0u; k < min(WORKGROUP_SIZE, params.tokens - other); k++) {
                    var is_before = scores[k] > own_score || (scores[k] == own_score && other + k < j);
                    if counts[k] != own_key {
                        is_before = counts[k] > own_key;
                    }
                    before += select(0u, 1u, is_before);
                }
            }
            if j < params.tokens {
                report[staying + j] = select(0.0, 1.0, before < params.kept);
            }
        }
        storageBarrier();
        workgroupBarrier();
    }
    var base = 0u;
    if params.previous != UNKNOWN {
        base = u32(report[params.previous + 1u]);
    }
    for (var i = thread; i < params.start - params.end; i += WORKGROUP_SIZE) {
        rows[base + i] = params.end + i;
    }
    base += params.start - params.end;
    var kept = 0u;
    for (var first = 0u; first < params.tokens; first += WORKGROUP_SIZE) {
        let j = first + thread;
        let own = min(j, params.tokens - 1u);
        let stays = u32(j < params.tokens && report[staying + own] > 0.5);
        // How many up to this thread stay: the sum over 1, 2, 4 … before it.
        workgroupBarrier();
        counts[thread] = stays;
        workgroupBarrier();
        for (var step = 1u; step < WORKGROUP_SIZE; step *= 2u) {
            var before = 0u;
            if thread >= step {
                before = counts[thread - step];
            }
            workgroupBarrier();
            counts[thread] += before;
            workgroupBarrier();
        }
        let place = kept + counts[thread] - 1u;
        // More than are to stay would, were a score no number: there is room for no more.
        if stays == 1u && (params.kept == UNKNOWN || place < params.kept) {
            // Never behind what is still to be read of the report.
            rows[base + place] = params.start + j;
            kept_is_key[place] = is_key[j];
            report[staying + place] = f32(params.start + j);
        }
        kept += counts[WORKGROUP_SIZE - 1u];
    }
    if params.kept != UNKNOWN {
        kept = min(kept, params.kept);
    }
    base += kept;
    let behind = params.start + params.tokens;
    for (var i = thread; i < params.all - behind; i += WORKGROUP_SIZE) {
        rows[base + i] = behind + i;
    }
    if thread == 0u {
        report[params.header] = f32(kept);
        report[params.header + 1u] = f32(base + params.all - behind);
    }
}
