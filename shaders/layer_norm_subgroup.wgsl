// Layer normalisation or RMS normalisation, optionally with dropout and a residual before it; for
// subgroups of 8 on Mesa's software adapter: see common/rows_subgroup.
// math: as layer_norm
// shapes: as layer_norm; C a multiple of 4 and at most 32 COUNT
// launch: one subgroup for every group-th row; weight and bias stay in registers
// numerics: as layer_norm
// backward: layer_norm_backward_subgroup
// reference: ops/layer_norm/cases.rs
#import common/rows_subgroup

struct Params {
    rows: u32,
    length: u32,
    offset: u32,
    residual_offset: u32,
    weight_offset: u32,
    bias_offset: u32,
    eps: f32,
    op: u32,
    threshold: u32,
    inv_keep_prob: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(AT_X) var x: texture_storage_2d<rgba32float, read>; // (R, C), flat
#ifdef WEIGHT
@group(0) @binding(AT_WEIGHT) var weight: texture_storage_2d<rgba32float, read>; // (C), flat
#endif
#ifdef BIAS
@group(0) @binding(AT_BIAS) var bias: texture_storage_2d<rgba32float, read>; // (C), flat
#endif
@group(0) @binding(AT_Y) var<storage, read_write> y: array<vec4<f32>>; // (R, C / 4)
@group(0) @binding(AT_STATISTICS) var<storage, read_write> statistics: array<f32>; // (2, R)
#ifdef RESIDUAL
@group(0) @binding(AT_RESIDUAL) var residual: texture_storage_2d<rgba32float, read>; // (R, C), flat
#ifdef DROPOUT
@group(0) @binding(AT_STATE) var<storage, read> state: array<u32>; // (4)
#endif
@group(0) @binding(AT_TOTAL) var<storage, read_write> total: array<vec4<f32>>; // (R, C / 4)
#endif

@compute @workgroup_size(8)
fn layer_norm_subgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let texels = params.length / 4u;
    let count = f32(params.length);
#ifdef DROPOUT
    let seed = random_state();
#endif
    var w: array<vec4<f32>, COUNT>;
    var shift: array<vec4<f32>, COUNT>;
    for (var k = 0u; k < COUNT; k++) {
        let j = min(k * 8u + lane, texels - 1u);
#ifdef WEIGHT
        w[k] = textureLoad(weight, at_texel(j + params.weight_offset / 4u));
#endif
#ifdef BIAS
        shift[k] = textureLoad(bias, at_texel(j + params.bias_offset / 4u));
#endif
    }
    for (var row = group.x; row < params.rows; row += groups.x) {
        let first = row * texels;
        var cached: array<vec4<f32>, COUNT>;
        for (var k = 0u; k < COUNT; k++) {
            let j = min(k * 8u + lane, texels - 1u);
            cached[k] = textureLoad(x, at_texel(first + j + params.offset / 4u));
        }
#ifdef DROPOUT
        var bits: array<u32, COUNT / 8u + 1u>;
        choose(&bits, seed, first, lane);
#endif
#ifdef RESIDUAL
        for (var k = 0u; k < COUNT; k++) {
            let j = min(k * 8u + lane, texels - 1u);
#ifdef DROPOUT
            cached[k] = cached[k] * factor4(bits[k / 8u], k % 8u);
#endif
            cached[k] = cached[k] + textureLoad(residual, at_texel(first + j + params.residual_offset / 4u));
            if (k * 8u + lane < texels) {
                total[first + j] = cached[k];
            }
        }
#endif
#ifdef RMS
        let mean = 0.0;
        let origin = 0.0;
#else
        // The row's first element is subtracted before any sum.
        let origin = subgroupShuffle(cached[0].x, 0u);
        var sums = vec4<f32>();
        for (var k = 0u; k < COUNT; k++) {
            cached[k] = select(vec4<f32>(), cached[k] - origin, k * 8u + lane < texels);
            sums += cached[k];
        }
        let mean = row_sum4(sums) / count;
#endif
        var squares = vec4<f32>();
        for (var k = 0u; k < COUNT; k++) {
            cached[k] = cached[k] - mean;
            squares += select(vec4<f32>(), cached[k] * cached[k], k * 8u + lane < texels);
        }
        let rstd = 1.0 / sqrt(row_sum4(squares) / count + params.eps);
        for (var k = 0u; k < COUNT; k++) {
            let j = k * 8u + lane;
            if (j < texels) {
                var v = cached[k] * rstd;
#ifdef WEIGHT
                v = v * w[k];
#endif
#ifdef BIAS
                v = v + shift[k];
#endif
                y[first + j] = v;
            }
        }
        if (lane == 0u) {
            statistics[row] = origin + mean;
            statistics[row + params.rows] = rstd;
        }
    }
}
