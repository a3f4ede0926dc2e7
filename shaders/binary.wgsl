// One value from each pair of elements, broadcasting.
// math: y = op(a, b), with a line `fn op(a: f32, b: f32) -> f32` put in front
// shapes: a and b broadcast to the shape of y, which is contiguous
// launch: one invocation for LANES elements, with TEXELS for EACH times as many: see ops/elementwise, which makes the
//   functions that read operands; with TEXELS inputs are textures, see common/texel
// numerics: computed in f32 (u32 and i32 by value), rounded once to the type of y
// backward: binary_backward
// reference: the table in ops/binary.rs
#import common/math
#import common/texel
#import common/walk

struct Params {
    n: u32,
    a_offset: u32,
    b_offset: u32,
    y_offset: u32,
    shape: array<vec4<u32>, 2>,
    a_strides: array<vec4<u32>, 2>,
    b_strides: array<vec4<u32>, 2>,
    y_strides: array<vec4<u32>, 2>,
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef TEXELS
@group(0) @binding(1) var a: texture_storage_2d<rgba32float, read>; // (N) strided, flat
@group(0) @binding(2) var b: texture_storage_2d<rgba32float, read>; // (N) strided, flat
#else
@group(0) @binding(1) var<storage, read> a: array<S_a>; // (N) strided
@group(0) @binding(2) var<storage, read> b: array<S_b>; // (N) strided
#endif
@group(0) @binding(3) var<storage, read_write> y: array<S_y>; // (N)

@compute @workgroup_size(256)
fn binary(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_id(group, groups, local, 256u);
    if (i * LANES * EACH >= params.n) {
        return;
    }
#ifdef VECTORS
#repeat j EACH
    let v{j} = four_a(i * EACH + {j}u);
    let w{j} = four_b(i * EACH + {j}u);
    y[to_y(i * EACH + {j}u)] = S_y(vec4<R>(op(v{j}.x, w{j}.x), op(v{j}.y, w{j}.y), op(v{j}.z, w{j}.z), op(v{j}.w, w{j}.w)));
#endrepeat
#else
    y[to_y(i)] = S_y(op(one_a(i), one_b(i)));
#endif
}
