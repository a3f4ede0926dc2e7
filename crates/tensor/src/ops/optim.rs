//! Updates of parameters in place: AdamW and Adam, SGD, and the norm of all gradients that clips them.
//!
//! These are not ops of the graph: they overwrite their tensors and have no gradient. What changes from
//! one step to the next (learning rate, bias corrections, clip coefficient) is read from device memory,
//! so that a recorded step stays valid when it is run again.

mod cases;
mod flat;
mod references;
mod scaling;

pub use cases::cases;
pub use flat::{Flat, check_parameter, member_of, norm};
pub use scaling::{GradScaler, Scaling, StepRule};

use wgrad_runtime::{Defines, Launch};

use crate::autograd::{NoGradGuard, no_grad, same_device};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Columns of a table of scalars: each parameter has one row.
pub const SCALARS: usize = 4;
/// Elements that one workgroup of `sum_squares` adds up.
const PIECE: usize = 16384;
/// Elements that one workgroup of `adamw` and `sgd` updates.
const BLOCK: usize = 4096;

/// The inputs of every update of one parameter, besides its state.
#[derive(Clone, Copy)]
pub struct Update<'a> {
    /// The parameter, f32 and contiguous. Overwritten.
    pub parameter: &'a Tensor,
    /// Its gradient, of the same shape.
    pub gradient: &'a Tensor,
    /// What [`grad_norm`] returned.
    pub clip: &'a Tensor,
    /// f32 `[P, 4]`: rows from [`adamw_scalars`] or [`sgd_scalars`].
    pub scalars: &'a Tensor,
    /// The parameter's row.
    pub row: usize,
}

/// The constants of Adam: decay rates of both averages, and what is added to the denominator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamConstants {
    /// The decay rates of the averages of gradients and of their squares.
    pub betas: (f64, f64),
    /// Added to the denominator.
    pub eps: f64,
}

/// The scalars of a parameter's step `t`, counted from 1, as PyTorch computes them. `weight_decay` is
/// the decoupled one of AdamW, `l2` that of Adam.
pub fn adamw_scalars(
    lr: f64,
    weight_decay: f64,
    l2: f64,
    betas: (f64, f64),
    t: u64,
) -> [f32; SCALARS] {
    let step_size = lr / (1.0 - betas.0.powf(t as f64));
    let correction = (1.0 - betas.1.powf(t as f64)).sqrt();
    let decay = 1.0 - lr * weight_decay;
    [step_size as f32, correction as f32, decay as f32, l2 as f32]
}

/// The scalars of a parameter's step `t`, counted from 1: the first gradient fills the momentum buffer
/// undamped, as in PyTorch.
pub fn sgd_scalars(
    lr: f64,
    momentum: f64,
    dampening: f64,
    weight_decay: f64,
    t: u64,
) -> [f32; SCALARS] {
    let (keep, take) = match t {
        0 | 1 => (0.0, 1.0),
        _ => (momentum, 1.0 - dampening),
    };
    [lr, keep, take, weight_decay].map(|v| v as f32)
}

/// The global norm of `gradients` and the factor that brings it down to `max_norm`: f32 `[2]`, computed
/// on the device without a wait. The factor is min(1, max_norm / (norm + 1e-6)) as in PyTorch's
/// `clip_grad_norm_`, and 1 without `max_norm`. The sums are taken in a fixed order.
///
/// Errors: no gradient, one that is not f32, a `max_norm` that is not a positive number.
pub fn grad_norm(gradients: &[Tensor], max_norm: Option<f64>) -> Result<Tensor> {
    let Some(first) = gradients.first() else {
        return Err(Error::op("grad_norm", "no gradient was given"));
    };
    let device = first.device();
    let limit = device.max_binding_bytes();
    let mut count = 0;
    for gradient in gradients {
        if gradient.dtype() != DType::F32 {
            return Err(Error::op(
                "grad_norm",
                format!("{gradient:?} is not f32; cast it first"),
            ));
        }
        for (_, length) in chunks(gradient.numel(), limit) {
            count += length.div_ceil(PIECE);
        }
    }
    let partials = Tensor::empty(device, &[count.max(1)], DType::F32)?;
    let mut at = 0;
    for gradient in gradients {
        let x = no_grad(|| gradient.contiguous())?;
        for (start, length) in chunks(x.numel(), limit) {
            let groups = length.div_ceil(PIECE);
            let fours = length.is_multiple_of(4) && (x.offset() + start).is_multiple_of(4);
            let defines = Defines::new().flag_if(fours, "VECTORS");
            let kernel = device.kernel("sum_squares", &defines)?;
            let launch = device.launch(&kernel).u32("n", length).u32("at", at);
            window(launch, "x_offset", &x, start, length)
                .bind(partials.buffer())
                .groups(groups as u64)?;
            at += groups;
        }
    }
    finish_norm(&partials, count, max_norm, None)
}

