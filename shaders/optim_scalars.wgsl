// The scalars of every parameter's step, where the device alone knows how many steps loss scaling skipped.
// math: t = counted - skipped; with SGD (lr, keep, take, decay): keep and take are 0 and 1 at t = 1, else momentum
//   and 1 - dampening; else (lr / (1 - beta1^t), sqrt(1 - beta2^t), decay, l2) of Adam and AdamW
// shapes: rows (P, 4): lr, decay, l2, counted; scaler (4) as in grad_norm; scalars (P, 4)
// launch: one invocation a parameter
// numerics: f32, 1 - beta^t without cancellation; overwrites scalars
// backward: none
// reference: adamw_scalars and sgd_scalars in ops/optim.rs
#import common/index
#import common/math

struct Params {
    count: u32,
    log_beta1: f32,
    log_beta2: f32,
    momentum: f32,
    take: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<vec4<f32>>; // (P)
@group(0) @binding(2) var<storage, read> scaler: array<f32>; // (4)
@group(0) @binding(3) var<storage, read_write> scalars: array<vec4<f32>>; // (P)

@compute @workgroup_size(64)
fn optim_scalars(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = linear_id(group, groups, local, 64u);
    if (i >= params.count) {
        return;
    }
    let row = rows[i];
    let t = max(row.w - scaler[2], 1.0);
#ifdef SGD
    let first = t == 1.0;
    let keep = select(params.momentum, 0.0, first);
    let take = select(params.take, 1.0, first);
    scalars[i] = vec4<f32>(row.x, keep, take, row.y);
#else
    let step_size = row.x / one_minus_exp(t * params.log_beta1);
    let correction = sqrt(one_minus_exp(t * params.log_beta2));
    scalars[i] = vec4<f32>(step_size, correction, row.y, row.z);
#endif
}
