//! Nonlinearities by their names in configuration files.

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// A nonlinearity by its name in configuration files. [`Tensor::linear`] computes the exact GELU in its kernel, and the
/// others in a kernel of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Exact GELU: `gelu`.
    Gelu,
    /// GELU's tanh approximation: `gelu_new`, `gelu_pytorch_tanh`, `gelu_fast`.
    GeluTanh,
    /// `relu`
    Relu,
    /// `silu`, `swish`
    Silu,
    /// `tanh`
    Tanh,
}

impl Activation {
    /// The activation that `transformers` calls `name`. Errors name the known ones.
    pub fn from_name(name: &str) -> Result<Self> {
        Ok(match name {
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            "silu" | "swish" => Activation::Silu,
            "tanh" => Activation::Tanh,
            _ => {
                return Err(Error::op(
                    "activation",
                    format!(
                        "there is no activation `{name}`; known are gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu, silu, swish, tanh"
                    ),
                ));
            }
        })
    }

    /// Applies the activation to each element.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Activation::Gelu => x.gelu(),
            Activation::GeluTanh => x.gelu_tanh(),
            Activation::Relu => x.relu(),
            Activation::Silu => x.silu(),
            Activation::Tanh => x.tanh(),
        }
    }
}
