// The dual-attention filter (MustDrop, stage P): a vision token is dropped if text as a whole and every single
// text token pay it little attention, unless it is protected. The importance says by how much it stays.

struct Params {
    tokens: u32,                // vision tokens
    global_threshold: f32,      // of the sum, relative to the sum over all tokens
    individual_threshold: f32,  // of the maximum
}

@group(0) @binding(0) var<storage, read_write> attention_sum: array<f32>; // [tokens]
@group(0) @binding(1) var<storage, read_write> attention_max: array<f32>; // [tokens]
@group(0) @binding(2) var<storage, read_write> is_key: array<u32>;        // [tokens]: 1 in the key token set
@group(0) @binding(3) var<storage, read_write> importance: array<f32>;    // [tokens]: at least 1 is kept
@group(0) @binding(4) var<storage, read_write> keep: array<u32>;          // [tokens]: 1 stays
@group(0) @binding(5) var<uniform> params: Params;

const WORKGROUP_SIZE: u32 = 256u;
const TINY: f32 = 1.0e-30; // thresholds of 0 divide by this

var<workgroup> partial: array<f32, WORKGROUP_SIZE>;

// One workgroup in all.
@compute @workgroup_size(WORKGROUP_SIZE)
fn dual_attention(@builtin(local_invocation_index) thread: u32) {
    var sum = 0.0;
    for (var j = thread; j < params.tokens; j += WORKGROUP_SIZE) {
        sum += attention_sum[j];
    }
    partial[thread] = sum;
    workgroupBarrier();
    for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
        if thread < half {
            partial[thread] += partial[thread + half];
        }
        workgroupBarrier();
    }
    let global_bound = params.global_threshold * partial[0];
    for (var j = thread; j < params.tokens; j += WORKGROUP_SIZE) {
        let is_low = attention_sum[j] < global_bound && attention_max[j] < params.individual_threshold;
        keep[j] = select(1u, is_key[j], is_low);
        importance[j] = max(
            attention_sum[j] / max(global_bound, TINY),
            attention_max[j] / max(params.individual_threshold, TINY),
        );
    }
}
