// Attention of a few rows to a layer's cache, for decoding: each workgroup a row and head, and 64 columns of the cache, so
// that a single row still fills a device (FlashDecoding); heads have at most 256 components. attention_join adds up what the workgroups leave.

@group(0) @binding(4) var<storage, read_write> sums: array<vec4<f32>>;  // [rows, heads, tiles, head_dim / 4]
@group(0) @binding(5) var<storage, read_write> totals: array<vec2<f32>>; // [rows, heads, tiles]: highest score, sum of weights

const WORKGROUP_SIZE: u32 = 128u;
const COLUMNS: u32 = 64u; // of a tile
const SHARES: u32 = 8u;   // threads a score
const AT_ONCE: u32 = WORKGROUP_SIZE / SHARES;

var<workgroup> row_query: array<vec4<f32>, COLUMNS>;
var<workgroup> parts: array<f32, COLUMNS * SHARES>;
var<workgroup> scores: array<f32, COLUMNS>;
var<workgroup> shares: array<vec4<f32>, WORKGROUP_SIZE>;

// One workgroup a tile; the y axis of the grid is the head, the z axis the row.
@compute @workgroup_size(WORKGROUP_SIZE)
fn attention_split(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let head = group.y;
    let row = group.z;
    let quads = params.head_dim / 4u;
    let places = places_of(head);
    let first = group.x * COLUMNS;
    let visible = visible_to(row);
    let hidden = first_to(row);
    // Of the tile; 0 behind what the row sees and before it.
    let count = select(min(COLUMNS, max(visible, first) - first), 0u, first + COLUMNS <= hidden);
    if thread < quads {
        row_query[thread] = query[(row * places.query_stride + head) * quads + thread] * params.scale;
    }
    workgroupBarrier();
    for (var turn = 0u; turn < COLUMNS / AT_ONCE; turn++) {
        let column = turn * AT_ONCE + thread / SHARES;
        var products = vec4(0.0);
        if column < count {
            let at = ((first + column) * places.key_stride + places.first_key) * quads;
            for (var i = thread % SHARES; i < quads; i += SHARES) {
                products = fma(row_query[i], key[at + i], products);
            }
        }
        parts[column * SHARES + thread % SHARES] = sum_of(products);
    }
    workgroupBarrier();
    if thread < COLUMNS {
        var score = 0.0;
        for (var share = 0u; share < SHARES; share++) {
            score += parts[thread * SHARES + share];
        }
        scores[thread] = select(LOWEST, score, thread < count && first + thread >= hidden);
    }
    workgroupBarrier();
    var highest = LOWEST;
    for (var column = 0u; column < COLUMNS; column++) {
        highest = max(highest, scores[column]);
    }
    // A column's weight is computed by every share of its components: cheaper than another barrier.
    let own_shares = WORKGROUP_SIZE / quads;
    let share = thread / quads;
    var sum = vec4(0.0);
    if share < own_shares {
        for (var column = share; column < count; column += own_shares) {
            let at = ((first + column) * places.key_stride + places.first_value) * quads;
            sum = fma(vec4(exp(scores[column] - highest)), value[at + thread % quads], sum);
        }
    }
    shares[thread] = sum;
    workgroupBarrier();
    let place = (row * params.heads + head) * groups.x + group.x;
    if thread < quads {
        for (var other = 1u; other < own_shares; other++) {
            sum += shares[other * quads + thread];
        }
        sums[place * quads + thread] = sum;
    }
    if thread == 0u {
        var total = 0.0;
        for (var column = 0u; column < count; column++) {
            total += exp(scores[column] - highest);
        }
        totals[place] = vec2(highest, total);
    }
}
