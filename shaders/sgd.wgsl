// One step of stochastic gradient descent on one parameter, in place, as PyTorch defines it; flag
// MOMENTUM for heavy-ball momentum, with NESTEROV for Nesterov's (Sutskever et al., ICML 2013).
// math: g = coefficient * gradient + weight_decay * p; buffer = keep * buffer + take * g;
//   p -= lr * buffer, with NESTEROV lr * (g + momentum * buffer), without MOMENTUM lr * g
// shapes: p, gradient, buffer contiguous of N elements; row `row` of scalars holds lr, keep, take: 0
//   and 1 in a parameter's first step, then momentum and 1 - dampening; clip holds the norm of all
//   gradients and the coefficient
// launch: 16 elements an invocation, 4096 a workgroup, so that the scalars are loaded once for many
// numerics: f32; what changes from step to step comes from scalars and clip, so a recorded launch stays
//   valid; overwrites p and buffer and reads each once
// backward: none
// reference: sgd_reference in ops/optim/references.rs
#import common/index

struct Params {
    n: u32,
    p_offset: u32,
    g_offset: u32,
#ifdef MOMENTUM
    b_offset: u32,
    momentum: f32,
#endif
    row: u32,
    weight_decay: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradient: array<f32>; // (N)
@group(0) @binding(2) var<storage, read> scalars: array<f32>; // (P, 4)
@group(0) @binding(3) var<storage, read> clip: array<f32>; // (2)
@group(0) @binding(4) var<storage, read_write> p: array<f32>; // (N)
#ifdef MOMENTUM
@group(0) @binding(5) var<storage, read_write> buffer: array<f32>; // (N)
#endif

@compute @workgroup_size(256)
fn sgd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let first = linear_id(group, groups, 0u, 4096u);
    let end = min(params.n, first + 4096u);
    let lr = scalars[params.row * 4u];
#ifdef MOMENTUM
    let keep = scalars[params.row * 4u + 1u];
    let take = scalars[params.row * 4u + 2u];
#endif
    let coefficient = clip[1];
    // The gradients were not finite: see grad_norm.
    if (coefficient == 0.0) {
        return;
    }
    for (var i = first + local; i < end; i += 256u) {
        let old = p[params.p_offset + i];
        let g = coefficient * gradient[params.g_offset + i] + params.weight_decay * old;
#ifdef MOMENTUM
        let average = keep * buffer[params.b_offset + i] + take * g;
        buffer[params.b_offset + i] = average;
#ifdef NESTEROV
        p[params.p_offset + i] = old - lr * (g + params.momentum * average);
#else
        p[params.p_offset + i] = old - lr * average;
#endif
#else
        p[params.p_offset + i] = old - lr * g;
#endif
    }
}
