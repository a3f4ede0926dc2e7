//! Normalisation of rows.

use wgrad_tensor::{Error, Norm, Result, Tensor};

use crate::{Dropout, Init, Mode, Module, VarBuilder};

/// Normalises the last dimension, then scales and shifts it, as `nn.LayerNorm` (arXiv:1607.06450).
///
/// ```
/// use wgrad_nn::{LayerNorm, VarBuilder};
/// use wgrad_tensor::{Device, DeviceOptions, Generator, Result, Tensor};
///
/// # fn main() -> Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let generator = Generator::new(&device, 0)?;
/// let norm = LayerNorm::new(4, 1e-5, &VarBuilder::fresh(&device, &generator).pp("norm"))?;
/// let x = Tensor::from_slice(&device, &[1f32, 1., 3., 3.], &[1, 4])?;
/// let y = norm.forward(&x)?.to_vec::<f32>()?;
/// assert!((y[0] + 1.0).abs() < 1e-4 && (y[3] - 1.0).abs() < 1e-4);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Module)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl LayerNorm {
    /// Ones and zeros over `channels`; PyTorch's eps is 1e-5, BERT's 1e-12.
    pub fn new(channels: usize, eps: f32, vb: &VarBuilder) -> Result<Self> {
        Ok(Self {
            weight: vb.get(&[channels], "weight", Init::Ones)?,
            bias: vb.get(&[channels], "bias", Init::Zeros)?,
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

    /// (C)
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// (C)
    pub fn bias(&self) -> &Tensor {
        &self.bias
    }

    /// The number added to the variance.
    pub fn eps(&self) -> f32 {
        self.eps
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
}

/// Divides the last dimension by its root mean square, then scales it, as `nn.RMSNorm` (arXiv:1910.07467).
///
/// ```
/// use wgrad_nn::{RMSNorm, VarBuilder};
/// use wgrad_tensor::{Device, DeviceOptions, Generator, Result, Tensor};
///
/// # fn main() -> Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let generator = Generator::new(&device, 0)?;
/// let norm = RMSNorm::new(2, 1e-6, &VarBuilder::fresh(&device, &generator).pp("norm"))?;
/// let x = Tensor::from_slice(&device, &[3f32, -3.0], &[1, 2])?;
/// let y = norm.forward(&x)?.to_vec::<f32>()?;
/// assert!((y[0] - 1.0).abs() < 1e-4 && (y[1] + 1.0).abs() < 1e-4);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Module)]
pub struct RMSNorm {
    weight: Tensor,
    eps: f32,
}

impl RMSNorm {
    /// Ones over `channels`; Llama's eps is 1e-5 or 1e-6.
    pub fn new(channels: usize, eps: f32, vb: &VarBuilder) -> Result<Self> {
        Ok(Self {
            weight: vb.get(&[channels], "weight", Init::Ones)?,
            eps,
        })
    }

    /// (C)
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The number added to the mean of the squares.
    pub fn eps(&self) -> f32 {
        self.eps
    }

    /// `x` is (…, C), as is the result.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.rms_norm(Some(&self.weight), self.eps)
    }
}
