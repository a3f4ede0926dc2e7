//! The results of a step on the device: its losses and its gradients' norm. Reading them waits for the device, so
//! only steps that are logged, evaluated or saved are read.

use anyhow::{Result, bail};
use wgrad_nn::optim::{GradNorm, GradScalerState, Optimizer};

use crate::task::Loss;

/// Not yet read.
pub(super) struct StepValues {
    pub step: u64,
    /// One for each micro-batch of the step, detached.
    pub losses: Vec<Loss>,
    pub norm: GradNorm,
    pub learning_rate: f64,
}

/// The values read.
pub(super) struct Read {
    pub loss: f64,
    pub grad_norm: f64,
    pub loss_scale: Option<f64>,
}

impl StepValues {
    /// Reads them.
    ///
    /// Errors: a loss or a norm that is not finite, unless loss scaling skipped the step and can still go down.
    pub fn read(self, optimizer: &dyn Optimizer) -> Result<Read> {
        let items: usize = self.losses.iter().map(|part| part.count).sum();
        let mut loss = 0.0;
        for part in &self.losses {
            loss += f64::from(part.mean.item()?) * (part.count as f64 / items as f64);
        }
        let grad_norm = f64::from(self.norm.item()?);
        let scaler = optimizer.grad_scaler_state()?;
        self.check_finite(loss, grad_norm, scaler.as_ref())?;
        Ok(Read {
            loss,
            grad_norm,
            loss_scale: scaler.map(|s| f64::from(s.scale)),
        })
    }

    fn check_finite(
        &self,
        loss: f64,
        grad_norm: f64,
        scaler: Option<&GradScalerState>,
    ) -> Result<()> {
        if loss.is_finite() && grad_norm.is_finite() {
            return Ok(());
        }
        let Self {
            step,
            learning_rate,
            ..
        } = self;
        match scaler {
            Some(scaler) if scaler.scale >= 1.0 => Ok(()),
            Some(scaler) => bail!(
                "step {step}: the loss is {loss} and the gradient norm {grad_norm} with a loss scale of {}; the first gradient to overflow is that of {}; train without fp16, or try a lower learning_rate (now {learning_rate})",
                scaler.scale,
                scaler.overflowed.as_deref().unwrap_or("no parameter")
            ),
            None => bail!(
                "step {step}: the loss is {loss} and the gradient norm {grad_norm}; training diverged, try a lower learning_rate (now {learning_rate})"
            ),
        }
    }
}
