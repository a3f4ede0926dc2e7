// Softmax along rows, for subgroups of 8 on Mesa's software adapter: see common/rows_subgroup.
// math: y = exp(v - m) / sum(exp(v - m)), v = scale * x, m = max(v); with LOG y = v - m - log(sum(exp(v - m)))
// shapes: rows contiguous, C a multiple of 4 and at most 32 COUNT
// launch: one subgroup a row
// numerics: f32, precise_exp
// backward: softmax_backward_subgroup
// reference: ops/softmax.rs
#import common/rows_subgroup

struct Params {
    rows: u32,
    length: u32,
    offset: u32,
    scale: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>; // (R, C), flat
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // (R, C / 4)

@compute @workgroup_size(8)
fn softmax_subgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_id(group, groups, 0u, 1u);
    if (row >= params.rows) {
        return;
    }
    let texels = params.length / 4u;
    let first = (row * params.length + params.offset) / 4u;
    var cached: array<vec4<f32>, COUNT>;
    var top = vec4<f32>(-3.4028234e38);
    for (var k = 0u; k < COUNT; k++) {
        let j = min(k * 8u + lane, texels - 1u);
        cached[k] = textureLoad(x, at_texel(first + j)) * params.scale;
        top = max(top, cached[k]);
    }
    let m = row_max4(top);
    var sums = vec4<f32>();
    for (var k = 0u; k < COUNT; k++) {
        let e = exp_nonpositive4(cached[k] - m);
        sums += select(vec4<f32>(), e, k * 8u + lane < texels);
#ifndef LOG
        cached[k] = e;
#endif
    }
    let total = row_sum4(sums);
#ifdef LOG
    let log_total = precise_log(total);
#else
    let inverse = reciprocal(total);
#endif
    for (var k = 0u; k < COUNT; k++) {
        let j = k * 8u + lane;
        if (j < texels) {
#ifdef LOG
            y[row * texels + j] = cached[k] - m - log_total;
#else
            y[row * texels + j] = cached[k] * inverse;
#endif
        }
    }
}
