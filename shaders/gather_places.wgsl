// The position in x of each element that gather's index picks. The backward pass sums gradients by these positions.
// math: y[i, j, k] = place in x of (i, min(index[i, j, k], side - 1), k)
// shapes: index any strides; y its shape, contiguous; x contiguous
// launch: one invocation an element of the index
// numerics: integers
// backward: none
// reference: the formula, in ops/gather.rs
#import common/gather

struct Params {
    n: u32,
    index_offset: u32,
    side: u32, // of x along the dimension
    stride: u32, // along the dimension
    shape: array<vec4<u32>, 2>,
    x_strides: array<vec4<u32>, 2>, // 0 along the dimension
    index_strides: array<vec4<u32>, 2>,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> index: array<u32>; // (I, J, K) strided
@group(0) @binding(2) var<storage, read_write> y: array<u32>; // (I, J, K)

@compute @workgroup_size(256)
fn gather_places(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_id(group, groups, local, 256u);
    if (i >= params.n) {
        return;
    }
    let x_at = walk8(i, params.shape[0], params.shape[1], params.x_strides[0], params.x_strides[1]);
    y[i] = x_at + picked(entry_at(i)) * params.stride;
}
