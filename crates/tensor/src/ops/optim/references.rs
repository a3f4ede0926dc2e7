//! One step of each optimizer in float64.

use crate::cases::HostArray;

/// The norm of `gradients` and the clip coefficient, in float64.
pub fn grad_norm_reference(gradients: &[HostArray], max_norm: Option<f64>) -> [f64; 2] {
    let squares = gradients.iter().flat_map(|g| &g.data).map(|v| v * v);
    let norm = squares.sum::<f64>().sqrt();
    let coefficient = max_norm.map_or(1.0, |max| (max / (norm + 1e-6)).min(1.0));
    [norm, coefficient]
}

/// The hyperparameters of the cases.
#[derive(Clone, Copy)]
pub struct Hyper {
    pub lr: f64,
    pub decay: f64,
    pub l2: f64,
    pub t: u64,
}

/// The hyperparameters of the SGD cases.
pub const BETAS: (f64, f64) = (0.9, 0.95);
pub const EPS: f64 = 1e-3;
pub const MAX_NORM: f64 = 0.75;

/// [p, m, v] after one step of AdamW from x = [p, gradient, m, v], in float64.
pub fn adamw_reference(x: &[HostArray], hyper: Hyper) -> [HostArray; 3] {
    let [_, coefficient] = grad_norm_reference(&x[1..2], Some(MAX_NORM));
    let g = x[1].zip(&x[0], |g, p| coefficient * g + hyper.l2 * p);
    let m = x[2].zip(&g, |m, g| m + (1.0 - BETAS.0) * (g - m));
    let v = x[3].zip(&g, |v, g| BETAS.1 * v + (1.0 - BETAS.1) * g * g);
    let step_size = hyper.lr / (1.0 - BETAS.0.powf(hyper.t as f64));
    let correction = (1.0 - BETAS.1.powf(hyper.t as f64)).sqrt();
    let change = m.zip(&v, |m, v| step_size * m / (v.sqrt() / correction + EPS));
    let p = x[0].zip(&change, |p, change| {
        p * (1.0 - hyper.lr * hyper.decay) - change
    });
    [p, m, v]
}

/// [p, buffer] after one step of SGD from x = [p, gradient, buffer], in float64; momentum 0.9,
/// dampening 0.25.
pub fn sgd_reference(
    x: &[HostArray],
    hyper: Hyper,
    momentum: bool,
    nesterov: bool,
) -> [HostArray; 2] {
    let [_, coefficient] = grad_norm_reference(&x[1..2], Some(MAX_NORM));
    let g = x[1].zip(&x[0], |g, p| coefficient * g + hyper.l2 * p);
    let buffer = match hyper.t {
        1 => g.clone(),
        _ => x[2].zip(&g, |b, g| 0.9 * b + 0.75 * g),
    };
    let direction = match (momentum, nesterov) {
        (false, _) => g,
        (true, false) => buffer.clone(),
        (true, true) => g.zip(&buffer, |g, b| g + 0.9 * b),
    };
    [x[0].zip(&direction, |p, d| p - hyper.lr * d), buffer]
}
