// Matrix product in an adapter's matrix units: cooperative matrices of SIDE x SIDE, factors from workgroup memory,
// the next tiles are loaded while the present ones are multiplied.
// math: as matmul
// shapes: as matmul; A_ALONG_M, B_ALONG_K, VEC_A, VEC_B as in common/matmul_load
// launch: BM x BN outputs a workgroup, TM x TN a subgroup of WIDTH, THREADS = BM / TM * BN / TN * WIDTH, K in
//   steps of BK, all multiples of SIDE; grid (N / BN, M / BM, batch). All subgroups run the same code: their
//   number appears only in addresses. ROW_SUMS needs A_ALONG_M and THREADS a multiple of BM / 4, so that an
//   invocation always loads from the same four rows
// numerics: products of the units' type H, to which a and b are rounded, sums in f32 in the unit's own order
// backward: as matmul
// reference: matmul
#import common/matmul_units

@compute @workgroup_size(THREADS)
fn matmul_cooperative(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let batch = params.first_batch + group.z;
    let tiles = tiles_of(BM, BN);
    let number = tile_number(group, groups);
    let tile = tile_in_bands(number, tiles);
    let row0 = tile.y * BM;
    let col0 = tile.x * BN;
    let a_start = params.a_offset + batch_start(batch, params.a_batch);
    let b_start = params.b_offset + batch_start(batch, params.b_batch);
    let part = local / WIDTH;
    let sub_row = part / (BN / TN) * TM;
    let sub_col = part % (BN / TN) * TN;
    // What this invocation loads: (M, K) or (K, M), (N, K) or (K, N).
#repeat i BM * BK / 4 / THREADS
#ifdef A_ALONG_M
    let a_at{i} = four_at(local + {i}u * THREADS, BM);
    var next_a{i} = load_a(a_start, row0 + a_at{i}.y, a_at{i}.x);
#else
    let a_at{i} = four_at(local + {i}u * THREADS, BK);
    var next_a{i} = load_a(a_start, row0 + a_at{i}.x, a_at{i}.y);
#endif
#endrepeat
#repeat i BN * BK / 4 / THREADS
#ifdef B_ALONG_K
    let b_at{i} = four_at(local + {i}u * THREADS, BK);
    var next_b{i} = load_b(b_start, b_at{i}.y, col0 + b_at{i}.x);
#else
    let b_at{i} = four_at(local + {i}u * THREADS, BN);
    var next_b{i} = load_b(b_start, b_at{i}.x, col0 + b_at{i}.y);
#endif
#endrepeat
#repeat i TM / SIDE
#repeat j TN / SIDE
    var c{i}_{j}: MatrixC;
#endrepeat
#endrepeat
#ifdef ROW_SUMS
    var r = vec4<f32>();
#endif
    for (var k0 = 0u; k0 < params.k; k0 += BK) {
#repeat i BM * BK / 4 / THREADS
        store_tile(a_at{i}.x * A_ROW + a_at{i}.y, next_a{i});
#ifdef ROW_SUMS
        r += vec4<f32>(next_a{i});
#endif
#endrepeat
#repeat i BN * BK / 4 / THREADS
        store_tile(A_SIZE + b_at{i}.x * B_ROW + b_at{i}.y, next_b{i});
#endrepeat
        workgroupBarrier();
        // Loads beyond the end give zeros.
        let ahead = k0 + BK;
#repeat i BM * BK / 4 / THREADS
#ifdef A_ALONG_M
        next_a{i} = load_a(a_start, row0 + a_at{i}.y, ahead + a_at{i}.x);
#else
        next_a{i} = load_a(a_start, row0 + a_at{i}.x, ahead + a_at{i}.y);
#endif
#endrepeat
#repeat i BN * BK / 4 / THREADS
#ifdef B_ALONG_K
        next_b{i} = load_b(b_start, ahead + b_at{i}.y, col0 + b_at{i}.x);
#else
        next_b{i} = load_b(b_start, ahead + b_at{i}.x, col0 + b_at{i}.y);
#endif
#endrepeat
        // coopLoadT reads rows of the matrix, coopLoad its columns.
#repeat s BK / SIDE
#repeat i TM / SIDE
#ifdef A_ALONG_M
        let a{s}_{i} = coopLoad<MatrixA>(&wg_x[({s}u * SIDE * A_ROW + sub_row + {i}u * SIDE) / TOGETHER], A_ROW / TOGETHER);
#else
        let a{s}_{i} = coopLoadT<MatrixA>(&wg_x[((sub_row + {i}u * SIDE) * A_ROW + {s}u * SIDE) / TOGETHER], A_ROW / TOGETHER);
#endif
#endrepeat
#repeat j TN / SIDE
#ifdef B_ALONG_K
        let b{s}_{j} = coopLoad<MatrixB>(&wg_x[(A_SIZE + (sub_col + {j}u * SIDE) * B_ROW + {s}u * SIDE) / TOGETHER], B_ROW / TOGETHER);
#else
        let b{s}_{j} = coopLoadT<MatrixB>(&wg_x[(A_SIZE + {s}u * SIDE * B_ROW + sub_col + {j}u * SIDE) / TOGETHER], B_ROW / TOGETHER);
#endif
#endrepeat
#repeat i TM / SIDE
#repeat j TN / SIDE
        c{i}_{j} = coopMultiplyAdd(a{s}_{i}, b{s}_{j}, c{i}_{j});
#endrepeat
#endrepeat
#endrepeat
        workgroupBarrier();
    }
#repeat i TM / SIDE
#repeat j TN / SIDE
    coopStoreT(c{i}_{j}, &wg_c[part * SIDE * SIDE / TOGETHER], SIDE / TOGETHER);
    workgroupBarrier();
    finish(batch, part, local % WIDTH, row0 + sub_row + {i}u * SIDE, col0 + sub_col + {j}u * SIDE);
    workgroupBarrier();
#endrepeat
#endrepeat
#ifdef ROW_SUMS
    wg_r[local] = r;
    workgroupBarrier();
    if (tile.x == 0u && local < BM / 4u) {
        for (var s = local + BM / 4u; s < THREADS; s += BM / 4u) {
            r += wg_r[s];
        }
#repeat j 4
        put_row_sum(batch, row0 + 4u * local + {j}u, r[{j}]);
#endrepeat
    }
#endif
}
