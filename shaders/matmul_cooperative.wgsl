// Matrix product in an adapter's matrix units: cooperative matrices of SIDE x SIDE, factors from workgroup memory.
// math: as matmul
// shapes: as matmul; A_ALONG_M, B_ALONG_K, VEC_A, VEC_B as in common/matmul_load
// launch: 64 x 64 outputs a workgroup of four subgroups of WIDTH, 32 x 32 a subgroup, K in steps of 32, grid
//   (N / 64, M / 64, batch). All subgroups take the same path: their number appears in addresses alone
// numerics: products of the units' type H, to which a and b are rounded, sums in f32 in an order of the unit's own
// backward: as matmul
// reference: matmul
#import common/matmul_load

// Its factors' type.
alias F = H;

// Rows of workgroup memory are a few elements longer than needed: neighbouring rows lie in other banks.
const A_ROW: u32 = 40u;
const B_ROW: u32 = 72u;
const C_ROW: u32 = SIDE + 4u;
var<workgroup> wg_a: array<H, 64u * A_ROW>; // (M, K)
var<workgroup> wg_b: array<H, 32u * B_ROW>; // (K, N)
var<workgroup> wg_c: array<f32, 4u * SIDE * C_ROW>; // a matrix of each subgroup

@compute @workgroup_size(4 * WIDTH)
fn matmul_cooperative(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row0 = group.y * 64u;
    let col0 = group.x * 64u;
    let a_start = params.a_offset + batch_start(group.z, params.a_batch);
    let b_start = params.b_offset + batch_start(group.z, params.b_batch);
    let part = local / WIDTH;
    let sub_row = part / 2u * 32u;
    let sub_col = part % 2u * 32u;
#repeat i 32 / SIDE
#repeat j 32 / SIDE
    var c{i}_{j}: MatrixC;
#endrepeat
#endrepeat
    for (var k0 = 0u; k0 < params.k; k0 += 32u) {
        // 64 x 32 and 32 x 64 elements in fours: every invocation takes the same number.
#repeat i 128 / WIDTH
        stage_a(a_start, row0, k0, local + {i}u * 4u * WIDTH);
        stage_b(b_start, k0, col0, local + {i}u * 4u * WIDTH);
#endrepeat
        workgroupBarrier();
#repeat s 32 / SIDE
#repeat i 32 / SIDE
        let a{s}_{i} = coopLoadT<MatrixA>(&wg_a[(sub_row + {i}u * SIDE) * A_ROW + {s}u * SIDE], A_ROW);
        let b{s}_{i} = coopLoadT<MatrixB>(&wg_b[{s}u * SIDE * B_ROW + sub_col + {i}u * SIDE], B_ROW);
#endrepeat
#repeat i 32 / SIDE
#repeat j 32 / SIDE
        c{i}_{j} = coopMultiplyAdd(a{s}_{i}, b{s}_{j}, c{i}_{j});
#endrepeat
#endrepeat
#endrepeat
        workgroupBarrier();
    }
#repeat i 32 / SIDE
#repeat j 32 / SIDE
    coopStoreT(c{i}_{j}, &wg_c[part * SIDE * C_ROW], C_ROW);
    workgroupBarrier();
    finish(group.z, part, local % WIDTH, row0 + sub_row + {i}u * SIDE, col0 + sub_col + {j}u * SIDE);
    workgroupBarrier();
#endrepeat
#endrepeat
}

// Stores a subgroup's matrix from workgroup memory with what follows the sums.
fn finish(batch: u32, part: u32, lane: u32, row: u32, col: u32) {
    for (var e = lane; e < SIDE * SIDE / 4u; e += WIDTH) {
        let r = e / (SIDE / 4u);
        let q = e % (SIDE / 4u) * 4u;
        let at = (part * SIDE + r) * C_ROW + q;
        let sums = vec4<f32>(wg_c[at], wg_c[at + 1u], wg_c[at + 2u], wg_c[at + 3u]);
        put_four(batch, row + r, col + q, sums, shift_of(col + q));
    }
}

// Brings the e-th four of a's tile into workgroup memory; zeros beyond the edge.
fn stage_a(start: u32, row0: u32, k0: u32, e: u32) {
#ifdef A_ALONG_M
    let m = e % 16u * 4u;
    let k = e / 16u;
#else
    let m = e / 8u;
    let k = e % 8u * 4u;
#endif
    let v = load_a(start, row0 + m, k0 + k);
#repeat j 4
#ifdef A_ALONG_M
    wg_a[(m + {j}u) * A_ROW + k] = v[{j}];
#else
    wg_a[m * A_ROW + k + {j}u] = v[{j}];
#endif
#endrepeat
}

// The same of b.
fn stage_b(start: u32, k0: u32, col0: u32, e: u32) {
#ifdef B_ALONG_K
    let n = e / 8u;
    let k = e % 8u * 4u;
#else
    let n = e % 16u * 4u;
    let k = e / 16u;
#endif
    let v = load_b(start, k0 + k, col0 + n);
#repeat j 4
#ifdef B_ALONG_K
    wg_b[(k + {j}u) * B_ROW + n] = v[{j}];
#else
    wg_b[k * B_ROW + n + {j}u] = v[{j}];
#endif
#endrepeat
}
