//! The fully connected layer.

use wgrad_tensor::{Activation, Device, Error, Generator, LinearOptions, Result, Tensor};

use crate::{Init, Parameters, join};

/// y = x weightᵀ + bias over the last dimension, as `nn.Linear`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// (out, in)
    pub weight: Tensor,
    /// (out)
    pub bias: Option<Tensor>,
}

impl Linear {
    /// With a bias, and PyTorch's initial values: both uniform within 1 / sqrt(inputs).
    pub fn new(
        device: &Device,
        inputs: usize,
        outputs: usize,
        generator: &Generator,
    ) -> Result<Self> {
        let bound = 1.0 / (inputs.max(1) as f32).sqrt();
        let bias = Init::Uniform {
            low: -bound,
            high: bound,
        };
        Self::with_init(
            device,
            inputs,
            outputs,
            Init::linear_default(),
            Some(bias),
            generator,
        )
    }

    /// With these initial values; no bias if `bias` is `None`.
    pub fn with_init(
        device: &Device,
        inputs: usize,
        outputs: usize,
        weight: Init,
        bias: Option<Init>,
        generator: &Generator,
    ) -> Result<Self> {
        let weight = weight.tensor(device, &[outputs, inputs], generator)?;
        let bias = bias
            .map(|init| init.tensor(device, &[outputs], generator))
            .transpose()?;
        Ok(Self { weight, bias })
    }

    /// From tensors that exist, such as those of a file. Errors unless they are (out, in) and (out).
    pub fn from_tensors(weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let fits = weight.rank() == 2
            && bias
                .as_ref()
                .is_none_or(|b| b.shape() == &weight.shape()[..1]);
        if fits {
            return Ok(Self { weight, bias });
        }
        Err(Error::op(
            "linear",
            format!("weight {weight:?} and bias {bias:?} are not (out, in) and (out)"),
        ))
    }

    /// `x` is (…, in), the result (…, out).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.linear(&self.weight, self.bias.as_ref(), Activation::None)
    }

    /// The same plus `residual` (…, out) in the same kernel; the result has the residual's type.
    pub fn forward_residual(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let layer = LinearOptions {
            bias: self.bias.as_ref(),
            residual: Some(residual),
            ..LinearOptions::default()
        };
        x.linear_with(&self.weight, &layer)
    }

    /// The same with the exact GELU in the same kernel.
    pub fn forward_gelu(&self, x: &Tensor) -> Result<Tensor> {
        x.linear(&self.weight, self.bias.as_ref(), Activation::Gelu)
    }

    /// Appends `weight` and `bias`.
    pub fn parameters(&self, prefix: &str, out: &mut Parameters) {
        out.push((join(prefix, "weight"), self.weight.clone()));
        if let Some(bias) = &self.bias {
            out.push((join(prefix, "bias"), bias.clone()));
        }
    }
}
