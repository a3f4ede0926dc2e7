// The gradients of attention with respect to keys and values, in tiles of workgroup memory.
// math: p and ds as in attention_backward_q_tiled; dv = dropout(p)^T dy, dk = scale * ds^T q, summed over the
//   query heads of a key head (Dao, arXiv:2307.08691)
// shapes: q and dy (B, Tq, H, D), k, v, dk and dv (B, Tk, Hk, D), rows of D = 4 DV together; dk and dv in one
//   tensor; statistics (2, B, H, Tq): lse, delta; then the 4 words of the state
// launch: 64 invocations for 32 keys of a head; grid (Tk / 32, Hk, B)
// numerics: computed in f32, rounded once; overwrites dk and dv
// backward: none
// reference: ops/attention/cases.rs, and the composed form in ops/attention
#import common/attention_tiled

@group(0) @binding(AT_STATISTICS) var<storage, read> statistics: array<u32>; // (2 * B * H * Tq + 4)
@group(0) @binding(AT_DKV) var<storage, read_write> dkv: array<T>; // (B, Tk, Hk, DV) strided, twice

@compute @workgroup_size(64)
fn attention_backward_kv_tiled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let b = group.z;
    let hk = group.y;
    let k0 = group.x * 32u;
    let count = params.batch * params.heads * params.queries;
    let tx = column_of(local);
    let ty = row_of(local);
    var dk: array<vec4<f32>, 4u * DC>;
    var dv: array<vec4<f32>, 4u * DC>;
#ifdef DROPOUT
    let seed = random_state();
#endif
    let start = first_query(k0);
    for (var h = hk * params.group; h < (hk + 1u) * params.group; h++) {
        let head = b * params.heads + h;
        for (var q0 = start; q0 < params.queries; q0 += 32u) {
            // Rows are keys here, columns queries.
            let tile = Tile(b, h, hk, q0, k0);
#ifdef DROPOUT
            choose(seed, head * params.queries + q0, k0, local);
#endif
            var x = scores(K, Q, params.scale, tile, local);
            var dp = scores(V, DY, 1.0, tile, local);
            for (var i = 0u; i < 4u; i++) {
                let key = k0 + ty + 8u * i;
                let shown = seen(b, key);
                var p: vec4<f32>;
                for (var j = 0u; j < 4u; j++) {
                    let t = q0 + tx + 8u * j;
                    let row = head * params.queries + min(t, params.queries - 1u);
                    let s = biased(x[i][j], shown && t < params.queries, b, h, t, key);
                    let w = weight(s, bitcast<f32>(statistics[row]));
#ifdef DROPOUT
                    let drop = factor(tx + 8u * j, ty + 8u * i);
#else
                    let drop = 1.0;
#endif
                    p[j] = w * drop;
                    x[i][j] = w * (dp[i][j] * drop - bitcast<f32>(statistics[count + row]));
                }
                wg_p[(ty + 8u * i) * ROW + tx] = p;
            }
            add_weighted(&dv, DY, tile, local);
            workgroupBarrier();
            for (var i = 0u; i < 4u; i++) {
                wg_p[(ty + 8u * i) * ROW + tx] = x[i];
            }
            add_weighted(&dk, Q, tile, local);
        }
    }
    for (var i = 0u; i < 4u; i++) {
        let t = k0 + ty + 8u * i;
        if (t < params.keys) {
            for (var d = 0u; d < DC; d++) {
                let c = d * 8u + tx;
                if (c < DV) {
                    dkv[place(params.dk, b, t, hk) / 4u + c] = T(dk[4u * d + i] * params.scale);
                    dkv[place(params.dv, b, t, hk) / 4u + c] = T(dv[4u * d + i]);
                }
            }
        }
    }
}
