// Matrix product for subgroups of 8 on Mesa's software adapter: operands as textures (a texel load costs
// a tenth of a storage load there), values spread by shuffles, no workgroup memory, no barrier.
// math: as matmul
// shapes: as matmul; one stride of each operand is 1, the other a multiple of 4, so are K and all starts
//   (A_ALONG_M: a lies contiguous along M, else along K; B_ALONG_K: b along K, else along N)
// launch: 32 x 32 outputs a subgroup of 8, one subgroup a workgroup, grid (N / 32, M / 32, batch)
// numerics: as matmul
// backward: as matmul
// reference: matmul
#import common/matmul

// Accumulator i holds 4 columns of row `row_of(i)`; lane l owns columns 4 l .. 4 l + 3 of the tile.
var<private> c0: vec4<f32>;
var<private> c1: vec4<f32>;
var<private> c2: vec4<f32>;
var<private> c3: vec4<f32>;
var<private> c4: vec4<f32>;
var<private> c5: vec4<f32>;
var<private> c6: vec4<f32>;
var<private> c7: vec4<f32>;
var<private> c8: vec4<f32>;
var<private> c9: vec4<f32>;
var<private> c10: vec4<f32>;
var<private> c11: vec4<f32>;
var<private> c12: vec4<f32>;
var<private> c13: vec4<f32>;
var<private> c14: vec4<f32>;
var<private> c15: vec4<f32>;
var<private> c16: vec4<f32>;
var<private> c17: vec4<f32>;
var<private> c18: vec4<f32>;
var<private> c19: vec4<f32>;
var<private> c20: vec4<f32>;
var<private> c21: vec4<f32>;
var<private> c22: vec4<f32>;
var<private> c23: vec4<f32>;
var<private> c24: vec4<f32>;
var<private> c25: vec4<f32>;
var<private> c26: vec4<f32>;
var<private> c27: vec4<f32>;
var<private> c28: vec4<f32>;
var<private> c29: vec4<f32>;
var<private> c30: vec4<f32>;
var<private> c31: vec4<f32>;

fn row_of(i: u32) -> u32 {
#ifdef A_ALONG_M
    return (i % 8u) * 4u + i / 8u;
#else
    return i;
#endif
}

fn texel_a(i: u32) -> vec4<f32> {
    return textureLoad(a, vec2<u32>(i & 1023u, i >> 10u), 0);
}

fn texel_b(i: u32) -> vec4<f32> {
    return textureLoad(b, vec2<u32>(i & 1023u, i >> 10u), 0);
}

// Adds the product of one column of a (component i / 8 of lane i % 8) and one row of b (4 columns a lane).
fn rank_one(s: vec4<f32>, v: vec4<f32>) {
    c0 += subgroupShuffle(s.x, 0u) * v;
    c1 += subgroupShuffle(s.x, 1u) * v;
    c2 += subgroupShuffle(s.x, 2u) * v;
    c3 += subgroupShuffle(s.x, 3u) * v;
    c4 += subgroupShuffle(s.x, 4u) * v;
    c5 += subgroupShuffle(s.x, 5u) * v;
    c6 += subgroupShuffle(s.x, 6u) * v;
    c7 += subgroupShuffle(s.x, 7u) * v;
    c8 += subgroupShuffle(s.y, 0u) * v;
    c9 += subgroupShuffle(s.y, 1u) * v;
    c10 += subgroupShuffle(s.y, 2u) * v;
    c11 += subgroupShuffle(s.y, 3u) * v;
    c12 += subgroupShuffle(s.y, 4u) * v;
    c13 += subgroupShuffle(s.y, 5u) * v;
    c14 += subgroupShuffle(s.y, 6u) * v;
    c15 += subgroupShuffle(s.y, 7u) * v;
    c16 += subgroupShuffle(s.z, 0u) * v;
    c17 += subgroupShuffle(s.z, 1u) * v;
    c18 += subgroupShuffle(s.z, 2u) * v;
    c19 += subgroupShuffle(s.z, 3u) * v;
    c20 += subgroupShuffle(s.z, 4u) * v;
    c21 += subgroupShuffle(s.z, 5u) * v;
    c22 += subgroupShuffle(s.z, 6u) * v;
    c23 += subgroupShuffle(s.z, 7u) * v;
    c24 += subgroupShuffle(s.w, 0u) * v;
    c25 += subgroupShuffle(s.w, 1u) * v;
    c26 += subgroupShuffle(s.w, 2u) * v;
    c27 += subgroupShuffle(s.w, 3u) * v;
    c28 += subgroupShuffle(s.w, 4u) * v;
    c29 += subgroupShuffle(s.w, 5u) * v;
    c30 += subgroupShuffle(s.w, 6u) * v;
    c31 += subgroupShuffle(s.w, 7u) * v;
}

