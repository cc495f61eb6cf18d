// How alike the patches of each window are: the mean cosine over its pairs of rows (MustDrop, stage V).
// With unit rows u, the pairs need not be formed: 2 sum(u_i . u_j, i < j) = |sum(u)|^2 - sum(|u|^2).

struct Params {
    grid: u32,   // patches along a side
    window: u32, // patches along a side of a window, at most 4; edge windows may have fewer
    first: u32,  // row of the first patch
    width: u32,  // of a row
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>;          // [first + grid^2, width]
@group(0) @binding(1) var<storage, read_write> similarity: array<f32>; // [ceil(grid / window)^2]
@group(0) @binding(2) var<uniform> params: Params;

const WORKGROUP_SIZE: u32 = 64u;
const MOST_PATCHES: u32 = 16u; // of a window

var<workgroup> partial: array<f32, WORKGROUP_SIZE>;

fn workgroup_sum(value: f32, thread: u32) -> f32 {
    partial[thread] = value;
    workgroupBarrier();
    for (var half = WORKGROUP_SIZE / 2u; half > 0u; half /= 2u) {
        if thread < half {
            partial[thread] += partial[thread + half];
        }
        workgroupBarrier();
    }
    let sum = partial[0];
    workgroupBarrier();
    return sum;
}

// One workgroup a window.
@compute @workgroup_size(WORKGROUP_SIZE)
fn window_similarity(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let windows = (params.grid + params.window - 1u) / params.window;
    let top = group.x / windows * params.window;
    let left = group.x % windows * params.window;
    let rows = min(params.window, params.grid - top);
    let columns = min(params.window, params.grid - left);
    let patches = rows * columns;

    var start: array<u32, MOST_PATCHES>;
    var inverse_norm: array<f32, MOST_PATCHES>;
    var units = 0.0; // a row of zeros is like no other
    for (var i = 0u; i < patches; i++) {
        let patch_index = (top + i / columns) * params.grid + left + i % columns;
        start[i] = (params.first + patch_index) * params.width;
        var squares = 0.0;
        for (var column = thread; column < params.width; column += WORKGROUP_SIZE) {
            let value = x[start[i] + column];
            squares += value * value;
        }
        squares = workgroup_sum(squares, thread);
        inverse_norm[i] = select(0.0, inverseSqrt(squares), squares > 0.0);
        units += select(0.0, 1.0, squares > 0.0);
    }
    var squares = 0.0;
    for (var column = thread; column < params.width; column += WORKGROUP_SIZE) {
        var sum = 0.0;
        for (var i = 0u; i < patches; i++) {
            sum += x[start[i] + column] * inverse_norm[i];
        }
        squares += sum * sum;
    }
    squares = workgroup_sum(squares, thread);
    if thread == 0u {
        let pairs = f32(patches * (patches - 1u));
        similarity[group.x] = select(-1.0, (squares - units) / pairs, patches > 1u);
    }
}
