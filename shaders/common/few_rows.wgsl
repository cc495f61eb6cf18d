// What products of a few rows share: the rows of a workgroup, and the norm before them.

const ROWS: u32 = 1u;       // of a workgroup: 1, 2 or 4
const HAS_NORM: u32 = 0u;   // 0 or 1
const THREADS: u32 = 256u;  // of a workgroup

// Where up to four rows begin in x; a row too many is computed from the last, and not stored.
fn starts_from(first_row: u32) -> vec4<u32> {
    let rows = min(vec4(first_row) + vec4(0u, 1u, 2u, 3u), vec4(params.rows - 1u));
    return rows * (params.inputs / 4u);
}

fn square(start: u32, quad: u32) -> f32 {
    return dot(x[start + quad], x[start + quad]);
}

// What the rows are multiplied with in an RMSNorm, but for its weights; 1 without.
fn norm_factors(starts: vec4<u32>, thread: u32) -> vec4<f32> {
    if HAS_NORM == 0u {
        return vec4(1.0);
    }
    var squares = vec4(0.0);
    for (var quad = thread; quad < params.inputs / 4u; quad += THREADS) {
        squares.x += square(starts.x, quad);
        if ROWS > 1u {
            squares.y += square(starts.y, quad);
        }
        if ROWS > 2u {
            squares.z += square(starts.z, quad);
            squares.w += square(starts.w, quad);
        }
    }
    partial[thread] = squares;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if thread < half {
            partial[thread] += partial[thread + half];
        }
        workgroupBarrier();
    }
    let factors = inverseSqrt(partial[0] / f32(params.inputs) + params.eps);
    workgroupBarrier();
    return factors;
}
