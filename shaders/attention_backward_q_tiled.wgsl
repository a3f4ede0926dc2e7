// The gradient of attention with respect to the queries, in tiles of workgroup memory.
// math: delta = sum(dy * y); p = exp(score - lse), dp = dropout(dy v^T), ds = p * (dp - delta);
//   dq = scale * ds k (Dao, arXiv:2307.08691)
// shapes: dy, y and dq (B, Tq, H, D), k and v (B, Tk, Hk, D), rows of D = 4 DV together; statistics
//   (2, B, H, Tq): lse, delta; then the 4 words of the state
// launch: 64 invocations for 32 queries of a head; grid (Tq / 32, H, B)
// numerics: computed in f32, rounded once; overwrites dq and delta
// backward: none
// reference: ops/attention/cases.rs, and the composed form in ops/attention
#import common/attention_tiled

@group(0) @binding(AT_Y) var<storage, read> y: array<T>; // (B, Tq, H, DV)
@group(0) @binding(AT_STATISTICS) var<storage, read_write> statistics: array<u32>; // (2 * B * H * Tq + 4)
@group(0) @binding(AT_DQ) var<storage, read_write> dq: array<T>; // (B, Tq, H, DV) strided

@compute @workgroup_size(64)
fn attention_backward_q_tiled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let b = group.z;
    let h = group.y;
    let q0 = queries_of(group.x, 32u);
    let head = b * params.heads + h;
    let count = params.batch * params.heads * params.queries;
    let tx = column_of(local);
    let ty = row_of(local);
    var sums: array<vec4<f32>, 4u * DC>;
    var delta = vec4<f32>();
    var lse = vec4<f32>(NOTHING);
    let here = Tile(b, h, h / params.group, q0, 0u);
    for (var i = 0u; i < 4u; i++) {
        let t = q0 + ty + 8u * i;
        if (t < params.queries) {
            for (var c = tx; c < DV; c += 8u) {
                delta[i] += dot(load(DY, here, ty + 8u * i, c), vec4<f32>(y[place(params.y, b, t, h) / 4u + c]));
            }
            lse[i] = bitcast<f32>(statistics[head * params.queries + t]);
        }
    }
    delta = row_sums(delta, tx, ty);
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
        var dp = scores(DY, V, 1.0, tile, local);
        for (var i = 0u; i < 4u; i++) {
            var ds: vec4<f32>;
            for (var j = 0u; j < 4u; j++) {
#ifdef DROPOUT
                dp[i][j] = dp[i][j] * factor(ty + 8u * i, tx + 8u * j);
#endif
                let key = k0 + tx + 8u * j;
                let s = biased(x[i][j], seen(b, key), b, h, q0 + ty + 8u * i, key);
                ds[j] = weight(s, lse[i]) * (dp[i][j] - delta[i]);
            }
            wg_p[(ty + 8u * i) * ROW + tx] = ds;
        }
        add_weighted(&sums, K, tile, local);
    }
    for (var i = 0u; i < 4u; i++) {
        let t = q0 + ty + 8u * i;
        if (t < params.queries) {
            for (var d = 0u; d < DC; d++) {
                if (d * 8u + tx < DV) {
                    dq[place(params.dq, b, t, h) / 4u + d * 8u + tx] = T(sums[4u * d + i] * params.scale);
                }
            }
            if (tx == 0u) {
                statistics[count + head * params.queries + t] = bitcast<u32>(delta[i]);
            }
        }
    }
}
