// Elements picked along one dimension.
// math: y[i, j, k] = x[i, index[i, j, k], k], here for dimension 1 of 3
// shapes: x and index any strides; y the shape of index, contiguous; index is no larger than x except
//   along the dimension
// launch: one invocation an element of y
// numerics: exact: values are copied; indices beyond the dimension read its last element
// backward: gather_backward
// reference: the formula, in ops/gather.rs
#import common/gather

struct Params {
    n: u32,
    x_offset: u32,
    index_offset: u32,
    side: u32, // of x along the dimension
    stride: u32, // of x along the dimension
    shape: array<vec4<u32>, 2>,
    x_strides: array<vec4<u32>, 2>, // 0 along the dimension
    index_strides: array<vec4<u32>, 2>,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<T>; // (I, Q, K) strided
@group(0) @binding(2) var<storage, read> index: array<u32>; // (N) strided
@group(0) @binding(3) var<storage, read_write> y: array<T>; // (N)

@compute @workgroup_size(256)
fn gather(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_id(group, groups, local, 256u);
    if (i >= params.n) {
        return;
    }
    let x_at = walk8(i, params.shape[0], params.shape[1], params.x_strides[0], params.x_strides[1]) + params.x_offset;
    y[i] = x[x_at + picked(entry_at(i)) * params.stride];
}
