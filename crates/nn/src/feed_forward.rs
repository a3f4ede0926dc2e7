//! The feed-forward networks inside of transformer blocks.

use wgrad_tensor::{Activation, DType, Result, Tensor};

use crate::{Init, Linear, LinearCall, Mode, Module, VarBuilder, Visitor};

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

/// down_proj(silu(gate_proj(x)) * up_proj(x)) (arXiv:2002.05202): the feed-forward part of Llama, under its names.
///
/// ```
/// use wgrad_nn::{Mode, SwiGlu, VarBuilder};
/// use wgrad_tensor::{DType, Device, DeviceOptions, Generator, Result, Tensor};
///
/// # fn main() -> Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let generator = Generator::new(&device, 0)?;
/// let mlp = SwiGlu::new(8, 24, &VarBuilder::fresh(&device, &generator).pp("mlp"))?;
/// let x = Tensor::ones(&device, &[1, 5, 8], DType::F32)?;
/// assert_eq!(mlp.forward(&x, &Mode::eval())?.shape(), [1, 5, 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Module)]
pub struct SwiGlu {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

impl SwiGlu {
    /// Layers without biases and with PyTorch's initial values.
    pub fn new(channels: usize, hidden: usize, vb: &VarBuilder) -> Result<Self> {
        Self::with_init(channels, hidden, Init::linear_default(), None, vb)
    }

    /// With these initial values; no biases if `bias` is `None`.
    pub fn with_init(
        channels: usize,
        hidden: usize,
        weight: Init,
        bias: Option<Init>,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let layer = |name: &str, inputs: usize, outputs: usize| {
            Linear::with_init(inputs, outputs, weight, bias, &vb.pp(name))
        };
        Self {
            gate_proj: layer("gate_proj", channels, hidden)?,
            up_proj: layer("up_proj", channels, hidden)?,
            down_proj: layer("down_proj", hidden, channels)?,
        }
        .packed()
    }

    /// Puts the first two layers side by side in memory, so that one kernel computes them without a copy.
    fn packed(self) -> Result<Self> {
        Linear::pack(&[&self.gate_proj, &self.up_proj])?;
        Ok(self)
    }

    /// A copy with its weights in another float type, for inference. Errors: an adapter is not merged.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Self {
            gate_proj: self.gate_proj.to_dtype(dtype)?,
            up_proj: self.up_proj.to_dtype(dtype)?,
            down_proj: self.down_proj.to_dtype(dtype)?,
        }
        .packed()
    }

    /// `x` is (…, channels), as is the result.
    pub fn forward(&self, x: &Tensor, mode: &Mode) -> Result<Tensor> {
        self.run(x, None, mode)
    }

    /// The same plus `residual` (…, channels), added in the last product's kernel.
    pub fn forward_residual(&self, x: &Tensor, residual: &Tensor, mode: &Mode) -> Result<Tensor> {
        self.run(x, Some(residual), mode)
    }

    fn run(&self, x: &Tensor, residual: Option<&Tensor>, mode: &Mode) -> Result<Tensor> {
        let inner = LinearCall {
            mode: Some(mode),
            ..LinearCall::default()
        };
        let outer = LinearCall { residual, ..inner };
        let hidden = self.gate_proj.outputs();
        let (gate, up) = match Linear::forward_stacked(&[&self.gate_proj, &self.up_proj], x)? {
            Some(both) => (
                both.narrow(-1, 0, hidden)?,
                both.narrow(-1, hidden, hidden)?,
            ),
            None => (
                self.gate_proj.forward_with(x, &inner)?,
                self.up_proj.forward_with(x, &inner)?,
            ),
        };
        self.down_proj.forward_with(&gate.swiglu(&up)?, &outer)
    }
}
