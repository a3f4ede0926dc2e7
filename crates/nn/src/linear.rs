//! The fully connected layer.

use wgrad_tensor::{Activation, DType, Error, LinearOptions, Result, Tensor};

use crate::lora::Lora;
use crate::{Init, Mode, Module, VarBuilder, Visitor};

/// y = x weightᵀ + bias over the last dimension, as `nn.Linear`.
///
/// ```
/// use wgrad_nn::{Linear, Module, VarBuilder};
/// use wgrad_tensor::{DType, Device, DeviceOptions, Generator, Result, Tensor};
///
/// # fn main() -> Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let generator = Generator::new(&device, 0)?;
/// let layer = Linear::new(3, 2, &VarBuilder::fresh(&device, &generator).pp("layer"))?;
/// assert_eq!(layer.weight().shape(), [2, 3]);
/// let x = Tensor::ones(&device, &[5, 3], DType::F32)?;
/// assert_eq!(layer.forward(&x)?.shape(), [5, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    lora: Option<Lora>,
}

/// Options of a linear layer besides its product: see [`Linear::forward_with`].
#[derive(Debug, Clone, Copy, Default)]
pub struct LinearCall<'a> {
    /// (…, out): added last.
    pub residual: Option<&'a Tensor>,
    /// Before the residual is added.
    pub activation: Option<Activation>,
    /// Whether the pass trains: an adapter with dropout has to know.
    pub mode: Option<&'a Mode>,
}

impl Linear {
    /// With a bias, and PyTorch's initial values: both uniform within 1 / sqrt(inputs).
    pub fn new(inputs: usize, outputs: usize, vb: &VarBuilder) -> Result<Self> {
        let bound = 1.0 / (inputs.max(1) as f32).sqrt();
        let bias = Init::Uniform {
            low: -bound,
            high: bound,
        };
        Self::with_init(inputs, outputs, Init::linear_default(), Some(bias), vb)
    }

    /// Without a bias.
    pub fn no_bias(inputs: usize, outputs: usize, vb: &VarBuilder) -> Result<Self> {
        Self::with_init(inputs, outputs, Init::linear_default(), None, vb)
    }

    /// With these initial values; no bias if `bias` is `None`.
    pub fn with_init(
        inputs: usize,
        outputs: usize,
        weight: Init,
        bias: Option<Init>,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let weight = vb.get(&[outputs, inputs], "weight", weight)?;
        let bias = bias
            .map(|init| vb.get(&[outputs], "bias", init))
            .transpose()?;
        let layer = Self {
            weight,
            bias,
            lora: vb.lora(inputs, outputs)?,
        };
        if layer.lora.is_some() {
            layer.freeze_base()?;
        }
        Ok(layer)
    }

    /// From tensors that exist, such as the table of an embedding for tied weights. Errors unless they are
    /// (out, in) and (out).
    pub fn from_tensors(weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let fits = weight.rank() == 2
            && bias
                .as_ref()
                .is_none_or(|b| b.shape() == &weight.shape()[..1]);
        if fits {
            return Ok(Self {
                weight,
                bias,
                lora: None,
            });
        }
        Err(Error::op(
            "linear",
            format!("weight {weight:?} and bias {bias:?} are not (out, in) and (out)"),
        ))
    }

    /// (out, in)
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// (out)
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// The adapter, unless it is merged.
    pub fn lora(&self) -> Option<&Lora> {
        self.lora.as_ref().filter(|lora| !lora.is_merged())
    }

    /// The layer with an adapter; weight and bias are frozen.
    ///
    /// Errors: the adapter's matrices do not fit.
    pub fn with_lora(self, lora: Lora) -> Result<Self> {
        let fits = lora.a().shape()[1] == self.inputs() && lora.b().shape()[0] == self.outputs();
        if !fits {
            return Err(Error::op(
                "lora",
                format!(
                    "matrices {:?} and {:?} do not fit a layer with weight {:?}",
                    lora.a().shape(),
                    lora.b().shape(),
                    self.weight.shape()
                ),
            ));
        }
        self.freeze_base()?;
        Ok(Self {
            lora: Some(lora),
            ..self
        })
    }

