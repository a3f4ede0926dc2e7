// Elements of one tensor or another, by a condition.
// math: y = a where cond != 0, else b
// shapes: cond, a and b broadcast to the shape of y, which is contiguous
// launch: one invocation for LANES elements, with TEXELS for EACH times as many: see ops/elementwise, which makes the
//   functions that read operands; with TEXELS inputs are textures, see common/texel
// numerics: exact: values are copied
// backward: where_cond over dy, with zeros for the side not asked for, then sum_to
// reference: the choice itself, in ops/where_op.rs
#import common/texel
#import common/walk

struct Params {
    n: u32,
    cond_offset: u32,
    a_offset: u32,
    b_offset: u32,
    y_offset: u32,
    shape: array<vec4<u32>, 2>,
    cond_strides: array<vec4<u32>, 2>,
    a_strides: array<vec4<u32>, 2>,
    b_strides: array<vec4<u32>, 2>,
    y_strides: array<vec4<u32>, 2>,
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef TEXELS
@group(0) @binding(1) var cond: texture_storage_2d<rgba32float, read>; // (N) strided, flat
@group(0) @binding(2) var a: texture_storage_2d<rgba32float, read>; // (N) strided, flat
@group(0) @binding(3) var b: texture_storage_2d<rgba32float, read>; // (N) strided, flat
#else
@group(0) @binding(1) var<storage, read> cond: array<S_cond>; // (N) strided
@group(0) @binding(2) var<storage, read> a: array<S_a>; // (N) strided
@group(0) @binding(3) var<storage, read> b: array<S_b>; // (N) strided
#endif
@group(0) @binding(4) var<storage, read_write> y: array<S_y>; // (N)

@compute @workgroup_size(256)
fn where_cond(
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
    let on{j} = four_cond(i * EACH + {j}u) != vec4<u32>();
    y[to_y(i * EACH + {j}u)] = S_y(select(four_b(i * EACH + {j}u), four_a(i * EACH + {j}u), on{j}));
#endrepeat
#else
    y[to_y(i)] = S_y(select(one_b(i), one_a(i), one_cond(i) != 0u));
#endif
}
