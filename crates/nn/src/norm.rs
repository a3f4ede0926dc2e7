//! Layer normalisation.

use wgrad_tensor::{Device, Error, Generator, Norm, Result, Tensor};

use crate::{Dropout, Init, Mode, Parameters, join};

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

    /// The norm of `residual + dropout(x)`, both (…, C), in one kernel: what ends each half of a BERT
    /// block. Equal to the three steps one by one, which drop the same elements.
    pub fn forward_residual(
        &self,
        x: &Tensor,
        residual: &Tensor,
        dropout: &Dropout,
        mode: &Mode,
    ) -> Result<Tensor> {
        x.add_norm(&Norm {
            weight: Some(&self.weight),
            bias: Some(&self.bias),
            eps: self.eps,
            residual: Some(residual),
            dropout: mode.generator().map(|generator| (dropout.p(), generator)),
            ..Norm::default()
        })
    }

    /// Appends `weight` and `bias`.
    pub fn parameters(&self, prefix: &str, out: &mut Parameters) {
        out.push((join(prefix, "weight"), self.weight.clone()));
        out.push((join(prefix, "bias"), self.bias.clone()));
    }
}
