// One value from each element.
// math: y = op(x, a, b), with a line `fn op(x: f32, a: f32, b: f32) -> f32` put in front
// shapes: x any shape and strides; y the same shape, contiguous
// launch: one invocation an element, with VECTORS four, where all tensors are contiguous: LANES; with
//   TEXELS what is read are textures, see texel, and an invocation takes EACH fours
// numerics: computed in f32, rounded once to the type of y
// backward: unary_backward
// reference: ops/unary/table.rs
#import common/index
#import common/math
#import common/texel

struct Params {
    n: u32,
    offset: u32,
    a: f32,
    b: f32,
    shape: array<vec4<u32>, 2>,
    strides: array<vec4<u32>, 2>,
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef TEXELS
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>; // (N), flat
#else
@group(0) @binding(1) var<storage, read> x: array<S>; // (N) strided
#endif
@group(0) @binding(2) var<storage, read_write> y: array<S>; // (N)

#ifdef VECTORS
fn four_x(i: u32) -> vec4<f32> {
#ifdef TEXELS
    return textureLoad(x, at_texel(i));
#else
    return vec4<f32>(x[i]);
#endif
}
#endif

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
#ifdef VECTORS
    let a = params.a;
    let b = params.b;
#repeat j EACH
    let v{j} = four_x(i * EACH + {j}u + params.offset / 4u);
    y[i * EACH + {j}u] = S(vec4<f32>(op(v{j}.x, a, b), op(v{j}.y, a, b), op(v{j}.z, a, b), op(v{j}.w, a, b)));
#endrepeat
#else
#ifdef CONTIGUOUS
    let at = i + params.offset;
#else
    let at = walk8(i, params.shape[0], params.shape[1], params.strides[0], params.strides[1]) + params.offset;
#endif
    y[i] = S(op(f32(x[at]), params.a, params.b));
#endif
}
