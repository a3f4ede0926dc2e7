// The scalars of every parameter's step, where the device alone knows which steps loss scaling skips.
// math: t = made + due, or made where the coefficient is 0, is kept in made; with SGD (lr, keep, take, decay): keep
//   and take are 0 and 1 at t = 1, else momentum and 1 - dampening; else (lr / (1 - beta1^t), sqrt(1 - beta2^t),
//   decay, l2) of Adam and AdamW
// shapes: rows (P, 4): lr, decay, l2, due (1 where the parameter has a gradient, else 0); clip (2) as in grad_norm;
//   made (P): updates of the parameter; scalars (P, 4)
// launch: one invocation a parameter
// numerics: f32, 1 - beta^t without cancellation; overwrites made and scalars
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
@group(0) @binding(2) var<storage, read> clip: array<f32>; // (2)
@group(0) @binding(3) var<storage, read_write> made: array<f32>; // (P)
@group(0) @binding(4) var<storage, read_write> scalars: array<vec4<f32>>; // (P)

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
    let count = made[i] + select(row.w, 0.0, clip[1] == 0.0);
    made[i] = count;
    let t = max(count, 1.0);
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
