//! Optimizers: SGD, Adam and AdamW with PyTorch's formulas, parameter groups, and clipping by the
//! global norm. A step is recorded on the device and nothing in it waits.
//!
//! [`Optimizer`] is the trait that the training loop uses. Implement it for your own update rule; ops under
//! `no_grad` and `copy_into` update a parameter, and [`clip_grad_norm`] clips.

mod adam;
mod groups;
mod multi_tensor;
mod norm;
mod scaler;
mod sgd;
mod state;

pub use adam::{Adam, AdamConfig, AdamW, AdamWConfig};
pub use groups::{ParamGroup, ParamGroups, no_decay, takes_no_decay};
pub use norm::{GradNorm, clip_grad_norm};
pub use scaler::GradScalerState;
pub use sgd::{Sgd, SgdConfig};
pub use state::{OptimizerState, check_state_values};
pub use wgrad_tensor::ops::optim::GradScaler;

use adam::AdamConstants;
use sgd::SgdConstants;

use wgrad_tensor::{Error, Gradients, Result, Tensor};

use crate::LoadReport;

/// Updates parameters from their gradients.
///
/// [`Sgd`], [`Adam`] and [`AdamW`] are those of this crate. A training loop takes `&mut dyn Optimizer`, so that a type
/// outside of this crate can implement the trait and be trained with.
///
/// ```
/// use wgrad_nn::optim::{AdamW, AdamWConfig, Optimizer};
/// use wgrad_nn::{Linear, Module, VarBuilder};
/// use wgrad_tensor::{DType, Device, DeviceOptions, Generator, Result, Tensor};
///
/// # fn main() -> Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let generator = Generator::new(&device, 0)?;
/// let layer = Linear::new(3, 1, &VarBuilder::fresh(&device, &generator))?;
/// let config = AdamWConfig { lr: 0.1, ..Default::default() };
/// let mut optimizer = AdamW::new(layer.named_parameters(), config)?;
/// let x = Tensor::ones(&device, &[4, 3], DType::F32)?;
/// let loss = |layer: &Linear| layer.forward(&x)?.pow_scalar(2.0)?.mean_all();
/// let before = loss(&layer)?.item()?;
/// for _ in 0..3 {
///     let gradients = loss(&layer)?.backward()?;
///     optimizer.step(&gradients, Some(1.0))?;
/// }
/// assert!(loss(&layer)?.item()? < before);
/// # Ok(())
/// # }
/// ```
pub trait Optimizer {
    /// Updates every parameter that requires a gradient and has one in `gradients`; the others stay as they are,
    /// their state too. With `max_grad_norm` all gradients are first scaled so that their global norm is at most
    /// that, as PyTorch's `clip_grad_norm_`. Returns the norm of the gradients before clipping.
    ///
    /// Losses computed before the step have lost the values that their gradients need: their backward refuses.
    ///
    /// The optimizers of this crate run norm, clipping and updates on the device, in place; nothing waits. With a
    /// scaler ([`Optimizer::set_grad_scaler`]) the gradients are those of [`Optimizer::scale`]'s loss; norm and
    /// updates are as without it, but a step with a gradient that is not finite updates nothing.
    ///
    /// Errors: no parameter has a gradient; a `max_grad_norm` that is not a positive number; a device that failed.
    fn step(&mut self, gradients: &Gradients, max_grad_norm: Option<f64>) -> Result<GradNorm>;

    /// The learning rate of the next step, before the groups' own scales.
    fn lr(&self) -> f64;

    /// Sets the learning rate of the next steps; a group uses it times its `lr_scale`.
    ///
    /// Errors: a rate that is negative or not finite.
    fn set_lr(&mut self, lr: f64) -> Result<()>;

    /// The state as it is now. The tensors are the optimizer's own, not copies: read them before the next step.
    /// Waits for the device only if losses are scaled.
    fn state_dict(&self) -> Result<OptimizerState>;

    /// Replaces the state by a copy of `state`. Parameters that `state` does not name (missing) start anew; names
    /// in it that no parameter has (unexpected) are left out.
    ///
    /// Errors, before anything is changed: a tensor of a named parameter that is missing or does not have the
    /// parameter's shape.
    fn load_state_dict(&mut self, state: &OptimizerState) -> Result<LoadReport>;

    /// Scales losses from now on, for models that compute in f16 while their parameters are f32: gradients
    /// too small for f16 are kept, a step with one that is not finite is skipped, on the device, and the
    /// scale follows `torch.amp.GradScaler`'s rule. Use [`Optimizer::scale`] on every loss.
    ///
    /// Errors: numbers out of range; an optimizer that has made steps already, or that cannot scale losses.
    fn set_grad_scaler(&mut self, rule: GradScaler) -> Result<()> {
        let _ = rule;
        Err(Error::op(
            "grad_scaler",
            "this optimizer does not scale losses; compute in f32, or implement set_grad_scaler for it",
        ))
    }

    /// `loss` times the scale, for its backward pass; `loss` itself without a scaler.
    fn scale(&self, loss: &Tensor) -> Result<Tensor> {
        Ok(loss.clone())
    }

    /// Takes the scale out of gradients, for who looks at them before the step. The step itself takes scaled ones.
    fn unscale(&self, gradients: &Gradients) -> Result<Gradients> {
        Ok(gradients.clone())
    }

    /// The state of loss scaling after the last step, or `None` without a scaler. Submits and waits.
    fn grad_scaler_state(&self) -> Result<Option<GradScalerState>> {
        Ok(None)
    }
}

/// Implements [`Optimizer`] for a type with a field `inner`, a [`multi_tensor::MultiTensor`].
macro_rules! multi_tensor_optimizer {
    ($($name:ty),+) => {$(
        impl Optimizer for $name {
            fn step(&mut self, gradients: &Gradients, max_grad_norm: Option<f64>) -> Result<GradNorm> {
                self.inner.step(gradients, max_grad_norm)
            }
            fn lr(&self) -> f64 {
                self.inner.lr()
            }
            fn set_lr(&mut self, lr: f64) -> Result<()> {
                self.inner.set_lr(lr)
            }
            fn state_dict(&self) -> Result<OptimizerState> {
                self.inner.state_dict()
            }
            fn load_state_dict(&mut self, state: &OptimizerState) -> Result<LoadReport> {
                self.inner.load_state_dict(state)
            }
            fn set_grad_scaler(&mut self, rule: GradScaler) -> Result<()> {
                self.inner.set_grad_scaler(rule)
            }
            fn scale(&self, loss: &Tensor) -> Result<Tensor> {
                self.inner.scale(loss)
            }
            fn unscale(&self, gradients: &Gradients) -> Result<Gradients> {
                self.inner.unscale(gradients)
            }
            fn grad_scaler_state(&self) -> Result<Option<GradScalerState>> {
                self.inner.grad_scaler_state()
            }
        }
    )+};
}

multi_tensor_optimizer!(Sgd, Adam, AdamW);

fn at_least_0(what: &str, value: f64) -> Result<()> {
    if value >= 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::op(
        "optimizer",
        format!("{what} {value} is not a number of at least 0"),
    ))
}
