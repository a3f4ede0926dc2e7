// The gradient of a pointwise function of one tensor.
// math: dx = dy * derivative(v, a, b), where v is the op's input or its output, whichever the line
//   `fn derivative(v: f32, a: f32, b: f32) -> f32` put in front is written in
// shapes: dy and v any strides over one shape; dx that shape, contiguous
// launch: one invocation an element, with VECTORS four, where all tensors are contiguous: LANES; with
//   TEXELS what is read are textures, see texel, and an invocation takes EACH fours
// numerics: computed in f32, rounded once; overwrites dx
// backward: none
// reference: ops/unary/table.rs
#import common/index
#import common/math
#import common/texel

struct Params {
    n: u32,
    dy_offset: u32,
    v_offset: u32,
    a: f32,
    b: f32,
    shape: array<vec4<u32>, 2>,
    dy_strides: array<vec4<u32>, 2>,
    v_strides: array<vec4<u32>, 2>,
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef TEXELS
@group(0) @binding(1) var dy: texture_storage_2d<rgba32float, read>; // (N), flat
@group(0) @binding(2) var v: texture_storage_2d<rgba32float, read>; // (N), flat
#else
@group(0) @binding(1) var<storage, read> dy: array<S>; // (N) strided
@group(0) @binding(2) var<storage, read> v: array<S>; // (N) strided
#endif
@group(0) @binding(3) var<storage, read_write> dx: array<S>; // (N)

#ifdef VECTORS
fn four_dy(i: u32) -> vec4<f32> {
#ifdef TEXELS
    return textureLoad(dy, at_texel(i));
#else
    return vec4<f32>(dy[i]);
#endif
}

fn four_v(i: u32) -> vec4<f32> {
#ifdef TEXELS
    return textureLoad(v, at_texel(i));
#else
    return vec4<f32>(v[i]);
#endif
}
#endif

@compute @workgroup_size(256)
fn unary_backward(
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
    let d{j} = four_dy(i * EACH + {j}u + params.dy_offset / 4u);
    let w{j} = four_v(i * EACH + {j}u + params.v_offset / 4u);
    dx[i * EACH + {j}u] = S(d{j} * vec4<f32>(derivative(w{j}.x, a, b), derivative(w{j}.y, a, b),
        derivative(w{j}.z, a, b), derivative(w{j}.w, a, b)));
#endrepeat
#else
#ifdef CONTIGUOUS
    let dy_at = i + params.dy_offset;
    let v_at = i + params.v_offset;
#else
    let dy_at = walk8(i, params.shape[0], params.shape[1], params.dy_strides[0], params.dy_strides[1]) + params.dy_offset;
    let v_at = walk8(i, params.shape[0], params.shape[1], params.v_strides[0], params.v_strides[1]) + params.v_offset;
#endif
    dx[i] = S(f32(dy[dy_at]) * derivative(f32(v[v_at]), params.a, params.b));
#endif
}
