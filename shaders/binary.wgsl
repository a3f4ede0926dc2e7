// One value from each pair of elements, broadcasting.
// math: y = op(a, b), with a line `fn op(a: f32, b: f32) -> f32` put in front
// shapes: a and b broadcast to the shape of y, which is contiguous
// launch: one invocation an element of y, with VECTORS four, where all tensors are contiguous: LANES; with
//   TEXELS what is read are textures, see texel, and an invocation takes EACH fours
// numerics: computed in f32 (u32 and i32 by value), rounded once to the type of y
// backward: binary_backward
// reference: the table in ops/binary.rs
#import common/index
#import common/math
#import common/texel

struct Params {
    n: u32,
    a_offset: u32,
    b_offset: u32,
    shape: array<vec4<u32>, 2>,
    a_strides: array<vec4<u32>, 2>,
    b_strides: array<vec4<u32>, 2>,
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef TEXELS
@group(0) @binding(1) var a: texture_storage_2d<rgba32float, read>; // (N), flat
@group(0) @binding(2) var b: texture_storage_2d<rgba32float, read>; // (N), flat
#else
@group(0) @binding(1) var<storage, read> a: array<S>; // (N) strided
@group(0) @binding(2) var<storage, read> b: array<S>; // (N) strided
#endif
@group(0) @binding(3) var<storage, read_write> y: array<T>; // (N)

#ifdef VECTORS
fn four_a(i: u32) -> vec4<f32> {
#ifdef TEXELS
    return textureLoad(a, at_texel(i));
#else
    return vec4<f32>(a[i]);
#endif
}

fn four_b(i: u32) -> vec4<f32> {
#ifdef TEXELS
    return textureLoad(b, at_texel(i));
#else
    return vec4<f32>(b[i]);
#endif
}
#endif

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
    let v{j} = four_a(i * EACH + {j}u + params.a_offset / 4u);
    let w{j} = four_b(i * EACH + {j}u + params.b_offset / 4u);
    y[i * EACH + {j}u] = T(vec4<f32>(op(v{j}.x, w{j}.x), op(v{j}.y, w{j}.y), op(v{j}.z, w{j}.z), op(v{j}.w, w{j}.w)));
#endrepeat
#else
#ifdef CONTIGUOUS
    let a_at = i + params.a_offset;
    let b_at = i + params.b_offset;
#else
    let a_at = walk8(i, params.shape[0], params.shape[1], params.a_strides[0], params.a_strides[1]) + params.a_offset;
    let b_at = walk8(i, params.shape[0], params.shape[1], params.b_strides[0], params.b_strides[1]) + params.b_offset;
#endif
    y[i] = T(op(COMPUTE(a[a_at]), COMPUTE(b[b_at])));
#endif
}
