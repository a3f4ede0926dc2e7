// The gradient of a pointwise function of two tensors with respect to one of them, before the
// repeated dimensions are summed.
// math: dx = derivative(dy, a, b), with that line put in front
// shapes: dy, a and b any strides over one shape; dx that shape, contiguous
// launch: one invocation an element, with VECTORS four, where all tensors are contiguous: LANES; with
//   TEXELS what is read are textures, see texel, and an invocation takes EACH fours
// numerics: computed in f32, rounded once; overwrites dx
// backward: none
// reference: the table in ops/binary.rs
#import common/index
#import common/math
#import common/texel

struct Params {
    n: u32,
    dy_offset: u32,
    a_offset: u32,
    b_offset: u32,
    shape: array<vec4<u32>, 2>,
    dy_strides: array<vec4<u32>, 2>,
    a_strides: array<vec4<u32>, 2>,
    b_strides: array<vec4<u32>, 2>,
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef TEXELS
@group(0) @binding(1) var dy: texture_storage_2d<rgba32float, read>; // (N), flat
@group(0) @binding(2) var a: texture_storage_2d<rgba32float, read>; // (N), flat
@group(0) @binding(3) var b: texture_storage_2d<rgba32float, read>; // (N), flat
#else
@group(0) @binding(1) var<storage, read> dy: array<S>; // (N) strided
@group(0) @binding(2) var<storage, read> a: array<S>; // (N) strided
@group(0) @binding(3) var<storage, read> b: array<S>; // (N) strided
#endif
@group(0) @binding(4) var<storage, read_write> dx: array<S>; // (N)

#ifdef VECTORS
fn four_dy(i: u32) -> vec4<f32> {
#ifdef TEXELS
    return textureLoad(dy, at_texel(i));
#else
    return vec4<f32>(dy[i]);
#endif
}

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
fn binary_backward(
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
    let d{j} = four_dy(i * EACH + {j}u + params.dy_offset / 4u);
    let v{j} = four_a(i * EACH + {j}u + params.a_offset / 4u);
    let w{j} = four_b(i * EACH + {j}u + params.b_offset / 4u);
    dx[i * EACH + {j}u] = S(vec4<f32>(derivative(d{j}.x, v{j}.x, w{j}.x), derivative(d{j}.y, v{j}.y, w{j}.y),
        derivative(d{j}.z, v{j}.z, w{j}.z), derivative(d{j}.w, v{j}.w, w{j}.w)));
#endrepeat
#else
    let dy_at = walk8(i, params.shape[0], params.shape[1], params.dy_strides[0], params.dy_strides[1]) + params.dy_offset;
    let a_at = walk8(i, params.shape[0], params.shape[1], params.a_strides[0], params.a_strides[1]) + params.a_offset;
    let b_at = walk8(i, params.shape[0], params.shape[1], params.b_strides[0], params.b_strides[1]) + params.b_offset;
    dx[i] = S(derivative(f32(dy[dy_at]), f32(a[a_at]), f32(b[b_at])));
#endif
}
