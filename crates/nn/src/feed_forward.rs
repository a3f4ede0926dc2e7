//! The two-layer network inside of a transformer block.

use wgrad_tensor::{Activation, Result, Tensor};

use crate::{Linear, LinearCall, Mode, Module, VarBuilder, Visitor};

/// linear2(activation(linear1(x))): the feed-forward part of a transformer block.
///
/// ```
/// use wgrad_nn::{Activation, FeedForward, Mode, VarBuilder};
/// use wgrad_tensor::{DType, Device, DeviceOptions, Generator, Result, Tensor};
///
/// # fn main() -> Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let generator = Generator::new(&device, 0)?;
/// let vb = VarBuilder::fresh(&device, &generator);
/// let feed_forward = FeedForward::new(8, 32, Activation::Gelu, &vb.pp("mlp"))?;
/// let x = Tensor::ones(&device, &[1, 5, 8], DType::F32)?;
/// assert_eq!(feed_forward.forward(&x, &Mode::eval())?.shape(), [1, 5, 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FeedForward {
    linear1: Linear,
    activation: Activation,
    linear2: Linear,
    names: [&'static str; 2],
}

impl FeedForward {
    /// Layers (hidden, channels) and (channels, hidden) with biases, called `linear1` and `linear2`.
    pub fn new(
        channels: usize,
        hidden: usize,
        activation: Activation,
        vb: &VarBuilder,
    ) -> Result<Self> {
        Self::with_names(channels, hidden, activation, ["linear1", "linear2"], vb)
    }

    /// The same with other names of the two layers.
    pub fn with_names(
        channels: usize,
        hidden: usize,
        activation: Activation,
        names: [&'static str; 2],
        vb: &VarBuilder,
    ) -> Result<Self> {
        Ok(Self {
            linear1: Linear::new(channels, hidden, &vb.pp(names[0]))?,
            activation,
            linear2: Linear::new(hidden, channels, &vb.pp(names[1]))?,
            names,
        })
    }

    /// `x` is (…, channels), as is the result. The exact GELU and its derivative run within the products'
    /// kernels.
    pub fn forward(&self, x: &Tensor, mode: &Mode) -> Result<Tensor> {
        self.run(x, None, mode)
    }

    /// The same plus `residual` (…, channels), added in the last product's kernel.
    pub fn forward_residual(&self, x: &Tensor, residual: &Tensor, mode: &Mode) -> Result<Tensor> {
        self.run(x, Some(residual), mode)
    }

    fn run(&self, x: &Tensor, residual: Option<&Tensor>, mode: &Mode) -> Result<Tensor> {
        let (one, two) = (&self.linear1, &self.linear2);
        if self.activation == Activation::Gelu
            && let Some(y) = one.forward_pair(two, x, residual)?
        {
            return Ok(y);
        }
        let inner = LinearCall {
            activation: Some(self.activation),
            mode: Some(mode),
            ..LinearCall::default()
        };
        let outer = LinearCall {
            residual,
            mode: Some(mode),
            ..LinearCall::default()
        };
        two.forward_with(&one.forward_with(x, &inner)?, &outer)
    }
}

/// The two layers under their names.
impl Module for FeedForward {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.module(self.names[0], &self.linear1);
        visitor.module(self.names[1], &self.linear2);
    }
}
