// The gradients of attention with respect to keys and values, in an adapter's matrix units.
// math: p and ds as in attention_backward_q_cooperative; dv = dropout(p)^T dy, dk = scale * ds^T q, summed over the
//   query heads of a key head (Dao, arXiv:2307.08691)
// shapes: q and dy (B, Tq, H, D), k, v, dk and dv (B, Tk, Hk, D), f16, rows of D = 4 DV together; dk and dv in one
//   tensor; statistics (2, B, H, Tq): lse, delta; then the 4 words of the state
// launch: four subgroups of WIDTH for 4 ROWS keys of a head; grid (Tk / (4 ROWS), Hk, B)
// numerics: sums in f32 in the unit's own order, the adapter's exp (WGSL: within 3 + 2 |x| units), p and ds rounded to f16 for the products
//   with dy and q, the results rounded once; overwrites dk and dv
// backward: none
// reference: ops/attention/cases.rs, and the composed form in ops/attention
#import common/attention_cooperative

@group(0) @binding(AT_STATISTICS) var<storage, read> statistics: array<u32>; // (2 * B * H * Tq + 4)
@group(0) @binding(AT_DKV) var<storage, read_write> dkv: array<T>; // (B, Tk, Hk, DV) strided, twice

// Of the tile's queries.
var<workgroup> wg_lse: array<vec4<f32>, 8>;
var<workgroup> wg_delta: array<vec4<f32>, 8>;

// A statistic of 4 queries; NOTHING as the log-sum-exp of one beyond the edge.
fn four(first: u32, t: u32, beyond: f32) -> vec4<f32> {
    var x = vec4<f32>(beyond);
#repeat j 4
    if (t + {j}u < params.queries) {
        x[{j}] = bitcast<f32>(statistics[first + t + {j}u]);
    }
#endrepeat
    return x;
}

fn stage_statistics(tile: Tile, local: u32) {
    if (local < 8u) {
        let first = (tile.b * params.heads + tile.h) * params.queries;
        let count = params.batch * params.heads * params.queries;
        wg_lse[local] = four(first, tile.q0 + 4u * local, NOTHING);
        wg_delta[local] = four(count + first, tile.q0 + 4u * local, 0.0);
    }
}

