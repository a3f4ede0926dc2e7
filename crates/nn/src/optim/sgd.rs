//! Stochastic gradient descent.

use wgrad_tensor::ops::optim::{SCALARS, sgd_scalars};
use wgrad_tensor::{Error, Result};

use super::ParamGroups;
use super::multi_tensor::{Method, MultiTensor};

/// The numbers of [`Sgd`], as in `torch.optim.SGD`. The default has a rate of 1e-3, no momentum and no weight decay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdConfig {
    /// The learning rate.
    pub lr: f64,
    /// The share of the momentum buffer that is kept; 0 for none, and then no buffer exists.
    pub momentum: f64,
    /// The share of the gradient that is kept out of the buffer after the first step.
    pub dampening: f64,
    /// Added to the gradient, times the parameter; for groups that name none of their own.
    pub weight_decay: f64,
    /// Nesterov's momentum.
    pub nesterov: bool,
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            momentum: 0.0,
            dampening: 0.0,
            weight_decay: 0.0,
            nesterov: false,
        }
    }
}

/// Stochastic gradient descent, `torch.optim.SGD`.
///
/// ```
/// use wgrad_nn::optim::{Optimizer, Sgd, SgdConfig};
/// use wgrad_tensor::{Device, DeviceOptions, Result, Tensor};
///
/// # fn main() -> Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let x = Tensor::from_slice(&device, &[3f32], &[1])?;
/// x.set_requires_grad(true)?;
/// let parameters = vec![("x".to_string(), x.clone())];
/// let mut optimizer = Sgd::new(parameters, SgdConfig { lr: 0.5, ..Default::default() })?;
/// let loss = x.mul(&x)?.sum_all()?;
/// optimizer.step(&loss.backward()?, None)?;
/// assert_eq!(x.to_vec::<f32>()?, [0.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Sgd {
    pub(super) inner: MultiTensor,
}

impl Sgd {
    /// Updates these parameters, or groups of parameters.
    ///
    /// Errors: numbers out of range; no parameter; one that is not a contiguous f32 tensor or is in two
    /// groups. A tensor that a group lists twice (tied weights) is updated once.
    pub fn new(params: impl Into<ParamGroups>, config: SgdConfig) -> Result<Self> {
        let constants = SgdConstants {
            momentum: config.momentum,
            dampening: config.dampening,
            nesterov: config.nesterov,
        };
        constants.check()?;
        let method = Method::Sgd(constants);
        Ok(Self {
            inner: MultiTensor::new(method, params.into(), config.lr, config.weight_decay)?,
        })
    }
}

/// What does not change from step to step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SgdConstants {
    pub momentum: f64,
    pub dampening: f64,
    pub nesterov: bool,
}

impl SgdConstants {
    pub(super) fn check(&self) -> Result<()> {
        super::at_least_0("momentum", self.momentum)?;
        if !self.dampening.is_finite() {
            return Err(Error::op(
                "optimizer",
                format!("dampening {} is not a number", self.dampening),
            ));
        }
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            return Err(Error::op(
                "optimizer",
                format!(
                    "nesterov needs a momentum and no dampening, {} and {} were given",
                    self.momentum, self.dampening
                ),
            ));
        }
        Ok(())
    }

    pub(super) fn scalars(&self, lr: f64, weight_decay: f64, step: u64) -> [f32; SCALARS] {
        sgd_scalars(lr, self.momentum, self.dampening, weight_decay, step)
    }
}
