// The gradient of softmax along rows, for subgroups of 8 on Mesa's software adapter: see common/rows_subgroup.
// math: dx = scale * y * (dy - sum(dy * y)); with LOG dx = dy - exp(y) * sum(dy)
// shapes: all (R, C), rows contiguous, C a multiple of 4 and at most 32 COUNT
// launch: one subgroup a row
// numerics: f32; overwrites dx
// backward: none
// reference: ops/softmax.rs
#import common/rows_subgroup

struct Params {
    rows: u32,
    length: u32,
    dy_offset: u32,
    scale: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var dy: texture_storage_2d<rgba32float, read>; // (R, C), flat
@group(0) @binding(2) var y: texture_storage_2d<rgba32float, read>; // (R, C), flat
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>; // (R, C / 4)

@compute @workgroup_size(8)
fn softmax_backward_subgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_id(group, groups, 0u, 1u);
    if (row >= params.rows) {
        return;
    }
    let texels = params.length / 4u;
    let first = row * texels;
    var d: array<vec4<f32>, COUNT>;
    var v: array<vec4<f32>, COUNT>;
    var sums = vec4<f32>();
    for (var k = 0u; k < COUNT; k++) {
        let j = min(k * 8u + lane, texels - 1u);
        d[k] = textureLoad(dy, at_texel(first + j + params.dy_offset / 4u));
        v[k] = textureLoad(y, at_texel(first + j));
#ifdef LOG
        let term = d[k];
#else
        let term = d[k] * v[k];
#endif
        sums += select(vec4<f32>(), term, k * 8u + lane < texels);
    }
    let total = row_sum4(sums);
    for (var k = 0u; k < COUNT; k++) {
        let j = k * 8u + lane;
        if (j < texels) {
#ifdef LOG
            dx[first + j] = d[k] - exp_nonpositive4(v[k]) * total;
#else
            dx[first + j] = params.scale * v[k] * (d[k] - total);
#endif
        }
    }
}
