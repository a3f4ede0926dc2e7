// Elements of one tensor or another, by a condition.
// math: y = a where cond != 0, else b
// shapes: cond, a and b broadcast to the shape of y, which is contiguous
// launch: one invocation an element of y
// numerics: exact: values are copied
// backward: where_cond over dy, with zeros for the side not asked for, then sum_to
// reference: the choice itself, in ops/where_op.rs
#import common/index

struct Params {
    n: u32,
    cond_offset: u32,
    a_offset: u32,
    b_offset: u32,
    shape: array<vec4<u32>, 2>,
    cond_strides: array<vec4<u32>, 2>,
    a_strides: array<vec4<u32>, 2>,
    b_strides: array<vec4<u32>, 2>,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> cond: array<u32>; // (N) strided
@group(0) @binding(2) var<storage, read> a: array<T>; // (N) strided
@group(0) @binding(3) var<storage, read> b: array<T>; // (N) strided
@group(0) @binding(4) var<storage, read_write> y: array<T>; // (N)

@compute @workgroup_size(256)
fn where_cond(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_id(group, groups, local, 256u);
    if (i >= params.n) {
        return;
    }
    let cond_at = walk8(i, params.shape[0], params.shape[1], params.cond_strides[0], params.cond_strides[1]) + params.cond_offset;
    if (cond[cond_at] != 0u) {
        y[i] = a[walk8(i, params.shape[0], params.shape[1], params.a_strides[0], params.a_strides[1]) + params.a_offset];
    } else {
        y[i] = b[walk8(i, params.shape[0], params.shape[1], params.b_strides[0], params.b_strides[1]) + params.b_offset];
    }
}