    /// A copy with weight and bias in another float type, for inference: half the memory in f16. The copy is not
    /// part of the graph.
    ///
    /// Errors: an adapter is not merged.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        if self.lora().is_some() {
            return Err(Error::op(
                "linear",
                "the layer has an adapter; merge it before its weight is cast to another type",
            ));
        }
        let bias = self.bias.as_ref().map(|bias| bias.detach().cast(dtype));
        Self::from_tensors(self.weight.detach().cast(dtype)?, bias.transpose()?)
    }

    fn freeze_base(&self) -> Result<()> {
        self.weight.set_requires_grad(false)?;
        match &self.bias {
            Some(bias) => bias.set_requires_grad(false),
            None => Ok(()),
        }
    }

    /// The last side of the input.
    pub fn inputs(&self) -> usize {
        self.weight.shape()[1]
    }

    /// The last side of the result.
    pub fn outputs(&self) -> usize {
        self.weight.shape()[0]
    }

    /// Puts the tensors of layers side by side in memory, so that [`Linear::forward_stacked`] copies nothing.
    pub fn pack(layers: &[&Linear]) -> Result<()> {
        let weights: Vec<&Tensor> = layers.iter().map(|layer| &layer.weight).collect();
        let biases: Vec<&Tensor> = layers.iter().filter_map(|l| l.bias.as_ref()).collect();
        Tensor::pack(&weights)?;
        Tensor::pack(&biases)
    }

    /// The results of several layers for one input, side by side in the last dimension, from one kernel; nothing
    /// where the layers have to be called one by one: one has an adapter, or some have a bias and some have none.
    pub fn forward_stacked(layers: &[&Linear], x: &Tensor) -> Result<Option<Tensor>> {
        let weights: Vec<&Tensor> = layers.iter().map(|layer| &layer.weight).collect();
        let biases: Vec<&Tensor> = layers.iter().filter_map(|l| l.bias.as_ref()).collect();
        let adapted = layers.iter().any(|layer| layer.lora().is_some());
        if adapted || !(biases.is_empty() || biases.len() == layers.len()) {
            return Ok(None);
        }
        x.linear_stacked(&weights, &biases).map(Some)
    }

    /// `second(gelu(self(x))) + residual` in two kernels forward and four backward; nothing where the layers have
    /// to be called one by one: a layer has an adapter, or no bias.
    pub fn forward_pair(
        &self,
        second: &Linear,
        x: &Tensor,
        residual: Option<&Tensor>,
    ) -> Result<Option<Tensor>> {
        let (Some(b1), Some(b2)) = (&self.bias, &second.bias) else {
            return Ok(None);
        };
        if self.lora().is_some() || second.lora().is_some() {
            return Ok(None);
        }
        x.feed_forward([&self.weight, b1], [&second.weight, b2], residual)
            .map(Some)
    }

    /// `x` is (…, in), the result (…, out).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_with(x, &LinearCall::default())
    }

    /// The same plus `residual` (…, out) in the same kernel; the result has the residual's type.
    pub fn forward_residual(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let call = LinearCall {
            residual: Some(residual),
            ..LinearCall::default()
        };
        self.forward_with(x, &call)
    }

    /// The same with the exact GELU in the same kernel.
    pub fn forward_gelu(&self, x: &Tensor) -> Result<Tensor> {
        let call = LinearCall {
            activation: Some(Activation::Gelu),
            ..LinearCall::default()
        };
        self.forward_with(x, &call)
    }

    /// `activation(self(x)) + residual`, as far as they are given, with the adapter's part in `self(x)`.
    pub fn forward_with(&self, x: &Tensor, call: &LinearCall) -> Result<Tensor> {
        let bias = self.bias.as_ref();
        let Some(lora) = self.lora() else {
            return x.linear_with(
                &self.weight,
                &LinearOptions {
                    bias,
                    activation: call.activation,
                    residual: call.residual,
                    ..LinearOptions::default()
                },
            );
        };
        // The adapter adds to the product before the activation, and the residual can go first without one.
        let early = call.residual.filter(|_| call.activation.is_none());
        let base = LinearOptions {
            bias,
            residual: early,
            ..LinearOptions::default()
        };
        let base = x.linear_with(&self.weight, &base)?;
        let y = lora.add_to(&base, x, call.mode)?;
        let Some(activation) = call.activation else {
            return Ok(y);
        };
        let y = activation.forward(&y)?;
        match call.residual {
            Some(residual) => residual.add(&y.cast(residual.dtype())?),
            None => Ok(y),
        }
    }
}

/// `weight` and `bias`, and `lora_A.weight` and `lora_B.weight` of an adapter.
impl Module for Linear {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.parameter("weight", &self.weight);
        visitor.module("bias", &self.bias);
        if let Some(lora) = self.lora() {
            visitor.adapter(&self.weight, lora);
        }
    }
}
