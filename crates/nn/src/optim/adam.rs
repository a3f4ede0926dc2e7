//! Adam (arXiv:1412.6980) and AdamW (arXiv:1711.05101).

use wgrad_tensor::ops::optim::{AdamConstants, SCALARS, adamw_scalars};
use wgrad_tensor::{Error, Result};

/// The constants of Adam and AdamW. The default is PyTorch's: betas 0.9 and 0.999, eps 1e-8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Decay rates of the averages of the gradient and of its square.
    pub betas: (f64, f64),
    /// Added to the denominator.
    pub eps: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self {
            betas: (0.9, 0.999),
            eps: 1e-8,
        }
    }
}

impl Adam {
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

    pub(super) fn constants(&self) -> AdamConstants {
        AdamConstants {
            betas: self.betas,
            eps: self.eps,
        }
    }
}
