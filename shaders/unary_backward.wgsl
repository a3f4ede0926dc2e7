// The gradient of a pointwise function of one tensor.
// math: dx = dy * derivative(v, a, b), where v is the op's input or its output, whichever the line
//   `fn derivative(v: f32, a: f32, b: f32) -> f32` put in front is written in
// shapes: dy and v any strides over one shape; dx that shape, contiguous
// launch: one invocation for LANES elements, with TEXELS for EACH times as many: see ops/elementwise, which makes the
//   functions that reach operands; with TEXELS what is read are textures, see texel
// numerics: computed in f32, rounded once; overwrites dx
// backward: none
// reference: ops/unary/table.rs
#import common/math
#import common/texel
#import common/trig
#import common/walk

struct Params {
    n: u32,
    dy_offset: u32,
    v_offset: u32,
    dx_offset: u32,
    a: f32,
    b: f32,
    shape: array<vec4<u32>, 2>,
    dy_strides: array<vec4<u32>, 2>,
    v_strides: array<vec4<u32>, 2>,
    dx_strides: array<vec4<u32>, 2>,
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef TEXELS
@group(0) @binding(1) var dy: texture_storage_2d<rgba32float, read>; // (N) strided, flat
@group(0) @binding(2) var v: texture_storage_2d<rgba32float, read>; // (N) strided, flat
#else
@group(0) @binding(1) var<storage, read> dy: array<S_dy>; // (N) strided
@group(0) @binding(2) var<storage, read> v: array<S_v>; // (N) strided
#endif
@group(0) @binding(3) var<storage, read_write> dx: array<S_dx>; // (N)

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
    let a = params.a;
    let b = params.b;
#ifdef VECTORS
#repeat j EACH
    let d{j} = four_dy(i * EACH + {j}u);
    let w{j} = four_v(i * EACH + {j}u);
    dx[to_dx(i * EACH + {j}u)] = S_dx(d{j} * vec4<f32>(derivative(w{j}.x, a, b), derivative(w{j}.y, a, b),
        derivative(w{j}.z, a, b), derivative(w{j}.w, a, b)));
#endrepeat
#else
    dx[to_dx(i)] = S_dx(one_dy(i) * derivative(one_v(i), a, b));
#endif
}