/// The norm and the clip coefficient from `count` partial sums of squares.
fn finish_norm(
    partials: &Tensor,
    count: usize,
    max_norm: Option<f64>,
    scaling: Option<&Scaling>,
) -> Result<Tensor> {
    let max_norm = max_norm.unwrap_or(0.0);
    if !(max_norm >= 0.0 && max_norm.is_finite()) {
        return Err(Error::op(
            "grad_norm",
            format!("max_norm {max_norm} is not a positive number; use None to clip nothing"),
        ));
    }
    let device = partials.device();
    let clip = Tensor::empty(device, &[2], DType::F32)?;
    let (rule, state) = match scaling.map(Scaling::parts) {
        Some((rule, state)) => (rule, Some(state)),
        None => (GradScaler::default(), None),
    };
    let defines = Defines::new().flag_if(state.is_some(), "SCALED");
    let kernel = device.kernel("grad_norm", &defines)?;
    let launch = device
        .launch(&kernel)
        .u32("count", count)
        .f32("max_norm", max_norm as f32)
        .f32("growth_factor", rule.growth_factor)
        .f32("backoff_factor", rule.backoff_factor)
        .f32("growth_interval", rule.growth_interval as f32)
        .bind(partials.buffer())
        .bind(clip.buffer());
    match state {
        Some(state) => launch.bind(state.buffer()).groups(1)?,
        None => launch.groups(1)?,
    }
    Ok(clip)
}

/// One step of AdamW in place; with `l2` the weight decay of Adam, which is added to the gradient.
/// `exp_avg` and `exp_avg_sq` are the running averages of the gradient and of its square, zeros before
/// the first step. The formulas are those of `torch.optim.AdamW` and `torch.optim.Adam`.
///
/// Errors: a tensor that is not f32, contiguous and of the parameter's shape.
pub fn adamw(
    update: &Update,
    exp_avg: &Tensor,
    exp_avg_sq: &Tensor,
    constants: AdamConstants,
    l2: f64,
) -> Result<()> {
    let _guard = NoGradGuard::new();
    let p = update.parameter;
    let gradient = checked("adamw", update, &[exp_avg, exp_avg_sq])?;
    let device = p.device();
    let kernel = device.kernel("adamw", &Defines::new())?;
    let (beta1, beta2) = constants.betas;
    for (start, length) in chunks(p.numel(), device.max_binding_bytes()) {
        let launch = device
            .launch(&kernel)
            .u32("n", length)
            .u32("row", update.row)
            .f32("one_minus_beta1", (1.0 - beta1) as f32)
            .f32("beta2", beta2 as f32)
            .f32("one_minus_beta2", (1.0 - beta2) as f32)
            .f32("eps", constants.eps as f32)
            .f32("l2", l2 as f32);
        let launch = window(launch, "g_offset", &gradient, start, length)
            .bind(update.scalars.buffer())
            .bind(update.clip.buffer());
        let launch = window(launch, "p_offset", p, start, length);
        let launch = window(launch, "m_offset", exp_avg, start, length);
        window(launch, "v_offset", exp_avg_sq, start, length)
            .groups(length.div_ceil(BLOCK) as u64)?;
    }
    Ok(())
}

/// The momentum of [`sgd`].
#[derive(Clone, Copy)]
pub struct Momentum<'a> {
    /// The running sum of gradients. Overwritten; zeros before the first step.
    pub buffer: &'a Tensor,
    /// The share of the last update that is kept.
    pub momentum: f64,
    /// Whether the gradient is taken ahead of the momentum's step (Nesterov).
    pub nesterov: bool,
}

