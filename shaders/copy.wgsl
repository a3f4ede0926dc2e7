// Copies between any two layouts, converting the type.
// math: y[strided] = T(x[strided])
// shapes: x and y any strides over one shape
// launch: one invocation for LANES elements, with TEXELS for EACH times as many: see ops/elementwise, which makes the
//   functions that read operands; with TEXELS inputs are textures, see common/texel
// numerics: exact except for the conversion; floats to integers truncate; elements of y outside the
//   view stay as they are
// backward: copy with the layouts swapped
// reference: the values themselves
#import common/texel
#import common/walk

struct Params {
    n: u32,
    x_offset: u32,
    y_offset: u32,
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
fn copy(
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
    y[to_y(i * EACH + {j}u)] = S_y(four_x(i * EACH + {j}u));
#endrepeat
#else
    y[to_y(i)] = S_y(one_x(i));
#endif
}
