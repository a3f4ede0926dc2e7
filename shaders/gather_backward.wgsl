// The gradient of gather: every element of x sums the gradients of the places that picked it, in order.
// math: dx[i, q, k] = sum over j with index[i, j, k] = q of dy[i, j, k]
// shapes: dy and index any strides; dx contiguous; the region is the shape of index with x's side along
//   the dimension; elements of dx outside of the region are not written
// launch: one invocation an element of the region, which walks `first..last` of the index's entries
// numerics: f32 sum in order of j, rounded once a launch; overwrites dx if `first` is 0, else adds
// backward: none
// reference: the formula, in ops/gather.rs
#import common/gather

struct Params {
    n: u32,
    dy_offset: u32,
    index_offset: u32,
    side: u32, // of x along the dimension
    dy_stride: u32, // along the dimension
    index_stride: u32, // along the dimension
    first: u32,
    last: u32,
    shape: array<vec4<u32>, 2>,
    dx_strides: array<vec4<u32>, 2>,
    dy_strides: array<vec4<u32>, 2>, // 0 along the dimension
    index_strides: array<vec4<u32>, 2>, // 0 along the dimension
    place_strides: array<vec4<u32>, 2>, // 1 along the dimension, else 0
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<S>; // (I, J, K) strided
@group(0) @binding(2) var<storage, read> index: array<u32>; // (I, J, K) strided
@group(0) @binding(3) var<storage, read_write> dx: array<S>; // (I, Q, K)

@compute @workgroup_size(256)
fn gather_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_id(group, groups, local, 256u);
    if (i >= params.n) {
        return;
    }
    let dx_at = walk8(i, params.shape[0], params.shape[1], params.dx_strides[0], params.dx_strides[1]);
    let dy_at = walk8(i, params.shape[0], params.shape[1], params.dy_strides[0], params.dy_strides[1]) + params.dy_offset;
    let index_at = entry_at(i);
    let place = walk8(i, params.shape[0], params.shape[1], params.place_strides[0], params.place_strides[1]);
    var sum = 0.0;
    if (params.first > 0u) {
        sum = f32(dx[dx_at]);
    }
    for (var j = params.first; j < params.last; j++) {
        if (picked(index_at + j * params.index_stride) == place) {
            sum = sum + f32(dy[dy_at + j * params.dy_stride]);
        }
    }
    dx[dx_at] = S(sum);
}
