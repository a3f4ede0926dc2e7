// Multiplies and adds in registers: how fast kernels can compute on this adapter.
// math: y = the sum of 12 chains of v = v a + b, ROUNDS * 16 long
// shapes: y (N)
// launch: one invocation an element, 256 a workgroup; 12 * 2 * 16 * ROUNDS operations each
// numerics: all in T; with a = b = 0.5 the chains go to 1
// backward: none, it is for measuring only
// reference: 12 after many rounds with a = b = 0.5
#import common/index

struct Params {
    n: u32,
    a: f32,
    b: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // (N)

@compute @workgroup_size(256)
fn peak_fma(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_id(group, groups, local, 256u);
    if (i >= params.n) {
        return;
    }
    let a = vec4<T>(T(params.a));
    let b = vec4<T>(T(params.b));
    // Twelve chains hide the latency of one, also where a multiplication and an addition follow each other: two of
    // each a cycle, three cycles long. With a and b they still fit 16 registers.
    var v = vec4<T>(T(local & 1u), T(0.25), T(0.5), T(0.75));
    var w = v.wzyx;
    var u = v.yxwz;
    for (var round = 0u; round < ROUNDS; round++) {
        // Written out, because not every driver unrolls loops, and a loop's branch costs as much as a link of a chain.
#repeat link 16
        v = fma(v, a, b); w = fma(w, a, b); u = fma(u, a, b);
#endrepeat
    }
    let sum = v + w + u;
    y[i] = f32(sum.x + sum.y + sum.z + sum.w);
}