@compute @workgroup_size(8)
fn matmul_subgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row0 = group.y * 32u;
    let col = group.x * 32u + lane * 4u;
    let a0 = params.a_offset + batch_start(group.z, params.a_batch);
    let b0 = params.b_offset + batch_start(group.z, params.b_batch);
    // Rows and columns beyond the edge repeat the last one; they are not stored.
    let last_row = params.m - 1u;
    let last_col = params.n - 1u;
#ifdef A_ALONG_M
    let a_at = (a0 + min(row0 + lane * 4u, last_row & ~3u)) / 4u;
    let a_step = params.a_col / 4u;
#else
    let a_at0 = (a0 + min(row0 + lane, last_row) * params.a_row) / 4u;
    let a_at1 = (a0 + min(row0 + lane + 8u, last_row) * params.a_row) / 4u;
    let a_at2 = (a0 + min(row0 + lane + 16u, last_row) * params.a_row) / 4u;
    let a_at3 = (a0 + min(row0 + lane + 24u, last_row) * params.a_row) / 4u;
#endif
#ifdef B_ALONG_K
    let b_at0 = (b0 + min(col, last_col) * params.b_col) / 4u;
    let b_at1 = (b0 + min(col + 1u, last_col) * params.b_col) / 4u;
    let b_at2 = (b0 + min(col + 2u, last_col) * params.b_col) / 4u;
    let b_at3 = (b0 + min(col + 3u, last_col) * params.b_col) / 4u;
#else
    let b_at = (b0 + min(col, last_col & ~3u)) / 4u;
    let b_step = params.b_row / 4u;
#endif
    for (var k = 0u; k < params.k; k += 4u) {
#ifdef A_ALONG_M
        let s0 = texel_a(a_at + k * a_step);
        let s1 = texel_a(a_at + (k + 1u) * a_step);
        let s2 = texel_a(a_at + (k + 2u) * a_step);
        let s3 = texel_a(a_at + (k + 3u) * a_step);
#else
        let t0 = texel_a(a_at0 + k / 4u);
        let t1 = texel_a(a_at1 + k / 4u);
        let t2 = texel_a(a_at2 + k / 4u);
        let t3 = texel_a(a_at3 + k / 4u);
        let s0 = vec4<f32>(t0.x, t1.x, t2.x, t3.x);
        let s1 = vec4<f32>(t0.y, t1.y, t2.y, t3.y);
        let s2 = vec4<f32>(t0.z, t1.z, t2.z, t3.z);
        let s3 = vec4<f32>(t0.w, t1.w, t2.w, t3.w);
#endif
#ifdef B_ALONG_K
        let u0 = texel_b(b_at0 + k / 4u);
        let u1 = texel_b(b_at1 + k / 4u);
        let u2 = texel_b(b_at2 + k / 4u);
        let u3 = texel_b(b_at3 + k / 4u);
        rank_one(s0, vec4<f32>(u0.x, u1.x, u2.x, u3.x));
        rank_one(s1, vec4<f32>(u0.y, u1.y, u2.y, u3.y));
        rank_one(s2, vec4<f32>(u0.z, u1.z, u2.z, u3.z));
        rank_one(s3, vec4<f32>(u0.w, u1.w, u2.w, u3.w));
#else
        rank_one(s0, texel_b(b_at + k * b_step));
        rank_one(s1, texel_b(b_at + (k + 1u) * b_step));
        rank_one(s2, texel_b(b_at + (k + 2u) * b_step));
        rank_one(s3, texel_b(b_at + (k + 3u) * b_step));
#endif
    }
