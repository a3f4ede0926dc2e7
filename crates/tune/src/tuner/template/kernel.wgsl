// z = x + y over n values.
// `wgrad tune NAME.wgsl` puts other values in the place of these constants.
const WIDTH: u32 = 64u; // invocations of a workgroup
const EACH: u32 = 1u; // values an invocation

struct Params {
    n: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> z: array<f32>;

@compute @workgroup_size(WIDTH)
fn NAME(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    for (var i = 0u; i < EACH; i++) {
        let at = (group.x * EACH + i) * WIDTH + local.x;
        if (at < params.n) {
            z[at] = x[at] + y[at];
        }
    }
}
