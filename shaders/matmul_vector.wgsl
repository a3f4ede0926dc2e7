// Matrix product of a few rows, such as one token's: memory traffic is all, so every element of b is read
// once, by neighbours.
// math: as matmul
// shapes: as matmul, M = ROWS, 8 at most; B_ALONG_K as in matmul_tiled; VEC_A and VEC_B: loaded as vectors along
//   what they lie contiguous along, a along K
// launch: with B_ALONG_K 4 columns a workgroup of 64, whose invocations share K; else 4 columns an invocation
//   that takes all of K; grid (N / 4 or N / 256, 1, batch)
// numerics: f32 sums in a fixed order of their own, rounded once to the type of y
// backward: as matmul
// reference: matmul
#import common/matmul

// Four neighbours of row `row` of a along K; zeros beyond the end.
fn load_a(start: u32, row: u32, k: u32) -> vec4<f32> {
    var v = vec4<f32>();
    let at = start + row * params.a_row + k * params.a_col;
#ifdef VEC_A
    if (k < params.k) {
        v = vec4<f32>(a[at / 4u]);
    }
#else
#repeat j 4
    if (k + {j}u < params.k) {
        v[{j}] = f32(a[at + {j}u * params.a_col]);
    }
#endrepeat
#endif
    return v;
}

#ifdef B_ALONG_K
var<workgroup> wg_sums: array<vec4<f32>, 64>;

// Four neighbours of column `col` of b along K; zeros beyond the edge.
fn load_b(start: u32, k: u32, col: u32) -> vec4<f32> {
    var v = vec4<f32>();
    let at = start + k * params.b_row + col * params.b_col;
#ifdef VEC_B
    if (k < params.k && col < params.n) {
        v = vec4<f32>(b[at / 4u]);
    }
#else
#repeat j 4
    if (k + {j}u < params.k && col < params.n) {
        v[{j}] = f32(b[at + {j}u * params.b_row]);
    }
#endrepeat
#endif
    return v;
}

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
// Four columns of row `k` of b; zeros beyond the edge.
fn load_b(start: u32, k: u32, col: u32) -> vec4<f32> {
    var v = vec4<f32>();
    let at = start + k * params.b_row + col * params.b_col;
#ifdef VEC_B
    if (k < params.k && col < params.n) {
        v = vec4<f32>(b[at / 4u]);
    }
#else
#repeat j 4
    if (k < params.k && col + {j}u < params.n) {
        v[{j}] = f32(b[at + {j}u * params.b_col]);
    }
#endrepeat
#endif
    return v;
}
#endif

@compute @workgroup_size(64)
fn matmul_vector(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let a_start = params.a_offset + batch_start(group.z, params.a_batch);
    let b_start = params.b_offset + batch_start(group.z, params.b_batch);
#repeat i ROWS
    var c{i} = vec4<f32>();
#ifdef ROW_SUMS
    var r{i} = vec4<f32>();
#endif
#endrepeat
#ifdef B_ALONG_K
    let col = group.x * 4u;
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
    let col = (group.x * 64u + lane) * 4u;
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
        put_four(group.z, {i}u, col, c{i}, shift);
#endrepeat
    }
#ifdef ROW_SUMS
    if (group.x == 0u && lane == 0u) {
#repeat i ROWS
        put_row_sum(group.z, {i}u, (r{i}.x + r{i}.y) + (r{i}.z + r{i}.w));
#endrepeat
    }
#endif
}
