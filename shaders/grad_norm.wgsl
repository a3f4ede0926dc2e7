// The norm of all gradients and the factor that clips them: the second stage after sum_squares.
// math: clip = (norm, coefficient), norm = sqrt(sum of partials),
//   coefficient = min(1, max_norm / (norm + 1e-6)), or 1 if max_norm is 0; with SCALED the gradients are those of
//   a scaled loss: norm and coefficient are divided by the scale, which then follows torch.amp.GradScaler's rule;
//   where a partial is not finite the coefficient is 0, and the step is skipped
// shapes: G partials; clip of 2; scaler of 4: scale, steps since it changed, steps skipped, the last partial that
//   was not finite
// launch: one workgroup of 256
// numerics: f32; every invocation adds its partials in order, then a fixed tree: the same bits every
//   time; overwrites
// backward: none
// reference: grad_norm_reference in ops/optim/references.rs
#import common/reduce

const WIDTH: u32 = 256u;

struct Params {
    count: u32,
    max_norm: f32,
    growth_factor: f32,
    backoff_factor: f32,
    growth_interval: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partials: array<f32>; // (G)
@group(0) @binding(2) var<storage, read_write> clip: array<f32>; // (2)
#ifdef SCALED
@group(0) @binding(3) var<storage, read_write> scaler: array<f32>; // (4)

// Moves the scale on; `bad` is 0, or one more than the last partial that was not finite.
fn update_scale(scale: f32, bad: f32) {
    if (bad > 0.0) {
        scaler[0] = scale * params.backoff_factor;
        scaler[1] = 0.0;
        scaler[2] += 1.0;
        scaler[3] = bad - 1.0;
        return;
    }
    let steps = scaler[1] + 1.0;
    let grown = scale * params.growth_factor;
    if (steps >= params.growth_interval && grown < 3e38) {
        scaler[0] = grown;
        scaler[1] = 0.0;
    } else {
        scaler[1] = steps;
    }
}
#endif

@compute @workgroup_size(256)
fn grad_norm(@builtin(local_invocation_index) local: u32) {
    var sum = 0.0;
#ifdef SCALED
    var bad = 0.0;
#endif
    for (var i = local; i < params.count; i += 256u) {
        let partial = partials[i];
        sum += partial;
#ifdef SCALED
        if ((bitcast<u32>(partial) & 0x7f800000u) == 0x7f800000u) {
            bad = f32(i + 1u);
        }
#endif
    }
    let total = row_sum(sum, local);
#ifdef SCALED
    let last = row_max(bad, local);
#endif
    if (local == 0u) {
#ifdef SCALED
        let scale = scaler[0];
        let norm = sqrt(total) / scale;
#else
        let norm = sqrt(total);
#endif
        var coefficient = select(1.0, min(1.0, params.max_norm / (norm + 1e-6)), params.max_norm > 0.0);
#ifdef SCALED
        coefficient = select(coefficient / scale, 0.0, last > 0.0);
        update_scale(scale, last);
#endif
        clip[0] = norm;
        clip[1] = coefficient;
    }
}
