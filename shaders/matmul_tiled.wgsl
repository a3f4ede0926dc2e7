// Matrix product for GPUs: tiles of both operands in workgroup memory, a tile of registers an invocation,
// the next tiles on their way while these are multiplied.
// math: as matmul
// shapes: as matmul; A_ALONG_M: neighbours of a lie along M, else along K; B_ALONG_K: of b along K, else N;
//   VEC_A, VEC_B: they are loaded as vectors, so sides, strides and starts are multiples of 4
// launch: BM x BN outputs a workgroup, TM x TN an invocation, THREADS = BM / TM * BN / TN of them, K in
//   steps of BK; BM, BN, BK, TM, TN multiples of 4; grid (N / BN, M / BM, batch)
// numerics: as matmul
// backward: as matmul
// reference: matmul
#import common/matmul

// Rows of four, one more than needed: neighbours in K then lie in different banks.
const A_ROW: u32 = BM / 4u + 1u;
const B_ROW: u32 = BN / 4u + 1u;
var<workgroup> wg_a: array<vec4<f32>, BK * A_ROW>; // (K, M)
var<workgroup> wg_b: array<vec4<f32>, BK * B_ROW>; // (K, N)

// Four neighbours of a from (row, k) on; zeros beyond the edge.
fn load_a(start: u32, row: u32, k: u32) -> vec4<f32> {
    var v = vec4<f32>();
    let at = start + row * params.a_row + k * params.a_col;
#ifdef VEC_A
    if (row < params.m && k < params.k) {
        v = vec4<f32>(a[at / 4u]);
    }
#else
#repeat j 4
#ifdef A_ALONG_M
    if (row + {j}u < params.m && k < params.k) {
        v[{j}] = f32(a[at + {j}u * params.a_row]);
    }
#else
    if (row < params.m && k + {j}u < params.k) {
        v[{j}] = f32(a[at + {j}u * params.a_col]);
    }
#endif
#endrepeat
#endif
    return v;
}

// Four neighbours of b from (k, col) on; zeros beyond the edge.
fn load_b(start: u32, k: u32, col: u32) -> vec4<f32> {
    var v = vec4<f32>();
    let at = start + k * params.b_row + col * params.b_col;
#ifdef VEC_B
    if (k < params.k && col < params.n) {
        v = vec4<f32>(b[at / 4u]);
    }
#else
#repeat j 4
#ifdef B_ALONG_K
    if (k + {j}u < params.k && col < params.n) {
        v[{j}] = f32(b[at + {j}u * params.b_row]);
    }
#else
    if (k < params.k && col + {j}u < params.n) {
        v[{j}] = f32(b[at + {j}u * params.b_col]);
    }
#endif
#endrepeat
#endif
    return v;
}

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
