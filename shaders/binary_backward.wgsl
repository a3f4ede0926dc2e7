// The gradient of a pointwise function of two tensors with respect to one of them, before the
// repeated dimensions are summed.
// math: dx = derivative(dy, a, b), with that line put in front
// shapes: dy, a and b any strides over one shape; dx that shape, contiguous
// launch: one invocation for LANES elements, with TEXELS for EACH times as many: see ops/elementwise, which makes the
//   functions that read operands; with TEXELS inputs are textures, see common/texel
// numerics: computed in f32, rounded once; overwrites dx
// backward: none
// reference: the table in ops/binary.rs
#import common/math
#import common/texel
#import common/walk

struct Params {
    n: u32,
    dy_offset: u32,
    a_offset: u32,
    b_offset: u32,
    dx_offset: u32,
    shape: array<vec4<u32>, 2>,
    dy_strides: array<vec4<u32>, 2>,
    a_strides: array<vec4<u32>, 2>,
    b_strides: array<vec4<u32>, 2>,
    dx_strides: array<vec4<u32>, 2>,
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef TEXELS
@group(0) @binding(1) var dy: texture_storage_2d<rgba32float, read>; // (N) strided, flat
@group(0) @binding(2) var a: texture_storage_2d<rgba32float, read>; // (N) strided, flat
@group(0) @binding(3) var b: texture_storage_2d<rgba32float, read>; // (N) strided, flat
#else
@group(0) @binding(1) var<storage, read> dy: array<S_dy>; // (N) strided
@group(0) @binding(2) var<storage, read> a: array<S_a>; // (N) strided
@group(0) @binding(3) var<storage, read> b: array<S_b>; // (N) strided
#endif
@group(0) @binding(4) var<storage, read_write> dx: array<S_dx>; // (N)

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
    let d{j} = four_dy(i * EACH + {j}u);
    let v{j} = four_a(i * EACH + {j}u);
    let w{j} = four_b(i * EACH + {j}u);
    dx[to_dx(i * EACH + {j}u)] = S_dx(vec4<f32>(derivative(d{j}.x, v{j}.x, w{j}.x), derivative(d{j}.y, v{j}.y, w{j}.y),
        derivative(d{j}.z, v{j}.z, w{j}.z), derivative(d{j}.w, v{j}.w, w{j}.w)));
#endrepeat
#else
    dx[to_dx(i)] = S_dx(derivative(one_dy(i), one_a(i), one_b(i)));
#endif
}