#ifdef BIAS
    let shift = vec4<f32>(bias_at(col), bias_at(col + 1u), bias_at(col + 2u), bias_at(col + 3u));
#else
    let shift = vec4<f32>();
#endif
    store(group.z, row0 + row_of(0u), col, c0, shift);
    store(group.z, row0 + row_of(1u), col, c1, shift);
    store(group.z, row0 + row_of(2u), col, c2, shift);
    store(group.z, row0 + row_of(3u), col, c3, shift);
    store(group.z, row0 + row_of(4u), col, c4, shift);
    store(group.z, row0 + row_of(5u), col, c5, shift);
    store(group.z, row0 + row_of(6u), col, c6, shift);
    store(group.z, row0 + row_of(7u), col, c7, shift);
    store(group.z, row0 + row_of(8u), col, c8, shift);
    store(group.z, row0 + row_of(9u), col, c9, shift);
    store(group.z, row0 + row_of(10u), col, c10, shift);
    store(group.z, row0 + row_of(11u), col, c11, shift);
    store(group.z, row0 + row_of(12u), col, c12, shift);
    store(group.z, row0 + row_of(13u), col, c13, shift);
    store(group.z, row0 + row_of(14u), col, c14, shift);
    store(group.z, row0 + row_of(15u), col, c15, shift);
    store(group.z, row0 + row_of(16u), col, c16, shift);
    store(group.z, row0 + row_of(17u), col, c17, shift);
    store(group.z, row0 + row_of(18u), col, c18, shift);
    store(group.z, row0 + row_of(19u), col, c19, shift);
    store(group.z, row0 + row_of(20u), col, c20, shift);
    store(group.z, row0 + row_of(21u), col, c21, shift);
    store(group.z, row0 + row_of(22u), col, c22, shift);
    store(group.z, row0 + row_of(23u), col, c23, shift);
    store(group.z, row0 + row_of(24u), col, c24, shift);
    store(group.z, row0 + row_of(25u), col, c25, shift);
    store(group.z, row0 + row_of(26u), col, c26, shift);
    store(group.z, row0 + row_of(27u), col, c27, shift);
    store(group.z, row0 + row_of(28u), col, c28, shift);
    store(group.z, row0 + row_of(29u), col, c29, shift);
    store(group.z, row0 + row_of(30u), col, c30, shift);
    store(group.z, row0 + row_of(31u), col, c31, shift);
}

#ifdef BIAS
fn bias_at(col: u32) -> f32 {
    return f32(bias[params.bias_offset + min(col, params.n - 1u)]);
}
#endif

fn activate(v: vec4<f32>) -> vec4<f32> {
#ifdef GELU
    return vec4<f32>(gelu(v.x), gelu(v.y), gelu(v.z), gelu(v.w));
#else
    return v;
#endif
}

fn store(batch: u32, row: u32, col: u32, sums: vec4<f32>, shift: vec4<f32>) {
    if (row >= params.m) {
        return;
    }
    let before = params.alpha * sums + shift;
    let after = activate(before);
    let at = (batch * params.m + row) * params.n + col;
#ifdef VEC4
    if (col < params.n) {
        y[at / 4u] = T(after);
#ifdef GELU
        pre[at / 4u] = T(before);
#endif
    }
#else
    for (var j = 0u; j < 4u; j++) {
        if (col + j < params.n) {
            y[at + j] = T(after[j]);
#ifdef GELU
            pre[at + j] = T(before[j]);
#endif
        }
    }
#endif
}
