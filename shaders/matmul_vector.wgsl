// Matrix product of a few rows, such as one token's. Memory traffic dominates, so every element of b is read once, with
// neighbouring invocations on neighbouring elements.
// math: as matmul
// shapes: as matmul, M = ROWS, 8 at most; B_ALONG_K, VEC_A, VEC_B as in common/matmul_load; a is loaded along K
// launch: COLUMNS a workgroup of THREADS: with B_ALONG_K 4 of 64, which divide K, else 64 of 256, of which 16 divide
//   K; grid (N / COLUMNS, 1, batch)
// numerics: f32 sums in a fixed order that differs from matmul's, rounded once to the type of y
// backward: as matmul
// reference: matmul
#import common/matmul_load

alias F = f32;

// Columns and invocations of a workgroup. FOURS neighbours take four columns each, and with others the next slice of K.
#ifdef B_ALONG_K
const COLUMNS: u32 = 4u;
const THREADS: u32 = 64u;
#else
const COLUMNS: u32 = 64u;
const THREADS: u32 = 256u;
#endif
const FOURS: u32 = COLUMNS / 4u;
const SLICES: u32 = THREADS / FOURS;
var<workgroup> wg_sums: array<vec4<f32>, THREADS>;

// The sum over the slices of K, in a fixed order: right in the first FOURS lanes.
fn total(sum: vec4<f32>, lane: u32) -> vec4<f32> {
    workgroupBarrier();
    wg_sums[lane] = sum;
    workgroupBarrier();
    for (var width = THREADS / 2u; width >= FOURS; width = width / 2u) {
        if (lane < width) {
            wg_sums[lane] += wg_sums[lane + width];
        }
        workgroupBarrier();
    }
    return wg_sums[lane % FOURS];
}

@compute @workgroup_size(THREADS)
fn matmul_vector(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let batch = params.first_batch + group.z;
    let number = tile_number(group, groups);
    let a_start = params.a_offset + batch_start(batch, params.a_batch);
    let b_start = params.b_offset + batch_start(batch, params.b_batch);
#repeat i ROWS
    var c{i} = vec4<f32>();
#ifdef ROW_SUMS
    var r{i} = vec4<f32>();
#endif
#endrepeat
    let col = number * COLUMNS + lane % FOURS * 4u;
    for (var k = lane / FOURS * 4u; k < params.k; k += 4u * SLICES) {
#repeat j 4
#ifdef B_ALONG_K
        let v{j} = load_b(b_start, k, col + {j}u);
#else
        let v{j} = load_b(b_start, k + {j}u, col);
#endif
#endrepeat
#repeat i ROWS
        let a{i} = load_a(a_start, {i}u, k);
#ifdef ROW_SUMS
        r{i} += a{i};
#endif
#ifdef B_ALONG_K
        c{i} += vec4<f32>(dot(a{i}, v0), dot(a{i}, v1), dot(a{i}, v2), dot(a{i}, v3));
#else
        c{i} += a{i}.x * v0 + a{i}.y * v1 + a{i}.z * v2 + a{i}.w * v3;
#endif
#endrepeat
    }
#repeat i ROWS
    c{i} = total(c{i}, lane);
#ifdef ROW_SUMS
    r{i} = total(r{i}, lane);
#endif
#endrepeat
    let shift = shift_of(col);
    if (lane < FOURS) {
#repeat i ROWS
        put_four(batch, {i}u, col, c{i}, shift);
#endrepeat
    }
#ifdef ROW_SUMS
    if (number == 0u && lane == 0u) {
#repeat i ROWS
        put_row_sum(batch, {i}u, (r{i}.x + r{i}.y) + (r{i}.z + r{i}.w));
#endrepeat
    }
#endif
}
