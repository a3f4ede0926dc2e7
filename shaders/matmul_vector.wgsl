// Matrix product of a few rows, such as one token's: memory traffic is all, so every element of b is read
// once, by neighbours.
// math: as matmul
// shapes: as matmul, M = ROWS, 8 at most; B_ALONG_K, VEC_A, VEC_B as in common/matmul_load; a is loaded along K
// launch: with B_ALONG_K 4 columns a workgroup of 64, whose invocations share K; else 4 columns an invocation
//   that takes all of K; grid (N / 4 or N / 256, 1, batch)
// numerics: f32 sums in a fixed order of their own, rounded once to the type of y
// backward: as matmul
// reference: matmul
#import common/matmul_load

alias F = f32;

// Columns of a workgroup.
#ifdef B_ALONG_K
const COLUMNS: u32 = 4u;
var<workgroup> wg_sums: array<vec4<f32>, 64>;

// The sum over the workgroup, in a fixed order.
fn total(sum: vec4<f32>, lane: u32) -> vec4<f32> {
    workgroupBarrier();
    wg_sums[lane] = sum;
    workgroupBarrier();
    for (var width = 32u; width > 0u; width = width / 2u) {
        if (lane < width) {
            wg_sums[lane] += wg_sums[lane + width];
        }
        workgroupBarrier();
    }
    return wg_sums[0];
}
#else
const COLUMNS: u32 = 256u;
#endif

@compute @workgroup_size(64)
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
#ifdef B_ALONG_K
    let col = number * COLUMNS;
    for (var k = lane * 4u; k < params.k; k += 256u) {
#repeat j 4
        let v{j} = load_b(b_start, k, col + {j}u);
#endrepeat
#repeat i ROWS
        let a{i} = load_a(a_start, {i}u, k);
#ifdef ROW_SUMS
        r{i} += a{i};
#endif
        c{i} += vec4<f32>(dot(a{i}, v0), dot(a{i}, v1), dot(a{i}, v2), dot(a{i}, v3));
#endrepeat
    }
#repeat i ROWS
    c{i} = total(c{i}, lane);
#ifdef ROW_SUMS
    r{i} = total(r{i}, lane);
#endif
#endrepeat
    let mine = lane == 0u;
#else
    let col = number * COLUMNS + lane * 4u;
    for (var k = 0u; k < params.k; k += 4u) {
#repeat j 4
        let v{j} = load_b(b_start, k + {j}u, col);
#endrepeat
#repeat i ROWS
        let a{i} = load_a(a_start, {i}u, k);
#ifdef ROW_SUMS
        r{i} += a{i};
#endif
        c{i} += a{i}.x * v0 + a{i}.y * v1 + a{i}.z * v2 + a{i}.w * v3;
#endrepeat
    }
    let mine = true;
#endif
    let shift = shift_of(col);
    if (mine) {
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
