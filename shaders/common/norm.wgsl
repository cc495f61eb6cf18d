// What norms share: their sizes, and sums over a row.

struct Params {
    rows: u32,
    width: u32, // of a row
    eps: f32,
}

const SHARES: u32 = 128u; // threads a row: a power of two; with 1 nobody waits, which software adapters pay for dearly
const ROWS: u32 = 1u;     // of a workgroup

var<workgroup> partial: array<f32, SHARES * ROWS>;

// The sum of the values of a row's threads.
fn sum_of_row(value: f32, local: vec3<u32>) -> f32 {
    if SHARES == 1u {
        return value;
    }
    let thread = local.y * SHARES + local.x;
    partial[thread] = value;
    workgroupBarrier();
    for (var half = SHARES / 2u; half > 0u; half /= 2u) {
        if local.x < half {
            partial[thread] += partial[thread + half];
        }
        workgroupBarrier();
    }
    let sum = partial[local.y * SHARES];
    workgroupBarrier();
    return sum;
}
