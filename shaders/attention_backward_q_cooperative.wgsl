// The gradient of attention with respect to the queries, in an adapter's matrix units.
// math: delta = sum(dy * y); p = exp(score - lse), dp = dropout(dy v^T), ds = p * (dp - delta);
//   dq = scale * ds k (Dao, arXiv:2307.08691)
// shapes: dy, y and dq (B, Tq, H, D), k and v (B, Tk, Hk, D), f16, rows of D = 4 DV together; statistics
//   (2, B, H, Tq): lse, delta; then the 4 words of the state
// launch: four subgroups of WIDTH for 4 ROWS queries of a head; grid (Tq / (4 ROWS), H, B)
// numerics: sums in f32 in the unit's own order, the adapter's exp (WGSL: within 3 + 2 |x| units), ds rounded to f16 for the last product,
//   dq rounded once; overwrites dq and delta
// backward: none
// reference: ops/attention/cases.rs, and the composed form in ops/attention
#import common/attention_cooperative

@group(0) @binding(AT_Y) var<storage, read> y: array<T>; // (B, Tq, H, DV)
@group(0) @binding(AT_STATISTICS) var<storage, read_write> statistics: array<u32>; // (2 * B * H * Tq + 4)
@group(0) @binding(AT_DQ) var<storage, read_write> dq: array<T>; // (B, Tq, H, DV) strided

@compute @workgroup_size(4 * WIDTH)
fn attention_backward_q_cooperative(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let part = local / WIDTH;
    let first = part * ROWS;
    let row = local / LANES;
    let share = local % LANES;
    var tile = Tile(group.z, group.y, group.y / params.group, queries_of(group.x, QUERIES), 0u);
#repeat i ROWS / SIDE
    stage_rows(Q, {i}u, tile, local);
    workgroupBarrier();
#repeat d 4 * DV / SIDE
    let q{i}_{d} = coopLoadT<MatrixA>(&wg_x[x_at(part * SIDE, {d}u * SIDE)], X_ROW);
    var dq{i}_{d}: MatrixC;
#endrepeat
    workgroupBarrier();
    stage_rows(DY, {i}u, tile, local);
    workgroupBarrier();
#repeat d 4 * DV / SIDE
    let dy{i}_{d} = coopLoadT<MatrixA>(&wg_x[x_at(part * SIDE, {d}u * SIDE)], X_ROW);
#endrepeat
    workgroupBarrier();
#endrepeat
    let head = tile.b * params.heads + tile.h;
    let count = params.batch * params.heads * params.queries;
    let t = tile.q0 + row;
    var lse = NOTHING;
    var delta = 0.0;
    if (t < params.queries) {
        let at = place(params.y, tile.b, t, tile.h) / 4u;
        for (var c = local % LANES; c < DV; c += LANES) {
            delta += dot(vec4<f32>(load(DY, tile, row, c)), vec4<f32>(y[at + c]));
        }
        lse = bitcast<f32>(statistics[head * params.queries + t]);
    }
    delta = row_sum(delta);
#ifdef DROPOUT
    let seed = random_state();
#endif
    let end = keys_before(tile.q0 + QUERIES);
    for (var k0 = 0u; k0 < end; k0 += KEYS) {
        tile.k0 = k0;
        stage(K, 0u, tile, local);
        stage(V, SECOND, tile, local);
        stage_hidden(tile, local);
#ifdef DROPOUT
        choose(seed, tile, local);
#endif
        workgroupBarrier();
#repeat j 32 / SIDE
#repeat i ROWS / SIDE
        var s{i}_{j}: MatrixC;
#endrepeat
#repeat d 4 * DV / SIDE
        let k{j}_{d} = coopLoad<MatrixB>(&wg_x[x_at({j}u * SIDE, {d}u * SIDE)], X_ROW);
#repeat i ROWS / SIDE
        s{i}_{j} = coopMultiplyAdd(q{i}_{d}, k{j}_{d}, s{i}_{j});
#endrepeat
#endrepeat
#repeat i ROWS / SIDE
        coopStoreT(s{i}_{j}, &wg_s[s_at(first + {i}u * SIDE, {j}u * SIDE)], S_ROW);
#endrepeat
#endrepeat
        workgroupBarrier();
#repeat v 8 * ROWS / WIDTH
        let p{v} = exp(scores(row, share + {v}u * LANES, tile) - lse);
#endrepeat
        workgroupBarrier();
#repeat j 32 / SIDE
#repeat i ROWS / SIDE
        var dp{i}_{j}: MatrixC;
#endrepeat
#repeat d 4 * DV / SIDE
        let v{j}_{d} = coopLoad<MatrixB>(&wg_x[SECOND + x_at({j}u * SIDE, {d}u * SIDE)], X_ROW);
#repeat i ROWS / SIDE
        dp{i}_{j} = coopMultiplyAdd(dy{i}_{d}, v{j}_{d}, dp{i}_{j});
#endrepeat
#endrepeat
#repeat i ROWS / SIDE
        coopStoreT(dp{i}_{j}, &wg_s[s_at(first + {i}u * SIDE, {j}u * SIDE)], S_ROW);
#endrepeat
#endrepeat
        workgroupBarrier();
#repeat v 8 * ROWS / WIDTH
        var dp{v} = wg_s[row * S_ROW + share + {v}u * LANES];
#ifdef DROPOUT
#repeat c 4
        dp{v}[{c}] *= factor(row, 4u * (share + {v}u * LANES) + {c}u);
#endrepeat
#endif
        wg_p[row * P_ROW + share + {v}u * LANES] = T(p{v} * (dp{v} - delta));
#endrepeat
        workgroupBarrier();
#repeat j 32 / SIDE
#repeat i ROWS / SIDE
        let ds{i}_{j} = coopLoadT<MatrixA>(&wg_p[p_at(first + {i}u * SIDE, {j}u * SIDE)], P_ROW);
#endrepeat
#repeat d 4 * DV / SIDE
        let kt{j}_{d} = coopLoadT<MatrixB>(&wg_x[x_at({j}u * SIDE, {d}u * SIDE)], X_ROW);
#repeat i ROWS / SIDE
        dq{i}_{d} = coopMultiplyAdd(ds{i}_{j}, kt{j}_{d}, dq{i}_{d});
#endrepeat
#endrepeat
#endrepeat
        workgroupBarrier();
    }
#repeat d 4 * DV / SIDE
#repeat i ROWS / SIDE
    coopStoreT(dq{i}_{d}, &wg_s[s_at(first + {i}u * SIDE, 0u)], S_ROW);
#endrepeat
    workgroupBarrier();
    if (t < params.queries) {
        let at = place(params.dq, tile.b, t, tile.h) / 4u + {d}u * SIDE / 4u;
        for (var c = local % LANES; c < SIDE / 4u; c += LANES) {
            dq[at + c] = T(wg_s[row * S_ROW + c] * params.scale);
        }
    }
    workgroupBarrier();
#endrepeat
    if (t < params.queries && local % LANES == 0u) {
        statistics[count + head * params.queries + t] = bitcast<u32>(delta);
    }
}
