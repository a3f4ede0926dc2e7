// The gradients of attention with respect to keys and values, for subgroups of 8 on Mesa's software adapter.
// math: p and ds as in attention_backward_q_subgroup; dv = dropout(p)^T dy, dk = scale * ds^T q, summed over
//   the query heads of a key head (Dao, arXiv:2307.08691)
// shapes: q and dy (B, Tq, H, D), k, v, dk and dv (B, Tk, Hk, D), rows of D = 4 DV together; dk and dv in one
//   tensor; statistics (2, B, H, Tq): lse, delta; then the 4 words of the state
// launch: one subgroup for 8 R keys of a head, R to a lane; grid (Tk / 8 R, Hk, B)
// numerics: f32, rounded once; overwrites dk and dv
// backward: none
// reference: ops/attention/cases.rs, and the composed form in ops/attention
#import common/attention_subgroup

@group(0) @binding(AT_STATISTICS) var<storage, read> statistics: array<u32>; // (2 * B * H * Tq + 4)
@group(0) @binding(AT_DKV) var<storage, read_write> dkv: array<T>; // (B, Tk, Hk, DV) strided, twice

@compute @workgroup_size(8)
fn attention_backward_kv_subgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let b = group.z;
    let k0 = group.x * 8u * R;
    let count = params.batch * params.heads * params.queries;
    var key: array<vec4<f32>, R * DV>;
    var value: array<vec4<f32>, R * DV>;
    var dk: array<vec4<f32>, R * DV>;
    var dv: array<vec4<f32>, R * DV>;
    var shown: array<bool, R>;
    for (var r = 0u; r < R; r++) {
        let t = min(k0 + 8u * r + lane, params.keys - 1u);
        let k_at = place(params.k, b, t, group.y) / 4u;
        let v_at = place(params.v, b, t, group.y) / 4u;
        for (var c = 0u; c < DV; c++) {
            key[r * DV + c] = texel_k(k_at + c) * params.scale;
            value[r * DV + c] = texel_v(v_at + c);
            dk[r * DV + c] = vec4<f32>();
            dv[r * DV + c] = vec4<f32>();
        }
        shown[r] = seen(b, k0 + 8u * r + lane);
    }
#ifdef DROPOUT
    let seed = random_state();
#endif
    let start = first_query(k0);
    // The shuffle keeps Mesa from compiling the kernel again for every length, as in matmul_subgroup.
    let end = subgroupShuffle(params.queries, 0u);
    for (var h = group.y * params.group; h < (group.y + 1u) * params.group; h++) {
        let head = b * params.heads + h;
        for (var q0 = start; q0 < end; q0 += 8u) {
            // Each lane loads one of 8 queries; a query beyond the last adds nothing.
            let mine = min(q0 + lane, params.queries - 1u);
            let q_at = place(params.q, b, mine, h) / 4u;
            let dy_at = place(params.dy, b, mine, h) / 4u;
            var query: Row;
            var slope: Row;
            for (var c = 0u; c < DV; c++) {
                query[c] = texel_q(q_at + c);
                slope[c] = texel_dy(dy_at + c);
            }
            let row = head * params.queries + mine;
            let lse = select(NOTHING, bitcast<f32>(statistics[row]), q0 + lane < params.queries);
            let delta = bitcast<f32>(statistics[count + row]);
#ifdef DROPOUT
            var bits = 0u;
            for (var r = 0u; r < R; r++) {
                bits |= (mask_bits(seed, row, k0 + 8u * r) & 255u) << (8u * r);
            }
#endif
            for (var part = 0u; part < 8u; part += 2u) {
                var p: array<vec2<f32>, R>;
                var ds: array<vec2<f32>, R>;
                for (var i = 0u; i < 2u; i++) {
                    // The queries rotate among the lanes: each lane now holds the query of lane ^ j.
                    let j = part + i;
                    let row_lse = subgroupShuffleXor(lse, j);
                    let row_delta = subgroupShuffleXor(delta, j);
#ifdef DROPOUT
                    let row_bits = subgroupShuffleXor(bits, j);
#endif
                    var x: array<f32, R>;
                    var dp: array<f32, R>;
                    for (var c = 0u; c < DV; c++) {
                        let near = subgroupShuffleXor(query[c], j);
                        let other = subgroupShuffleXor(slope[c], j);
                        for (var r = 0u; r < R; r++) {
                            x[r] += dot(key[r * DV + c], near);
                            dp[r] += dot(value[r * DV + c], other);
                        }
                    }
                    for (var r = 0u; r < R; r++) {
                        let s = biased(x[r], shown[r], b, h, q0 + (j ^ lane), k0 + 8u * r + lane);
                        let w = weight(s, row_lse);
#ifdef DROPOUT
                        let drop = dropout_factor(row_bits, 8u * r + lane);
                        p[r][i] = w * drop;
                        ds[r][i] = w * (dp[r] * drop - row_delta);
#else
                        p[r][i] = w;
                        ds[r][i] = w * (dp[r] - row_delta);
#endif
                    }
                }
                // Two queries at a time: the driver loads, blends and stores a sum once for both. With four the code
                // outgrows the instruction cache.
                for (var c = 0u; c < DV; c++) {
#repeat i 2
                    let near{i} = subgroupShuffleXor(query[c], part + {i}u);
                    let other{i} = subgroupShuffleXor(slope[c], part + {i}u);
#endrepeat
                    for (var r = 0u; r < R; r++) {
                        let w = p[r];
                        let d = ds[r];
                        dv[r * DV + c] += w.x * other0 + w.y * other1;
                        dk[r * DV + c] += d.x * near0 + d.y * near1;
                    }
                }
            }
        }
    }
    for (var r = 0u; r < R; r++) {
        let t = k0 + 8u * r + lane;
        if (t < params.keys) {
            let dk_at = place(params.dk, b, t, group.y) / 4u;
            let dv_at = place(params.dv, b, t, group.y) / 4u;
            for (var c = 0u; c < DV; c++) {
                dkv[dk_at + c] = T(dk[r * DV + c] * params.scale);
                dkv[dv_at + c] = T(dv[r * DV + c]);
            }
        }
    }
}
