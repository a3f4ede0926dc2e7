//! Loss scaling for f16 activations (Micikevicius et al., arXiv:1710.03740), entirely on the device: the norm of the
//! gradients shows whether all are finite, the scale is adjusted, the update may be skipped, and the host does not wait.

use wgrad_runtime::{Defines, Device};

use super::SCALARS;
use crate::autograd::no_grad;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// How the factor of a loss follows its gradients; the default is that of `torch.amp.GradScaler`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GradScaler {
    /// The first factor.
    pub init_scale: f32,
    /// What the factor grows by after `growth_interval` steps in a row with finite gradients.
    pub growth_factor: f32,
    /// What the factor is multiplied by where a gradient is not finite.
    pub backoff_factor: f32,
    /// In steps.
    pub growth_interval: u32,
}

impl Default for GradScaler {
    fn default() -> Self {
        Self {
            init_scale: 65_536.0,
            growth_factor: 2.0,
            backoff_factor: 0.5,
            growth_interval: 2000,
        }
    }
}

/// The rule of a step's scalars, with what does not change from step to step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StepRule {
    /// Adam's and AdamW's: rows of lr, decay (1 - lr * weight_decay), l2, due.
    Adam {
        /// The decay rates of the averages of gradients and of their squares.
        betas: (f64, f64),
    },
    /// SGD's: rows of lr, weight_decay, 0, due.
    Sgd {
        /// The share of the last update that is kept.
        momentum: f64,
        /// The share of the gradient that does not enter the momentum.
        dampening: f64,
    },
}

/// The state of a [`GradScaler`].
pub struct Scaling {
    rule: GradScaler,
    /// f32 `[4]`: scale, steps since it changed, steps skipped, the last partial sum that was not finite.
    state: Tensor,
}

impl Scaling {
    /// Errors: numbers out of range; a device that failed.
    pub fn new(device: &Device, rule: GradScaler) -> Result<Self> {
        let positive = |v: f32| v > 0.0 && v.is_finite();
        let fits = positive(rule.init_scale)
            && rule.growth_factor >= 1.0
            && rule.growth_factor.is_finite()
            && positive(rule.backoff_factor)
            && rule.backoff_factor < 1.0
            && rule.growth_interval > 0;
        if !fits {
            return Err(Error::op(
                "grad_scaler",
                format!(
                    "{rule:?}: init_scale must be above 0, growth_factor at least 1, backoff_factor between 0 and 1, growth_interval at least 1"
                ),
            ));
        }
        // Mixed precision is set up here, before the first pass.
        crate::ops::run_self_tests(device);
        let state = Tensor::from_slice(device, &[rule.init_scale, 0.0, 0.0, -1.0], &[4])?;
        Ok(Self { rule, state })
    }

    /// The first factor.
    pub fn init_scale(&self) -> f32 {
        self.rule.init_scale
    }

    /// The factor, f32 of shape `[]`: a view that follows it.
    pub fn scale(&self) -> Result<Tensor> {
        no_grad(|| self.state.narrow(0, 0, 1)?.reshape(&[]))
    }

    /// Scale, steps since it changed, steps skipped, and the partial sum of [`super::norm`] that was not
    /// finite in the last of them, or -1. Waits.
    pub fn read(&self) -> Result<[f32; 4]> {
        let values = self.state.to_vec::<f32>()?;
        values
            .try_into()
            .map_err(|_| Error::op("grad_scaler", "the state does not hold four values"))
    }

    /// Goes on from a saved scale, with no step skipped.
    ///
    /// Errors: a scale that is not a positive number.
    pub fn write(&self, scale: f32, since: u32) -> Result<()> {
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(Error::op(
                "grad_scaler",
                format!("the scale {scale} is not a positive number"),
            ));
        }
        self.state
            .copy_from_slice(&[scale, since as f32, 0.0, -1.0])
    }

    /// The rule, for the kernel that finishes a norm, and the state it moves.
    pub(super) fn parts(&self) -> (GradScaler, &Tensor) {
        (self.rule, &self.state)
    }

    /// Fills `scalars` f32 `[P, 4]` from `rows` f32 `[P, 4]` as [`super::adamw_scalars`] and
    /// [`super::sgd_scalars`] would. The last of a row is 1 where the parameter is due in this step; `made` f32
    /// `[P]` counts its updates, which this step is one of unless `clip`, which [`super::norm`] returned,
    /// says that it is skipped.
    pub fn scalars(
        &self,
        rows: &Tensor,
        rule: StepRule,
        (clip, made): (&Tensor, &Tensor),
        scalars: &Tensor,
    ) -> Result<()> {
        let count = rows.shape().first().copied().unwrap_or(0);
        let fields: [(&Tensor, &[usize]); 4] = [
            (rows, &[count, SCALARS]),
            (clip, &[2]),
            (made, &[count]),
            (scalars, &[count, SCALARS]),
        ];
        for (tensor, shape) in fields {
            let fits = tensor.shape() == shape
                && tensor.dtype() == DType::F32
                && tensor.is_contiguous()
                && tensor.offset() == 0;
            if !fits {
                return Err(Error::op(
                    "optim_scalars",
                    format!("{tensor:?} is not a contiguous f32 {shape:?}"),
                ));
            }
        }
        let device = self.state.device();
        let sgd = matches!(rule, StepRule::Sgd { .. });
        let kernel = device.kernel("optim_scalars", &Defines::new().flag_if(sgd, "SGD"))?;
        // A finite number for ln 0: its power is 0 all the same.
        let log = |beta: f64| beta.ln().max(-1e9) as f32;
        let ((beta1, beta2), momentum, dampening) = match rule {
            StepRule::Adam { betas } => (betas, 0.0, 0.0),
            StepRule::Sgd {
                momentum,
                dampening,
            } => ((0.0, 0.0), momentum, dampening),
        };
        device
            .launch(&kernel)
            .u32("count", count)
            .f32("log_beta1", log(beta1))
            .f32("log_beta2", log(beta2))
            .f32("momentum", momentum as f32)
            .f32("take", (1.0 - dampening) as f32)
            .bind(rows.buffer())
            .bind(clip.buffer())
            .bind(made.buffer())
            .bind(scalars.buffer())
            .invocations(count as u64)?;
        Ok(())
    }
}
