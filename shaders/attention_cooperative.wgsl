// Attention without a matrix of scores, in an adapter's matrix units.
// math: y = dropout(softmax(scale * q k^T + bias, masked)) v, the softmax summed as the keys go by (Dao,
//   arXiv:2307.08691): a maximum larger by LAG scales what was summed so far; lse = log(sum(exp(scores)))
// shapes: q and y (B, Tq, H, D), k and v (B, Tk, Hk, D), f16, rows of D = 4 DV together; query head h reads key
//   head h / group; statistics (2, B, H, Tq): lse, and the place of delta; then the 4 words of the state
// launch: four subgroups of WIDTH for 4 ROWS queries of a head; grid (Tq / (4 ROWS), H, B)
// numerics: sums in f32 in the unit's own order, the adapter's exp (WGSL: within 3 + 2 |x| units), weights rounded to f16 for the second
//   product, y rounded once; a query without keys gives 0
// backward: attention_backward_q_cooperative, attention_backward_kv_cooperative
// reference: ops/attention/cases.rs, and the composed form in ops/attention
#import common/attention_cooperative

#ifdef DROPOUT
@group(0) @binding(AT_STATE) var<storage, read> state: array<u32>; // (4)
#endif
@group(0) @binding(AT_Y) var<storage, read_write> y: array<T>; // (B, Tq, H, DV)
@group(0) @binding(AT_STATISTICS) var<storage, read_write> statistics: array<u32>; // (2 * B * H * Tq + 4)

// Scaling the sums means a way through workgroup memory, for nobody knows where a row lies in the units. So the
// maximum may lag behind the scores: weights grow to exp(LAG) at most, far inside f16, and behind the first keys
// a row's maximum hardly ever grows so much. Two passes over the keys would compute all scores twice instead.
const LAG: f32 = 5.0;
// Subtracted instead of the maximum where no key was seen: hidden scores still give 0.
const LOW: f32 = -1.0e30;
// Whether sums of any row of each subgroup need scaling.
var<workgroup> wg_grown: array<u32, 4>;

@compute @workgroup_size(4 * WIDTH)
fn attention_cooperative(
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
    var y{i}_{d}: MatrixC;
#endrepeat
    workgroupBarrier();
#endrepeat
    var top = MASKED;
    // Of this invocation's keys only, until the end.
    var total = 0.0;
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
        var higher = vec4<f32>(MASKED);
#repeat v 8 * ROWS / WIDTH
        let x{v} = scores(row, share + {v}u * LANES, tile);
        higher = max(higher, x{v});
#endrepeat
        let row_max = row_top(max(max(higher.x, higher.y), max(higher.z, higher.w)));
        var shrink = 1.0;
        let grows = row_max > top + LAG;
        let any_grows = subgroupAny(grows && total > 0.0);
        if (local % WIDTH == 0u) {
            wg_grown[part] = u32(any_grows);
        }
        if (grows) {
            shrink = exp(max(top, LOW) - row_max);
            top = row_max;
        }
        total *= shrink;
#repeat v 8 * ROWS / WIDTH
        var p{v} = exp(x{v} - max(top, LOW));
        total += (p{v}.x + p{v}.y) + (p{v}.z + p{v}.w);
#ifdef DROPOUT
#repeat c 4
        p{v}[{c}] *= factor(row, 4u * (share + {v}u * LANES) + {c}u);
#endrepeat
#endif
        wg_p[row * P_ROW + share + {v}u * LANES] = T(p{v});
#endrepeat
        let grown = workgroupUniformLoad(&wg_grown);
        if ((grown[0] | grown[1] | grown[2] | grown[3]) != 0u) {
#repeat d 4 * DV / SIDE
#repeat i ROWS / SIDE
            coopStoreT(y{i}_{d}, &wg_s[s_at(first + {i}u * SIDE, 0u)], S_ROW);
#endrepeat
            workgroupBarrier();
            for (var c = local % LANES; c < SIDE / 4u; c += LANES) {
                wg_s[row * S_ROW + c] *= shrink;
            }
            workgroupBarrier();
#repeat i ROWS / SIDE
            y{i}_{d} = coopLoadT<MatrixC>(&wg_s[s_at(first + {i}u * SIDE, 0u)], S_ROW);
#endrepeat
            workgroupBarrier();
#endrepeat
        }
#repeat j 32 / SIDE
#repeat i ROWS / SIDE
        let p{i}_{j} = coopLoadT<MatrixA>(&wg_p[p_at(first + {i}u * SIDE, {j}u * SIDE)], P_ROW);
#endrepeat
#repeat d 4 * DV / SIDE
        let v{j}_{d} = coopLoadT<MatrixB>(&wg_x[SECOND + x_at({j}u * SIDE, {d}u * SIDE)], X_ROW);
#repeat i ROWS / SIDE
        y{i}_{d} = coopMultiplyAdd(p{i}_{j}, v{j}_{d}, y{i}_{d});
#endrepeat
#endrepeat
#endrepeat
        workgroupBarrier();
    }
    total = row_sum(total);
    let t = tile.q0 + row;
    let nothing = top == MASKED;
    let inverse = select(1.0 / total, 0.0, nothing);
#repeat d 4 * DV / SIDE
#repeat i ROWS / SIDE
    coopStoreT(y{i}_{d}, &wg_s[s_at(first + {i}u * SIDE, 0u)], S_ROW);
#endrepeat
    workgroupBarrier();
    if (t < params.queries) {
        let at = place(params.y, tile.b, t, tile.h) / 4u + {d}u * SIDE / 4u;
        for (var c = local % LANES; c < SIDE / 4u; c += LANES) {
            y[at + c] = T(wg_s[row * S_ROW + c] * inverse);
        }
    }
    workgroupBarrier();
#endrepeat
    let head = tile.b * params.heads + tile.h;
    if (t < params.queries && local % LANES == 0u) {
        let lse = select(top + precise_log(total), NOTHING, nothing);
        statistics[head * params.queries + t] = bitcast<u32>(lse);
    }
#ifdef DROPOUT
    if (head == 0u && tile.q0 == 0u && local == 0u) {
        leave_state(seed);
    }
#endif
}
