// Attention without a matrix of scores, for subgroups of 8 on Mesa's software adapter: rows as textures,
// exchanged by shuffles, no workgroup memory.
// math: y = dropout(softmax(scale * q k^T + bias, masked)) v, the softmax summed as the keys go by (Dao,
//   arXiv:2307.08691): a larger maximum scales what was summed so far; lse = log(sum(exp(scores)))
// shapes: q and y (B, Tq, H, D), k and v (B, Tk, Hk, D), rows of D = 4 DV together; query head h reads key
//   head h / group; statistics (2, B, H, Tq): lse, and the place of delta; then the 4 words of the state
// launch: one subgroup for 8 R queries of a head, R to a lane; grid (Tq / 8 R, H, B)
// numerics: f32, precise_exp; a query without keys gives 0
// backward: attention_backward_q_subgroup, attention_backward_kv_subgroup
// reference: ops/attention/cases.rs, and the composed form in ops/attention
#import common/attention_subgroup

#ifdef DROPOUT
@group(0) @binding(AT_STATE) var<storage, read> state: array<u32>; // (4)
#endif
@group(0) @binding(AT_Y) var<storage, read_write> y: array<T>; // (B, Tq, H, DV)
@group(0) @binding(AT_STATISTICS) var<storage, read_write> statistics: array<u32>; // (2 * B * H * Tq + 4)

@compute @workgroup_size(8)
fn attention_subgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let b = group.z;
    let h = group.y;
    let q0 = group.x * 8u * R;
    let head = b * params.heads + h;
    let k_head = place(params.k, b, 0u, h / params.group);
    let v_head = place(params.v, b, 0u, h / params.group);
    var query: array<vec4<f32>, R * DV>;
    var sums: array<vec4<f32>, R * DV>;
    var top: array<f32, R>;
    var total: array<f32, R>;
    for (var r = 0u; r < R; r++) {
        let t = min(q0 + 8u * r + lane, params.queries - 1u);
        let at = place(params.q, b, t, h) / 4u;
        for (var c = 0u; c < DV; c++) {
            query[r * DV + c] = texel_q(at + c) * params.scale;
            sums[r * DV + c] = vec4<f32>();
        }
        top[r] = MASKED;
        total[r] = 0.0;
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
        for (var half = 0u; half < 8u; half += 4u) {
            var scores: array<vec4<f32>, R>;
            for (var i = 0u; i < 4u; i++) {
                // The keys rotate among the lanes: each lane now holds the key of lane ^ j.
                let j = half + i;
                let show = subgroupShuffleXor(shown, j) == 1u;
                var x: array<f32, R>;
                for (var c = 0u; c < DV; c++) {
                    let other = subgroupShuffleXor(key[c], j);
                    for (var r = 0u; r < R; r++) {
                        x[r] += dot(query[r * DV + c], other);
                    }
                }
                for (var r = 0u; r < R; r++) {
                    scores[r][i] = biased(x[r], show, b, h, q0 + 8u * r + lane, k0 + (j ^ lane));
                }
            }
            var shrink: array<f32, R>;
            for (var r = 0u; r < R; r++) {
                let s = scores[r];
                let higher = max(top[r], max(max(s.x, s.y), max(s.z, s.w)));
                shrink[r] = precise_exp(top[r] - higher);
                top[r] = higher;
                let p = vec4<f32>(weight(s.x, higher), weight(s.y, higher), weight(s.z, higher), weight(s.w, higher));
                total[r] = total[r] * shrink[r] + ((p.x + p.y) + (p.z + p.w));
#ifdef DROPOUT
                scores[r] = p * vec4<f32>(dropout_factor(bits[r], half ^ lane), dropout_factor(bits[r], (half + 1u) ^ lane),
                    dropout_factor(bits[r], (half + 2u) ^ lane), dropout_factor(bits[r], (half + 3u) ^ lane));
#else
                scores[r] = p;
#endif
            }
            // Four keys at a time: the driver loads, blends and stores a sum once for all of them.
            for (var c = 0u; c < DV; c++) {
#repeat i 4
                let other{i} = subgroupShuffleXor(value[c], half + {i}u);
#endrepeat
                for (var r = 0u; r < R; r++) {
                    let p = scores[r];
                    let four = (p.x * other0 + p.y * other1) + (p.z * other2 + p.w * other3);
                    sums[r * DV + c] = sums[r * DV + c] * shrink[r] + four;
                }
            }
        }
    }
    for (var r = 0u; r < R; r++) {
        let t = q0 + 8u * r + lane;
        if (t < params.queries) {
            let inverse = select(1.0 / total[r], 0.0, total[r] == 0.0);
            let at = place(params.y, b, t, h) / 4u;
            for (var c = 0u; c < DV; c++) {
                y[at + c] = T(sums[r * DV + c] * inverse);
            }
            let lse = select(top[r] + precise_log(total[r]), NOTHING, total[r] == 0.0);
            statistics[head * params.queries + t] = bitcast<u32>(lse);
        }
    }
#ifdef DROPOUT
    if (head == 0u && q0 == 0u && lane == 0u) {
        leave_state(seed);
    }
#endif
}
