//! The two-layer network inside of a transformer block.

use wgrad_tensor::{Device, Error, Generator, Result, Tensor};

use crate::{Linear, Parameters, join};

/// A nonlinearity by its name in configuration files.
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

    /// Element by element.
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

/// linear2(activation(linear1(x))).
#[derive(Debug, Clone)]
pub struct FeedForward {
    /// (hidden, channels)
    pub linear1: Linear,
    /// What lies between.
    pub activation: Activation,
    /// (channels, hidden)
    pub linear2: Linear,
}

impl FeedForward {
    /// With PyTorch's initial values.
    pub fn new(
        device: &Device,
        channels: usize,
        hidden: usize,
        activation: Activation,
        generator: &Generator,
    ) -> Result<Self> {
        Ok(Self {
            linear1: Linear::new(device, channels, hidden, generator)?,
            activation,
            linear2: Linear::new(device, hidden, channels, generator)?,
        })
    }

    /// `x` is (…, channels), as is the result. The exact GELU and its derivative run within the products'
    /// kernels.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.run(x, None)
    }

    /// The same plus `residual` (…, channels), added in the last product's kernel.
    pub fn forward_residual(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.run(x, Some(residual))
    }

    fn run(&self, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let (one, two) = (&self.linear1, &self.linear2);
        if let (Activation::Gelu, Some(b1), Some(b2)) = (self.activation, &one.bias, &two.bias) {
            return x.feed_forward([&one.weight, b1], [&two.weight, b2], residual);
        }
        let hidden = self.activation.forward(&one.forward(x)?)?;
        match residual {
            Some(residual) => two.forward_residual(&hidden, residual),
            None => two.forward(&hidden),
        }
    }

    /// Appends `linear1.*` and `linear2.*`.
    pub fn parameters(&self, prefix: &str, out: &mut Parameters) {
        self.linear1.parameters(&join(prefix, "linear1"), out);
        self.linear2.parameters(&join(prefix, "linear2"), out);
    }
}
