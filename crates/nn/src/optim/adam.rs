//! Adam (arXiv:1412.6980) and AdamW (arXiv:1711.05101).

use wgrad_tensor::ops::optim::{SCALARS, adamw_scalars};
use wgrad_tensor::{Error, Result};

use super::ParamGroups;
use super::multi_tensor::{Method, MultiTensor};

/// The numbers of [`Adam`]. The default is PyTorch's: a rate of 1e-3, betas 0.9 and 0.999, eps 1e-8, weight
/// decay 0.0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamConfig {
    /// The learning rate.
    pub lr: f64,
    /// Decay rates of the averages of the gradient and of its square.
    pub betas: (f64, f64),
    /// Added to the denominator.
    pub eps: f64,
    /// Added to the gradient, times the parameter; for groups that name none of their own.
    pub weight_decay: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
        }
    }
}

/// Adam, `torch.optim.Adam`: weight decay is added to the gradient.
///
/// ```
/// use wgrad_nn::optim::{Adam, AdamConfig, Optimizer, no_decay};
/// use wgrad_nn::{Linear, Module, VarBuilder};
/// use wgrad_tensor::{Device, DeviceOptions, Generator, Result};
///
/// # fn main() -> Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let generator = Generator::new(&device, 0)?;
/// let layer = Linear::new(3, 1, &VarBuilder::fresh(&device, &generator))?;
/// // Biases and norms without weight decay.
/// let groups = no_decay(layer.named_parameters(), 0.1);
/// let optimizer = Adam::new(groups, AdamConfig { lr: 3e-4, ..Default::default() })?;
/// assert_eq!(optimizer.lr(), 3e-4);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Adam {
    pub(super) inner: MultiTensor,
}

impl Adam {
    /// Updates these parameters, or groups of parameters. Errors as [`Sgd::new`](super::Sgd::new).
    pub fn new(params: impl Into<ParamGroups>, config: AdamConfig) -> Result<Self> {
        let constants = AdamConstants {
            betas: config.betas,
            eps: config.eps,
        };
        constants.check()?;
        let method = Method::Adam(constants);
        Ok(Self {
            inner: MultiTensor::new(method, params.into(), config.lr, config.weight_decay)?,
        })
    }
}

/// The numbers of [`AdamW`]. The default is PyTorch's: a rate of 1e-3, betas 0.9 and 0.999, eps 1e-8, weight
/// decay 0.01.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// The learning rate.
    pub lr: f64,
    /// Decay rates of the averages of the gradient and of its square.
    pub betas: (f64, f64),
    /// Added to the denominator.
    pub eps: f64,
    /// Taken off the parameter, times the learning rate; for groups that name none of their own.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.01,
        }
    }
}

/// AdamW, `torch.optim.AdamW`: weight decay is taken off the parameter.
///
/// ```
/// use wgrad_nn::optim::{AdamW, AdamWConfig, Optimizer, no_decay};
/// use wgrad_nn::{Linear, Module, VarBuilder};
/// use wgrad_tensor::{Device, DeviceOptions, Generator, Result};
///
/// # fn main() -> Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let generator = Generator::new(&device, 0)?;
/// let layer = Linear::new(3, 1, &VarBuilder::fresh(&device, &generator))?;
/// // Biases and norms without weight decay.
/// let groups = no_decay(layer.named_parameters(), 0.1);
/// let optimizer = AdamW::new(groups, AdamWConfig { lr: 3e-4, ..Default::default() })?;
/// assert_eq!(optimizer.lr(), 3e-4);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct AdamW {
    pub(super) inner: MultiTensor,
}

impl AdamW {
    /// Updates these parameters, or groups of parameters. Errors as [`Sgd::new`](super::Sgd::new).
    pub fn new(params: impl Into<ParamGroups>, config: AdamWConfig) -> Result<Self> {
        let constants = AdamConstants {
            betas: config.betas,
            eps: config.eps,
        };
        constants.check()?;
        let method = Method::AdamW(constants);
        Ok(Self {
            inner: MultiTensor::new(method, params.into(), config.lr, config.weight_decay)?,
        })
    }
}

/// What does not change from step to step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct AdamConstants {
    pub betas: (f64, f64),
    pub eps: f64,
}

impl AdamConstants {
    pub(super) fn check(&self) -> Result<()> {
        let (beta1, beta2) = self.betas;
        let fits = (0.0..1.0).contains(&beta1) && (0.0..1.0).contains(&beta2);
        if fits && self.eps > 0.0 && self.eps.is_finite() {
            return Ok(());
        }
        Err(Error::op(
            "optimizer",
            format!(
                "betas {beta1} and {beta2} must be at least 0 and below 1, eps {} above 0",
                self.eps
            ),
        ))
    }

    /// `weight_decay` is the decoupled one, `l2` is added to the gradient.
    pub(super) fn scalars(&self, lr: f64, weight_decay: f64, l2: f64, step: u64) -> [f32; SCALARS] {
        adamw_scalars(lr, weight_decay, l2, self.betas, step.max(1))
    }

    /// As the kernel takes them.
    pub(super) fn of_kernel(&self) -> wgrad_tensor::ops::optim::AdamConstants {
        wgrad_tensor::ops::optim::AdamConstants {
            betas: self.betas,
            eps: self.eps,
        }
    }
}
