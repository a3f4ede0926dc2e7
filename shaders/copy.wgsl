// Copies between any two layouts, converting the type.
// math: y[strided] = T(x[strided])
// shapes: x and y any strides over one shape
// launch: one invocation an element; with VECTORS four, where both are contiguous
// numerics: exact but for the conversion; floats to integers truncate; elements of y outside the
//   view stay as they are
// backward: copy with the layouts swapped
// reference: the values themselves
#import common/index

struct Params {
    n: u32,
    x_offset: u32,
    y_offset: u32,
    shape: array<vec4<u32>, 2>,
    x_strides: array<vec4<u32>, 2>,
    y_strides: array<vec4<u32>, 2>,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<S>; // (N) strided
@group(0) @binding(2) var<storage, read_write> y: array<T>; // (N) strided

@compute @workgroup_size(256)
fn copy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_id(group, groups, local, 256u);
#ifdef VECTORS
    if (i * 4u < params.n) {
        y[i + params.y_offset / 4u] = T(x[i + params.x_offset / 4u]);
    }
#else
    if (i >= params.n) {
        return;
    }
    let x_at = walk8(i, params.shape[0], params.shape[1], params.x_strides[0], params.x_strides[1]) + params.x_offset;
    let y_at = walk8(i, params.shape[0], params.shape[1], params.y_strides[0], params.y_strides[1]) + params.y_offset;
    y[y_at] = T(x[x_at]);
#endif
}
