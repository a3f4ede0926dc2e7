// One step of AdamW (Loshchilov and Hutter, arXiv:1711.05101) or, with l2, of Adam (Kingma and Ba,
// arXiv:1412.6980) on one parameter, in place.
// math: g = coefficient * gradient + l2 * p; m += (1 - beta1) * (g - m); v = beta2 * v + (1 - beta2) * g²;
//   p = decay * p - step_size * m / (sqrt(v) / correction + eps)
//   with decay = 1 - lr * weight_decay, step_size = lr / (1 - beta1^t), correction = sqrt(1 - beta2^t)
// shapes: p, gradient, m, v contiguous of N elements; row `row` of scalars holds step_size, correction,
//   decay; clip holds the norm of all gradients and the coefficient
// launch: 16 elements an invocation, 4096 a workgroup, so that the scalars are loaded once for many
// numerics: f32; what changes from step to step comes from scalars and clip, so a recorded launch stays
//   valid; overwrites p, m, v and reads each once
// backward: none
// reference: adamw_reference in ops/optim/references.rs
#import common/index

struct Params {
    n: u32,
    p_offset: u32,
    g_offset: u32,
    m_offset: u32,
    v_offset: u32,
    row: u32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    eps: f32,
    l2: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradient: array<f32>; // (N)
@group(0) @binding(2) var<storage, read> scalars: array<f32>; // (P, 4)
@group(0) @binding(3) var<storage, read> clip: array<f32>; // (2)
@group(0) @binding(4) var<storage, read_write> p: array<f32>; // (N)
@group(0) @binding(5) var<storage, read_write> m: array<f32>; // (N)
@group(0) @binding(6) var<storage, read_write> v: array<f32>; // (N)

@compute @workgroup_size(256)
fn adamw(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let first = linear_id(group, groups, 0u, 4096u);
    let end = min(params.n, first + 4096u);
    let step_size = scalars[params.row * 4u];
    let correction = scalars[params.row * 4u + 1u];
    let decay = scalars[params.row * 4u + 2u];
    let coefficient = clip[1];
    // The gradients were not finite: see grad_norm.
    if (coefficient == 0.0) {
        return;
    }
    for (var i = first + local; i < end; i += 256u) {
        let old = p[params.p_offset + i];
        let m_old = m[params.m_offset + i];
        let v_old = v[params.v_offset + i];
        let g = coefficient * gradient[params.g_offset + i] + params.l2 * old;
        let m_new = m_old + params.one_minus_beta1 * (g - m_old);
        let v_new = params.beta2 * v_old + params.one_minus_beta2 * (g * g);
        p[params.p_offset + i] = decay * old - step_size * (m_new / (sqrt(v_new) / correction + params.eps));
        m[params.m_offset + i] = m_new;
        v[params.v_offset + i] = v_new;
    }
}
