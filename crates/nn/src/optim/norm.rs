//! The global norm of gradients.

use wgrad_tensor::ops::optim::grad_norm;
use wgrad_tensor::{Gradients, Result, Tensor, no_grad};

use crate::Parameters;

/// The global norm of a step's gradients before clipping, on the device.
#[derive(Debug, Clone)]
pub struct GradNorm(Tensor);

impl GradNorm {
    /// From an f32 tensor of one value.
    pub fn new(norm: &Tensor) -> Result<Self> {
        Ok(Self(no_grad(|| norm.reshape(&[1]))?))
    }

    /// From norm and clip factor side by side.
    pub(super) fn of_clip(clip: Tensor) -> Self {
        Self(clip)
    }

    /// Reads it. Submits and waits; call it when the value is needed, such as for a log line.
    pub fn item(&self) -> Result<f32> {
        self.tensor()?.item()
    }

    /// The norm as an f32 tensor of shape `[]`.
    pub fn tensor(&self) -> Result<Tensor> {
        self.0.narrow(0, 0, 1)?.reshape(&[])
    }
}

/// Scales the gradients of `parameters` so that their global norm is at most `max_norm`, as PyTorch's
/// `clip_grad_norm_`, and returns the norm before; without `max_norm` it only measures. Nothing waits.
///
/// The optimizers of this crate clip by themselves; this is for your own.
///
/// Errors: no parameter has a gradient; a gradient that is not f32; a `max_norm` that is not a positive number.
pub fn clip_grad_norm(
    parameters: &Parameters,
    gradients: &mut Gradients,
    max_norm: Option<f64>,
) -> Result<GradNorm> {
    let all: Vec<(&Tensor, Tensor)> = parameters
        .iter()
        .filter_map(|(_, tensor)| Some((tensor, gradients.get(tensor)?.clone())))
        .collect();
    let tensors: Vec<Tensor> = all.iter().map(|(_, gradient)| gradient.clone()).collect();
    let clip = grad_norm(&tensors, max_norm)?;
    if max_norm.is_some() {
        no_grad(|| -> Result<()> {
            let factor = clip.narrow(0, 1, 1)?.reshape(&[])?;
            for (tensor, gradient) in all {
                gradients.insert(tensor, gradient.mul(&factor)?);
            }
            Ok(())
        })?;
    }
    Ok(GradNorm::of_clip(clip))
}
