// Copies 16 bytes an invocation: how fast kernels can move memory on this adapter.
// math: y = x
// shapes: x and y (N) of 16 bytes each
// launch: one invocation an element, 256 a workgroup
// numerics: exact
// backward: none, it is for measuring only
// reference: the values themselves
#import common/index

struct Params {
    n: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>; // (N)
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // (N)

@compute @workgroup_size(256)
fn peak_copy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_id(group, groups, local, 256u);
    if (i < params.n) {
        y[i] = x[i];
    }
}
