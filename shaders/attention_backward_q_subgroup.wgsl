// The gradient of attention with respect to the queries, for subgroups of 8 on Mesa's software adapter.
// math: delta = sum(dy * y); p = exp(score - lse), dp = dropout(dy v^T), ds = p * (dp - delta);
//   dq = scale * ds k (Dao, arXiv:2307.08691)
// shapes: dy, y and dq (B, Tq, H, D), k and v (B, Tk, Hk, D), rows of D = 4 DV together; statistics
//   (2, B, H, Tq): lse, delta; then the 4 words of the state
// launch: one subgroup for 8 R queries of a head, R to a lane; grid (Tq / 8 R, H, B)
// numerics: f32, rounded once; overwrites dq and delta
// backward: none
// reference: ops/attention/cases.rs, and the composed form in ops/attention
#import common/attention_subgroup

@group(0) @binding(AT_Y) var y: texture_storage_2d<rgba32float, read>; // (B, Tq, H, D), flat
@group(0) @binding(AT_STATISTICS) var<storage, read_write> statistics: array<u32>; // (2 * B * H * Tq + 4)
@group(0) @binding(AT_DQ) var<storage, read_write> dq: array<T>; // (B, Tq, H, DV) strided

fn texel_y(i: u32) -> vec4<f32> {
    return textureLoad(y, at_texel(i));
}

@compute @workgroup_size(8)
fn attention_backward_q_subgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let b = group.z;
    let h = group.y;
    let q0 = group.x * 8u * R;
    let head = b * params.heads + h;
    let count = params.batch * params.heads * params.queries;
    let k_head = place(params.k, b, 0u, h / params.group);
    let v_head = place(params.v, b, 0u, h / params.group);
    var query: array<vec4<f32>, R * DV>;
    var slope: array<vec4<f32>, R * DV>;
    var sums: array<vec4<f32>, R * DV>;
    var lse: array<f32, R>;
    var delta: array<f32, R>;
    for (var r = 0u; r < R; r++) {
        let t = min(q0 + 8u * r + lane, params.queries - 1u);
        let at = place(params.q, b, t, h) / 4u;
        let dy_at = place(params.dy, b, t, h) / 4u;
        let y_at = place(params.y, b, t, h) / 4u;
        for (var c = 0u; c < DV; c++) {
            query[r * DV + c] = texel_q(at + c) * params.scale;
            slope[r * DV + c] = texel_dy(dy_at + c);
            delta[r] += dot(slope[r * DV + c], texel_y(y_at + c));
            sums[r * DV + c] = vec4<f32>();
        }
        lse[r] = bitcast<f32>(statistics[head * params.queries + t]);
    }
#ifdef DROPOUT
    let seed = random_state();
#endif
    // The shuffle keeps Mesa from compiling the kernel again for every length, as in matmul_subgroup.
    let end = subgroupShuffle(keys_before(q0 + 8u * R), 0u);
    for (var k0 = 0u; k0 < end; k0 += 8u) {
        var key: Row;
        var value: Row;
        load_key(&key, &value, k_head, v_head, k0 + lane);
        let shown = select(0u, 1u, seen(b, k0 + lane));
#ifdef DROPOUT
        var bits: array<u32, R>;
        choose(&bits, seed, head * params.queries + q0 + lane, k0);
#endif
        for (var part = 0u; part < 8u; part += 4u) {
            var ds: array<vec4<f32>, R>;
            for (var i = 0u; i < 4u; i++) {
                // The keys rotate among the lanes: each lane now holds the key of lane ^ j.
                let j = part + i;
                let show = subgroupShuffleXor(shown, j) == 1u;
                var x: array<f32, R>;
                var dp: array<f32, R>;
                for (var c = 0u; c < DV; c++) {
                    let near = subgroupShuffleXor(key[c], j);
                    let other = subgroupShuffleXor(value[c], j);
                    for (var r = 0u; r < R; r++) {
                        x[r] += dot(query[r * DV + c], near);
                        dp[r] += dot(slope[r * DV + c], other);
                    }
                }
                for (var r = 0u; r < R; r++) {
                    let s = biased(x[r], show, b, h, q0 + 8u * r + lane, k0 + (j ^ lane));
#ifdef DROPOUT
                    dp[r] = dp[r] * dropout_factor(bits[r], j ^ lane);
#endif
                    ds[r][i] = weight(s, lse[r]) * (dp[r] - delta[r]);
                }
            }
            // Four keys at a time: the driver loads, blends and stores a sum once for all of them.
            for (var c = 0u; c < DV; c++) {
#repeat i 4
                let near{i} = subgroupShuffleXor(key[c], part + {i}u);
#endrepeat
                for (var r = 0u; r < R; r++) {
                    let d = ds[r];
                    sums[r * DV + c] += (d.x * near0 + d.y * near1) + (d.z * near2 + d.w * near3);
                }
            }
        }
    }
    for (var r = 0u; r < R; r++) {
        let t = q0 + 8u * r + lane;
        if (t < params.queries) {
            let at = place(params.dq, b, t, h) / 4u;
            for (var c = 0u; c < DV; c++) {
                dq[at + c] = T(sums[r * DV + c] * params.scale);
            }
            statistics[count + head * params.queries + t] = bitcast<u32>(delta[r]);
        }
    }
}
