// The norm of all gradients and the factor that clips them: the second stage after sum_squares.
// math: clip = (norm, coefficient), norm = sqrt(sum of partials),
//   coefficient = min(1, max_norm / (norm + 1e-6)), or 1 if max_norm is 0
// shapes: G partials; clip of 2
// launch: one workgroup of 256
// numerics: f32; every invocation adds its partials in order, then a fixed tree: the same bits every
//   time; overwrites
// backward: none
// reference: grad_norm_reference in ops/optim/cases.rs
#import common/reduce

const WIDTH: u32 = 256u;

struct Params {
    count: u32,
    max_norm: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partials: array<f32>; // (G)
@group(0) @binding(2) var<storage, read_write> clip: array<f32>; // (2)

@compute @workgroup_size(256)
fn grad_norm(@builtin(local_invocation_index) local: u32) {
    var sum = 0.0;
    for (var i = local; i < params.count; i += 256u) {
        sum += partials[i];
    }
    let total = row_sum(sum, local);
    if (local == 0u) {
        let norm = sqrt(total);
        clip[0] = norm;
        clip[1] = select(1.0, min(1.0, params.max_norm / (norm + 1e-6)), params.max_norm > 0.0);
    }
}
