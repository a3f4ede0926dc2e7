// The gradients of layer_norm_subgroup: of its input, and sums over some of the rows for weight and bias.
// math: as layer_norm_backward and layer_norm_backward_weight; with DROPOUT also the gradient of the dropout's
//   input, dx = dropout(dtotal)
// shapes: as layer_norm; partials (G, 2, C): dw, db
// launch: one subgroup for every group-th row
// numerics: f32 in a fixed order; overwrites all it writes
// backward: none
// reference: ops/layer_norm/cases.rs
#import common/rows_subgroup

struct Params {
    rows: u32,
    length: u32,
    dy_offset: u32,
    offset: u32,
    weight_offset: u32,
    op: u32,
    threshold: u32,
    inv_keep_prob: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(AT_DY) var dy: texture_storage_2d<rgba32float, read>; // (R, C), flat
@group(0) @binding(AT_TOTAL) var total: texture_storage_2d<rgba32float, read>; // (R, C), flat: what was normalised
#ifdef WEIGHT
@group(0) @binding(AT_WEIGHT) var weight: texture_storage_2d<rgba32float, read>; // (C), flat
#endif
@group(0) @binding(AT_STATISTICS) var<storage, read> statistics: array<f32>; // (2, R)
#ifdef INPUT
@group(0) @binding(AT_DTOTAL) var<storage, read_write> dtotal: array<vec4<f32>>; // (R, C / 4)
#endif
#ifdef PARTIALS
@group(0) @binding(AT_PARTIALS) var<storage, read_write> partials: array<vec4<f32>>; // (G, 2, C / 4)
#endif
#ifdef DROPOUT
@group(0) @binding(AT_STATE) var<storage, read> state: array<u32>; // (4)
@group(0) @binding(AT_DX) var<storage, read_write> dx: array<vec4<f32>>; // (R, C / 4)
#endif

@compute @workgroup_size(8)
fn layer_norm_backward_subgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let texels = params.length / 4u;
    let count = f32(params.length);
#ifdef DROPOUT
    let seed = random_state();
#endif
#ifdef WEIGHT
    var w: array<vec4<f32>, COUNT>;
    for (var k = 0u; k < COUNT; k++) {
        let j = min(k * 8u + lane, texels - 1u);
        w[k] = textureLoad(weight, at_texel(j + params.weight_offset / 4u));
    }
#endif
    var dw: array<vec4<f32>, COUNT>;
    var db: array<vec4<f32>, COUNT>;
    for (var row = group.x; row < params.rows; row += groups.x) {
        let first = row * texels;
        let mean = statistics[row];
        let rstd = statistics[row + params.rows];
#ifdef DROPOUT
        var bits: array<u32, COUNT / 8u + 1u>;
        choose(&bits, seed, first, lane);
#endif
        var g: array<vec4<f32>, COUNT>;
        var h: array<vec4<f32>, COUNT>;
        var sum_g = vec4<f32>();
        var sum_gh = vec4<f32>();
        for (var k = 0u; k < COUNT; k++) {
            let j = min(k * 8u + lane, texels - 1u);
            let inside = k * 8u + lane < texels;
            g[k] = textureLoad(dy, at_texel(first + j + params.dy_offset / 4u));
            g[k] = select(vec4<f32>(), g[k], inside);
            h[k] = (textureLoad(total, at_texel(first + j + params.offset / 4u)) - mean) * rstd;
#ifdef PARTIALS
            dw[k] += g[k] * h[k];
            db[k] += g[k];
#endif
#ifdef WEIGHT
            g[k] = g[k] * w[k];
#endif
            sum_g += g[k];
            sum_gh += g[k] * h[k];
        }
#ifdef INPUT
#ifdef RMS
        let mean_g = 0.0;
#else
        let mean_g = row_sum4(sum_g) / count;
#endif
        let mean_gh = row_sum4(sum_gh) / count;
        for (var k = 0u; k < COUNT; k++) {
            let j = k * 8u + lane;
            let d = rstd * (g[k] - mean_g - h[k] * mean_gh);
#ifdef DROPOUT
            let dropped = d * factor4(bits[k / 8u], k % 8u);
#endif
            if (j < texels) {
                dtotal[first + j] = d;
#ifdef DROPOUT
                dx[first + j] = dropped;
#endif
            }
        }
#endif
    }
#ifdef PARTIALS
    for (var k = 0u; k < COUNT; k++) {
        let j = k * 8u + lane;
        if (j < texels) {
            partials[2u * group.x * texels + j] = dw[k];
            partials[(2u * group.x + 1u) * texels + j] = db[k];
        }
    }
#endif
}