@compute @workgroup_size(4 * WIDTH)
fn attention_backward_kv_cooperative(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let part = local / WIDTH;
    let first = part * ROWS;
    // Rows are keys here.
    let row = local / LANES;
    let share = local % LANES;
    var tile = Tile(group.z, group.y * params.group, group.y, 0u, group.x * KEYS);
#repeat i ROWS / SIDE
    stage_rows(K, {i}u, tile, local);
    workgroupBarrier();
#repeat d 4 * DV / SIDE
    let k{i}_{d} = coopLoadT<MatrixA>(&wg_x[x_at(part * SIDE, {d}u * SIDE)], X_ROW);
    var dk{i}_{d}: MatrixC;
#endrepeat
    workgroupBarrier();
    stage_rows(V, {i}u, tile, local);
    workgroupBarrier();
#repeat d 4 * DV / SIDE
    let v{i}_{d} = coopLoadT<MatrixA>(&wg_x[x_at(part * SIDE, {d}u * SIDE)], X_ROW);
    var dv{i}_{d}: MatrixC;
#endrepeat
    workgroupBarrier();
#endrepeat
    let key = tile.k0 + row;
    let shown = hidden(tile.b, key);
#ifdef DROPOUT
    let seed = random_state();
#endif
    let start = first_query(tile.k0);
    for (var h = tile.hk * params.group; h < (tile.hk + 1u) * params.group; h++) {
        for (var q0 = start; q0 < params.queries; q0 += QUERIES) {
            tile.h = h;
            tile.q0 = q0;
            stage(Q, 0u, tile, local);
            stage(DY, SECOND, tile, local);
            stage_statistics(tile, local);
#ifdef DROPOUT
            choose(seed, tile, local);
#endif
            workgroupBarrier();
#repeat j 32 / SIDE
#repeat i ROWS / SIDE
            var s{i}_{j}: MatrixC;
#endrepeat
#repeat d 4 * DV / SIDE
            let qt{j}_{d} = coopLoad<MatrixB>(&wg_x[x_at({j}u * SIDE, {d}u * SIDE)], X_ROW);
#repeat i ROWS / SIDE
            s{i}_{j} = coopMultiplyAdd(k{i}_{d}, qt{j}_{d}, s{i}_{j});
#endrepeat
#endrepeat
#repeat i ROWS / SIDE
            coopStoreT(s{i}_{j}, &wg_s[s_at(first + {i}u * SIDE, {j}u * SIDE)], S_ROW);
#endrepeat
#endrepeat
            workgroupBarrier();
#repeat v 8 * ROWS / WIDTH
            let c{v} = share + {v}u * LANES;
            let t{v} = q0 + 4u * c{v} + vec4<u32>(0u, 1u, 2u, 3u);
            let x{v} = wg_s[row * S_ROW + c{v}] * params.scale + shown;
            let p{v} = exp(biased_four(x{v}, tile, t{v}, vec4<u32>(key)) - wg_lse[c{v}]);
            var drop{v} = vec4<f32>(1.0);
#ifdef DROPOUT
#repeat c 4
            drop{v}[{c}] = factor(4u * c{v} + {c}u, row);
#endrepeat
#endif
            wg_p[row * P_ROW + c{v}] = T(p{v} * drop{v});
#endrepeat
            workgroupBarrier();
#repeat j 32 / SIDE
#repeat i ROWS / SIDE
            let p{i}_{j} = coopLoadT<MatrixA>(&wg_p[p_at(first + {i}u * SIDE, {j}u * SIDE)], P_ROW);
            var dp{i}_{j}: MatrixC;
#endrepeat
#repeat d 4 * DV / SIDE
            let dyt{j}_{d} = coopLoad<MatrixB>(&wg_x[SECOND + x_at({j}u * SIDE, {d}u * SIDE)], X_ROW);
            let dy{j}_{d} = coopLoadT<MatrixB>(&wg_x[SECOND + x_at({j}u * SIDE, {d}u * SIDE)], X_ROW);
#repeat i ROWS / SIDE
            dp{i}_{j} = coopMultiplyAdd(v{i}_{d}, dyt{j}_{d}, dp{i}_{j});
            dv{i}_{d} = coopMultiplyAdd(p{i}_{j}, dy{j}_{d}, dv{i}_{d});
#endrepeat
#endrepeat
#repeat i ROWS / SIDE
            coopStoreT(dp{i}_{j}, &wg_s[s_at(first + {i}u * SIDE, {j}u * SIDE)], S_ROW);
#endrepeat
#endrepeat
            workgroupBarrier();
#repeat v 8 * ROWS / WIDTH
            let dp{v} = wg_s[row * S_ROW + c{v}] * drop{v};
            wg_p[row * P_ROW + c{v}] = T(p{v} * (dp{v} - wg_delta[c{v}]));
#endrepeat
            workgroupBarrier();
#repeat j 32 / SIDE
#repeat i ROWS / SIDE
            let ds{i}_{j} = coopLoadT<MatrixA>(&wg_p[p_at(first + {i}u * SIDE, {j}u * SIDE)], P_ROW);
#endrepeat
#repeat d 4 * DV / SIDE
            let q{j}_{d} = coopLoadT<MatrixB>(&wg_x[x_at({j}u * SIDE, {d}u * SIDE)], X_ROW);
#repeat i ROWS / SIDE
            dk{i}_{d} = coopMultiplyAdd(ds{i}_{j}, q{j}_{d}, dk{i}_{d});
#endrepeat
#endrepeat
#endrepeat
            workgroupBarrier();
        }
    }
#repeat d 4 * DV / SIDE
#repeat i ROWS / SIDE
    coopStoreT(dk{i}_{d}, &wg_s[s_at(first + {i}u * SIDE, 0u)], S_ROW);
    coopStoreT(dv{i}_{d}, &wg_s[s_at(first + {i}u * SIDE, SIDE)], S_ROW);
#endrepeat
    workgroupBarrier();
    if (key < params.keys) {
        let dk_at = place(params.dk, tile.b, key, tile.hk) / 4u + {d}u * SIDE / 4u;
        let dv_at = place(params.dv, tile.b, key, tile.hk) / 4u + {d}u * SIDE / 4u;
        for (var c = local % LANES; c < SIDE / 4u; c += LANES) {
            dkv[dk_at + c] = T(wg_s[row * S_ROW + c] * params.scale);
            dkv[dv_at + c] = T(wg_s[row * S_ROW + SIDE / 4u + c]);
        }
    }
    workgroupBarrier();
#endrepeat
}