/// One step of stochastic gradient descent in place, with the formulas of `torch.optim.SGD`;
/// `weight_decay` is added to the gradient.
///
/// Errors: a tensor that is not f32, contiguous and of the parameter's shape.
pub fn sgd(update: &Update, momentum: Option<Momentum>, weight_decay: f64) -> Result<()> {
    let _guard = NoGradGuard::new();
    let p = update.parameter;
    let buffers: Vec<&Tensor> = momentum.iter().map(|m| m.buffer).collect();
    let gradient = checked("sgd", update, &buffers)?;
    let device = p.device();
    let defines = Defines::new()
        .flag_if(momentum.is_some(), "MOMENTUM")
        .flag_if(momentum.is_some_and(|m| m.nesterov), "NESTEROV");
    let kernel = device.kernel("sgd", &defines)?;
    for (start, length) in chunks(p.numel(), device.max_binding_bytes()) {
        let launch = device
            .launch(&kernel)
            .u32("n", length)
            .u32("row", update.row)
            .f32("weight_decay", weight_decay as f32);
        let launch = window(launch, "g_offset", &gradient, start, length)
            .bind(update.scalars.buffer())
            .bind(update.clip.buffer());
        let mut launch = window(launch, "p_offset", p, start, length);
        if let Some(m) = &momentum {
            launch = launch.f32("momentum", m.momentum as f32);
            launch = window(launch, "b_offset", m.buffer, start, length);
        }
        launch.groups(length.div_ceil(BLOCK) as u64)?;
    }
    Ok(())
}

/// Checks an update and returns its gradient, contiguous and in memory that the update does not overwrite.
fn checked(op: &'static str, update: &Update, state: &[&Tensor]) -> Result<Tensor> {
    let p = update.parameter;
    same_device(
        op,
        &[&[p, update.gradient, update.clip, update.scalars], state].concat(),
    )?;
    if p.dtype() != DType::F32 || !p.is_contiguous() {
        return Err(Error::op(
            op,
            format!(
                "the parameter {p:?} is not f32 and contiguous; keep an f32 copy and update that"
            ),
        ));
    }
    for tensor in state {
        if tensor.dtype() != DType::F32 || !tensor.is_contiguous() || tensor.shape() != p.shape() {
            return Err(Error::op(
                op,
                format!("the state {tensor:?} is not contiguous and like the parameter {p:?}"),
            ));
        }
    }
    let g = update.gradient;
    if g.dtype() != DType::F32 || g.shape() != p.shape() {
        return Err(Error::op(
            op,
            format!("the gradient {g:?} does not fit the parameter {p:?}"),
        ));
    }
    let rows = update.scalars.shape();
    if rows.len() != 2 || rows[1] != SCALARS || update.row >= rows[0] || update.clip.numel() != 2 {
        return Err(Error::op(
            op,
            format!(
                "row {} of scalars {:?} and clip {:?}; [P, {SCALARS}] and [2] are needed",
                update.row, update.scalars, update.clip
            ),
        ));
    }
    // A launch may not read and write one buffer.
    if g.shares_memory(p) || state.iter().any(|s| s.shares_memory(g)) {
        let copy = Tensor::empty(g.device(), g.shape(), DType::F32)?;
        g.detach().copy_into(&copy)?;
        return Ok(copy);
    }
    no_grad(|| g.contiguous())
}

/// Cuts `n` f32 elements into (start, length) pieces that fit one binding of `limit` bytes each, even
/// where the binding has to start up to 255 bytes early.
fn chunks(n: usize, limit: u64) -> impl Iterator<Item = (usize, usize)> {
    let most = (usize::try_from(limit / 4)
        .unwrap_or(usize::MAX)
        .saturating_sub(64)
        / 64
        * 64)
        .max(64);
    (0..n.div_ceil(most)).map(move |i| (i * most, most.min(n - i * most)))
}

/// Binds elements `start..start + length` of a contiguous f32 tensor; the parameter `offset` tells the
/// kernel where in the binding they begin.
fn window<'a>(
    launch: Launch<'a>,
    offset: &str,
    tensor: &'a Tensor,
    start: usize,
    length: usize,
) -> Launch<'a> {
    let first = (tensor.offset() + start) as u64 * 4;
    let aligned = first & !255;
    let lead = first - aligned;
    launch.u32(offset, (lead / 4) as usize).window(
        tensor.buffer(),
        aligned,
        lead + length as u64 * 4,
    )
}

#[cfg(test)]
mod tests {
    use super::chunks;

    #[test]
    fn chunks_cover_everything_and_fit_the_binding() {
        for (n, limit) in [
            (0usize, 1024u64),
            (1, 1024),
            (192, 1024),
            (193, 1024),
            (5000, 4096),
        ] {
            let mut next = 0;
            for (start, length) in chunks(n, limit) {
                assert_eq!(start, next);
                assert!(length > 0 && length as u64 * 4 + 255 <= limit);
                next += length;
            }
            assert_eq!(next, n);
        }
        assert_eq!(chunks(33_000_000, 128 << 20).count(), 1);
        assert_eq!(chunks(33_600_000, 128 << 20).count(), 2);
    }
}
