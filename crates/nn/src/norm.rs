//! Layer normalisation.

use wgrad_tensor::{Device, Error, Generator, Result, Tensor};

use crate::{Init, Parameters, join};

/// Normalises the last dimension, then scales and shifts it, as `nn.LayerNorm` (arXiv:1607.06450).
#[derive(Debug, Clone)]
pub struct LayerNorm {
    /// (C)
    pub weight: Tensor,
    /// (C)
    pub bias: Tensor,
    /// Added to the variance.
    pub eps: f32,
}

impl LayerNorm {
    /// Ones and zeros over `channels`; PyTorch's eps is 1e-5, BERT's 1e-12.
    pub fn new(device: &Device, channels: usize, eps: f32, generator: &Generator) -> Result<Self> {
        Ok(Self {
            weight: Init::Ones.tensor(device, &[channels], generator)?,
            bias: Init::Zeros.tensor(device, &[channels], generator)?,
            eps,
        })
    }

    /// From tensors that exist. Errors unless both are (C).
    pub fn from_tensors(weight: Tensor, bias: Tensor, eps: f32) -> Result<Self> {
        if weight.rank() == 1 && weight.shape() == bias.shape() {
            return Ok(Self { weight, bias, eps });
        }
        Err(Error::op(
            "layer_norm",
            format!("weight {weight:?} and bias {bias:?} are not both (C)"),
        ))
    }

    /// `x` is (…, C), as is the result.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.layer_norm(Some(&self.weight), Some(&self.bias), self.eps)
    }

    /// Appends `weight` and `bias`.
    pub fn parameters(&self, prefix: &str, out: &mut Parameters) {
        out.push((join(prefix, "weight"), self.weight.clone()));
        out.push((join(prefix, "bias"), self.bias.clone()));
    }
}
