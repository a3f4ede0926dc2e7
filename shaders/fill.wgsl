// One value everywhere.
// math: y = value
// shapes: y contiguous
// launch: one invocation an element
// numerics: rounded once to the type of y
// backward: none
// reference: the value
#import common/index

struct Params {
    n: u32,
    y_offset: u32,
    value: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<T>; // (N)

@compute @workgroup_size(256)
fn fill(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_id(group, groups, local, 256u);
    if (i < params.n) {
        y[i + params.y_offset] = T(params.value);
    }
}
