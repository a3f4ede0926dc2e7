//! Stochastic gradient descent.

use wgrad_tensor::ops::optim::{SCALARS, sgd_scalars};
use wgrad_tensor::{Error, Result};

/// The constants of SGD, as in `torch.optim.SGD`. The default has no momentum.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sgd {
    /// The share of the momentum buffer that is kept; 0 for none, and then no buffer exists.
    pub momentum: f64,
    /// The share of the gradient that is kept out of the buffer after the first step.
    pub dampening: f64,
    /// Nesterov's momentum.
    pub nesterov: bool,
}

impl Sgd {
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
