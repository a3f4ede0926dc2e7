// Matrix product for GPUs: tiles of both operands in workgroup memory, a tile of registers an invocation,
// the next tiles on their way while these are multiplied.
// math: as matmul
// shapes: as matmul; A_ALONG_M, B_ALONG_K, VEC_A, VEC_B as in common/matmul_load
// launch: BM x BN outputs a workgroup, TM x TN an invocation, THREADS = BM / TM * BN / TN of them, K in
//   steps of BK; BM, BN, BK, TM, TN multiples of 4; grid (N / BN, M / BM, batch)
// numerics: as matmul
// backward: as matmul
// reference: matmul
#import common/matmul_load

alias F = f32;

// Rows of four, one more than needed: neighbours in K then lie in different banks.
const A_ROW: u32 = BM / 4u + 1u;
const B_ROW: u32 = BN / 4u + 1u;
var<workgroup> wg_a: array<vec4<f32>, BK * A_ROW>; // (K, M)
var<workgroup> wg_b: array<vec4<f32>, BK * B_ROW>; // (K, N)

@compute @workgroup_size(THREADS)
fn matmul_tiled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row0 = group.y * BM;
    let col0 = group.x * BN;
    let a_start = params.a_offset + batch_start(group.z, params.a_batch);
    let b_start = params.b_offset + batch_start(group.z, params.b_batch);
    let tx = local % (BN / TN);
    let ty = local / (BN / TN);
    // Where in the tiles an invocation's loads go: (K, M / 4) and (K, N / 4), or (M, K / 4) and (N, K / 4).
#repeat i BM * BK / 4 / THREADS
#ifdef A_ALONG_M
    let a_k{i} = (local + {i}u * THREADS) / (BM / 4u);
    let a_m{i} = (local + {i}u * THREADS) % (BM / 4u) * 4u;
#else
    let a_k{i} = (local + {i}u * THREADS) % (BK / 4u) * 4u;
    let a_m{i} = (local + {i}u * THREADS) / (BK / 4u);
#endif
    var next_a{i} = load_a(a_start, row0 + a_m{i}, a_k{i});
#endrepeat
#repeat i BN * BK / 4 / THREADS
#ifdef B_ALONG_K
    let b_k{i} = (local + {i}u * THREADS) % (BK / 4u) * 4u;
    let b_n{i} = (local + {i}u * THREADS) / (BK / 4u);
#else
    let b_k{i} = (local + {i}u * THREADS) / (BN / 4u);
    let b_n{i} = (local + {i}u * THREADS) % (BN / 4u) * 4u;
#endif
    var next_b{i} = load_b(b_start, b_k{i}, col0 + b_n{i});
#endrepeat
#repeat i TM
#repeat j TN / 4
    var c{i}_{j} = vec4<f32>();
#endrepeat
#endrepeat
#ifdef ROW_SUMS
#repeat i TM / 4
    var r{i} = vec4<f32>();
#endrepeat
#endif
    for (var k0 = 0u; k0 < params.k; k0 += BK) {
#repeat i BM * BK / 4 / THREADS
#ifdef A_ALONG_M
        wg_a[a_k{i} * A_ROW + a_m{i} / 4u] = next_a{i};
#else
#repeat j 4
        wg_a[(a_k{i} + {j}u) * A_ROW + a_m{i} / 4u][a_m{i} % 4u] = next_a{i}[{j}];
#endrepeat
#endif
#endrepeat
#repeat i BN * BK / 4 / THREADS
#ifdef B_ALONG_K
#repeat j 4
        wg_b[(b_k{i} + {j}u) * B_ROW + b_n{i} / 4u][b_n{i} % 4u] = next_b{i}[{j}];
#endrepeat
#else
        wg_b[b_k{i} * B_ROW + b_n{i} / 4u] = next_b{i};
#endif
#endrepeat
        workgroupBarrier();
        // Loads beyond the end give zeros.
        let ahead = k0 + BK;
#repeat i BM * BK / 4 / THREADS
        next_a{i} = load_a(a_start, row0 + a_m{i}, ahead + a_k{i});
#endrepeat
#repeat i BN * BK / 4 / THREADS
        next_b{i} = load_b(b_start, ahead + b_k{i}, col0 + b_n{i});
#endrepeat
        for (var k = 0u; k < BK; k++) {
#repeat i TM / 4
            let a{i} = wg_a[k * A_ROW + ty + {i}u * (BM / TM)];
#endrepeat
#repeat j TN / 4
            let b{j} = wg_b[k * B_ROW + tx + {j}u * (BN / TN)];
#endrepeat
#repeat i TM
#repeat j TN / 4
            c{i}_{j} += a{i / 4}[{i % 4}] * b{j};
#endrepeat
#endrepeat
#ifdef ROW_SUMS
#repeat i TM / 4
            r{i} += a{i};
#endrepeat
#endif
        }
        workgroupBarrier();
    }
#repeat j TN / 4
    let out_col{j} = col0 + ({j}u * (BN / TN) + tx) * 4u;
    let shift{j} = shift_of(out_col{j});
#repeat i TM
    put_four(group.z, row0 + ({i / 4}u * (BM / TM) + ty) * 4u + {i % 4}u, out_col{j}, c{i}_{j}, shift{j});
#endrepeat
#endrepeat
#ifdef ROW_SUMS
    if (group.x == 0u && tx == 0u) {
#repeat i TM
        put_row_sum(group.z, row0 + ({i / 4}u * (BM / TM) + ty) * 4u + {i % 4}u, r{i / 4}[{i % 4}]);
#endrepeat
    }
#endif
}
