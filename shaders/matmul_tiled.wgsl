// Matrix product for GPUs: tiles of both operands in workgroup memory, a tile of registers an invocation,
// the next tiles are loaded while the present ones are multiplied.
// math: as matmul
// shapes: as matmul; A_ALONG_M, B_ALONG_K, VEC_A, VEC_B as in common/matmul_load
// launch: BM x BN outputs a workgroup, TM x TN an invocation, THREADS = BM / TM * BN / TN of them, K in
//   steps of BK; BM, BN, BK, TM, TN multiples of 4; grid (N / BN, M / BM, batch)
// numerics: as matmul
// backward: as matmul
// reference: matmul
#import common/lanes
#import common/matmul_load

alias F = f32;

// Rows of four, one more than needed: neighbours in K then lie in different banks.
const A_ROW: u32 = BM / 4u + 1u;
const B_ROW: u32 = BN / 4u + 1u;
var<workgroup> wg_a: array<vec4<f32>, BK * A_ROW>; // (K, M)
var<workgroup> wg_b: array<vec4<f32>, BK * B_ROW>; // (K, N)

// Column and row of an invocation among those of the workgroup.
fn place_of(local: u32) -> vec2<u32> {
    let across = BN / TN;
    if (across % 8u == 0u && BM / TM % 4u == 0u) {
        let part = local / 32u;
        let low = vec2<u32>(lane_x(local % 32u), lane_y(local % 32u));
        return low + vec2<u32>(8u, 4u) * vec2<u32>(part % (across / 8u), part / (across / 8u));
    }
    return vec2<u32>(local % across, local / across);
}

// Which four along K, and of which row, the e-th load of a tile loads. 32 neighbours bring two of each of 16 rows:
// whole sectors of memory, and turned into columns they lie in different banks.
fn four_of(e: u32, rows: u32) -> vec2<u32> {
    let fours = BK / 4u;
    if (fours % 2u == 0u && rows % 16u == 0u) {
        let pair = e / 32u;
        let pairs = fours / 2u;
        return vec2<u32>(e % 2u, e / 2u % 16u) + vec2<u32>(2u, 16u) * vec2<u32>(pair % pairs, pair / pairs);
    }
    return vec2<u32>(e % fours, e / fours);
}

@compute @workgroup_size(THREADS)
fn matmul_tiled(
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
    let place = place_of(local);
    let tx = place.x;
    let ty = place.y;
    // The positions in the tiles of an invocation's loads: (K, M / 4) and (K, N / 4), or (M, K / 4) and (N, K / 4).
#repeat i BM * BK / 4 / THREADS
#ifdef A_ALONG_M
    let a_k{i} = (local + {i}u * THREADS) / (BM / 4u);
    let a_m{i} = (local + {i}u * THREADS) % (BM / 4u) * 4u;
#else
    let a_from{i} = four_of(local + {i}u * THREADS, BM);
    let a_k{i} = a_from{i}.x * 4u;
    let a_m{i} = a_from{i}.y;
#endif
    var next_a{i} = load_a(a_start, row0 + a_m{i}, a_k{i});
#endrepeat
#repeat i BN * BK / 4 / THREADS
#ifdef B_ALONG_K
    let b_from{i} = four_of(local + {i}u * THREADS, BN);
    let b_k{i} = b_from{i}.x * 4u;
    let b_n{i} = b_from{i}.y;
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
        // Four steps of K in each round: their positions differ by constants, which cost nothing.
        for (var k = 0u; k < BK; k += 4u) {
            let a_at = k * A_ROW + ty;
            let b_at = k * B_ROW + tx;
#repeat s 4
#repeat i TM / 4
            let a{s}_{i} = wg_a[a_at + {s}u * A_ROW + {i}u * (BM / TM)];
#endrepeat
#repeat j TN / 4
            let b{s}_{j} = wg_b[b_at + {s}u * B_ROW + {j}u * (BN / TN)];
#endrepeat
#repeat i TM
#repeat j TN / 4
            c{i}_{j} += a{s}_{i / 4}[{i % 4}] * b{s}_{j};
#endrepeat
#endrepeat
#ifdef ROW_SUMS
#repeat i TM / 4
            r{i} += a{s}_{i};
#endrepeat
#endif
#endrepeat
        }
        workgroupBarrier();
    }
#repeat j TN / 4
    let out_col{j} = col0 + ({j}u * (BN / TN) + tx) * 4u;
    let shift{j} = shift_of(out_col{j});
#repeat i TM
    put_four(batch, row0 + ({i / 4}u * (BM / TM) + ty) * 4u + {i % 4}u, out_col{j}, c{i}_{j}, shift{j});
#endrepeat
#endrepeat
#ifdef ROW_SUMS
    if (tile.x == 0u && tx == 0u) {
#repeat i TM
        put_row_sum(batch, row0 + ({i / 4}u * (BM / TM) + ty) * 4u + {i % 4}u, r{i / 4}[{i % 4}]);
#endrepeat
    }
#endif
}
