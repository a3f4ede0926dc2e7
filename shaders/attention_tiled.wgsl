// Attention without a matrix of scores, in tiles of workgroup memory.
// math: y = dropout(softmax(scale * q k^T + bias, masked)) v, the softmax summed as the keys go by (Dao,
//   arXiv:2307.08691): a larger maximum scales what was summed so far; lse = log(sum(exp(scores)))
// shapes: q and y (B, Tq, H, D), k and v (B, Tk, Hk, D), rows of D = 4 DV together; query head h reads key
//   head h / group; statistics (2, B, H, Tq): lse, and the place of delta; then the 4 words of the state
// launch: 64 invocations for 32 queries of a head; grid (Tq / 32, H, B)
// numerics: computed in f32, precise_exp, y rounded once; a query without keys gives 0
// backward: attention_backward_q_tiled, attention_backward_kv_tiled
// reference: ops/attention/cases.rs, and the composed form in ops/attention
#import common/attention_tiled

#ifdef DROPOUT
@group(0) @binding(AT_STATE) var<storage, read> state: array<u32>; // (4)
#endif
@group(0) @binding(AT_Y) var<storage, read_write> y: array<T>; // (B, Tq, H, DV)
@group(0) @binding(AT_STATISTICS) var<storage, read_write> statistics: array<u32>; // (2 * B * H * Tq + 4)

@compute @workgroup_size(64)
fn attention_tiled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let b = group.z;
    let h = group.y;
    let q0 = queries_of(group.x, 32u);
    let head = b * params.heads + h;
    let tx = column_of(local);
    let ty = row_of(local);
    var sums: array<vec4<f32>, 4u * DC>;
    var top = vec4<f32>(MASKED);
    // Of this invocation's keys only, until the end.
    var total = vec4<f32>();
#ifdef DROPOUT
    let seed = random_state();
#endif
    let end = keys_before(q0 + 32u);
    for (var k0 = 0u; k0 < end; k0 += 32u) {
        let tile = Tile(b, h, h / params.group, q0, k0);
#ifdef DROPOUT
        choose(seed, head * params.queries + q0, k0, local);
#endif
        var x = scores(Q, K, params.scale, tile, local);
        var higher = top;
        for (var i = 0u; i < 4u; i++) {
            for (var j = 0u; j < 4u; j++) {
                let key = k0 + tx + 8u * j;
                x[i][j] = biased(x[i][j], seen(b, key), b, h, q0 + ty + 8u * i, key);
                higher[i] = max(higher[i], x[i][j]);
            }
        }
        higher = row_tops(higher, tx, ty);
        for (var i = 0u; i < 4u; i++) {
            let shrink = precise_exp(top[i] - higher[i]);
            let s = x[i];
            let m = higher[i];
            var p = vec4<f32>(weight(s.x, m), weight(s.y, m), weight(s.z, m), weight(s.w, m));
            total[i] = total[i] * shrink + ((p.x + p.y) + (p.z + p.w));
#ifdef DROPOUT
            for (var j = 0u; j < 4u; j++) {
                p[j] = p[j] * factor(ty + 8u * i, tx + 8u * j);
            }
#endif
            wg_p[(ty + 8u * i) * ROW + tx] = p;
            for (var d = 0u; d < DC; d++) {
                sums[4u * d + i] = sums[4u * d + i] * shrink;
            }
        }
        top = higher;
        add_weighted(&sums, V, tile, local);
    }
    total = row_sums(total, tx, ty);
    for (var i = 0u; i < 4u; i++) {
        let t = q0 + ty + 8u * i;
        if (t < params.queries) {
            let inverse = select(1.0 / total[i], 0.0, total[i] == 0.0);
            for (var d = 0u; d < DC; d++) {
                if (d * 8u + tx < DV) {
                    y[place(params.y, b, t, h) / 4u + d * 8u + tx] = T(sums[4u * d + i] * inverse);
                }
            }
            if (tx == 0u) {
                let lse = select(top[i] + precise_log(total[i]), NOTHING, total[i] == 0.0);
                statistics[head * params.queries + t] = bitcast<u32>(lse);
            }
        }
    }
#ifdef DROPOUT
    if (head == 0u && q0 == 0u && local == 0u) {
        leave_state(seed);
    }
#endif
}
