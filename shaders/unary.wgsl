// One value from each element.
// math: y = op(x, a, b), with a line `fn op(x: f32, a: f32, b: f32) -> f32` put in front
// shapes: x any shape and strides; y the same shape, contiguous
// launch: one invocation for LANES elements, with TEXELS for EACH times as many: see ops/elementwise, which makes the
//   functions that reach operands; with TEXELS what is read are textures, see texel
// numerics: computed in f32, rounded once to the type of y
// backward: unary_backward
// reference: ops/unary/table.rs
#import common/math
#import common/texel
#import common/trig
#import common/walk

struct Params {
    n: u32,
    x_offset: u32,
    y_offset: u32,
    a: f32,
    b: f32,
    shape: array<vec4<u32>, 2>,
    x_strides: array<vec4<u32>, 2>,
    y_strides: array<vec4<u32>, 2>,
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef TEXELS
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>; // (N) strided, flat
#else
@group(0) @binding(1) var<storage, read> x: array<S_x>; // (N) strided
#endif
@group(0) @binding(2) var<storage, read_write> y: array<S_y>; // (N)

@compute @workgroup_size(256)
fn unary(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_id(group, groups, local, 256u);
    if (i * LANES * EACH >= params.n) {
        return;
    }
    let a = params.a;
    let b = params.b;
#ifdef VECTORS
#repeat j EACH
    let v{j} = four_x(i * EACH + {j}u);
    y[to_y(i * EACH + {j}u)] = S_y(vec4<f32>(op(v{j}.x, a, b), op(v{j}.y, a, b), op(v{j}.z, a, b), op(v{j}.w, a, b)));
#endrepeat
#else
    y[to_y(i)] = S_y(op(one_x(i), a, b));
#endif
}
