//! Attention whose query heads share key and value heads.

use wgrad_tensor::{Attention, DType, Error, Result, Tensor, scaled_dot_product_attention};

use crate::{
    AttentionNames, Dropout, Init, KvCache, Linear, LinearCall, Mode, Module, RotaryEmbedding,
    VarBuilder, Visitor,
};

/// The sizes of a [`GroupedQueryAttention`], and the names of its layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupedQueryConfig {
    /// The last side of input and output.
    pub channels: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values; divides `heads`.
    pub key_value_heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Whether the four layers have biases.
    pub bias: bool,
    /// The dropout of the attention's probabilities.
    pub dropout: f32,
    /// How the weights start; PyTorch's default for linear layers if not given.
    pub init: Option<Init>,
    /// Names of the layers. The default is that of Llama in `transformers`.
    pub names: AttentionNames,
}

impl GroupedQueryConfig {
    /// Heads of `channels / heads` channels, no bias and no dropout, names as Llama's.
    pub fn new(channels: usize, heads: usize, key_value_heads: usize) -> Self {
        Self {
            channels,
            heads,
            key_value_heads,
            head_dim: channels / heads.max(1),
            bias: false,
            dropout: 0.0,
            init: None,
            names: AttentionNames {
                query: "q_proj",
                key: "k_proj",
                value: "v_proj",
                out: "o_proj",
            },
        }
    }
}

/// One call of a [`GroupedQueryAttention`].
#[derive(Debug, Clone, Copy)]
pub struct GroupedQueryCall<'a> {
    /// u32 (B, Tk), 0 where a key is padding.
    pub mask: Option<&'a Tensor>,
    /// Causal: no position sees later ones; with a cache the last query is at the position of the last key.
    pub causal: bool,
    /// (B, T, C), added in the last product's kernel.
    pub residual: Option<&'a Tensor>,
    /// The tokens before these, and the layer's number in the cache.
    pub cache: Option<(&'a KvCache, usize)>,
    /// Whether the pass trains.
    pub mode: &'a Mode,
}

impl<'a> GroupedQueryCall<'a> {
    /// Causal, without mask, residual and cache.
    pub fn causal(mode: &'a Mode) -> Self {
        Self {
            mask: None,
            causal: true,
            residual: None,
            cache: None,
            mode,
        }
    }
}

/// Attention whose query heads share key and value heads in groups (arXiv:2305.13245), with rotary positions if
/// they are given, and a cache of keys and values for writing text.
///
/// ```
/// use wgrad_nn::{GroupedQueryAttention, GroupedQueryCall, GroupedQueryConfig, Mode, VarBuilder};
/// use wgrad_nn::{RotaryEmbedding, RotaryPairs};
/// use wgrad_tensor::{DType, Device, DeviceOptions, Generator, Result, Tensor};
///
/// # fn main() -> Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let generator = Generator::new(&device, 0)?;
/// let vb = VarBuilder::fresh(&device, &generator);
/// let rotary = RotaryEmbedding::new(&device, 4, 10_000.0, 64, RotaryPairs::Halves);
/// let config = GroupedQueryConfig::new(16, 4, 2);
/// let attention = GroupedQueryAttention::new(&config, Some(rotary), &vb.pp("self_attn"))?;
/// let x = Tensor::ones(&device, &[1, 5, 16], DType::F32)?;
/// let mode = Mode::eval();
/// let y = attention.forward(&x, &GroupedQueryCall::causal(&mode))?;
/// assert_eq!(y.shape(), [1, 5, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct GroupedQueryAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    names: AttentionNames,
    heads: usize,
    key_value_heads: usize,
    head_dim: usize,
    dropout: Dropout,
    rotary: Option<RotaryEmbedding>,
}

impl GroupedQueryAttention {
    /// Errors: the heads of keys do not divide those of queries; what `vb` refuses.
    pub fn new(
        config: &GroupedQueryConfig,
        rotary: Option<RotaryEmbedding>,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let GroupedQueryConfig {
            channels,
            heads,
            key_value_heads,
            head_dim,
            names,
            ..
        } = *config;
        if key_value_heads == 0 || head_dim == 0 || !heads.is_multiple_of(key_value_heads) {
            return Err(Error::op(
                "attention",
                format!(
                    "{heads} heads of queries with {head_dim} channels do not divide into {key_value_heads} groups"
                ),
            ));
        }
        let layer = |name: &str, inputs: usize, outputs: usize| {
            let vb = vb.pp(name);
            match (config.init, config.bias) {
                (None, true) => Linear::new(inputs, outputs, &vb),
                (None, false) => Linear::no_bias(inputs, outputs, &vb),
                (Some(init), bias) => {
                    Linear::with_init(inputs, outputs, init, bias.then_some(Init::Zeros), &vb)
                }
            }
        };
        Self {
            query: layer(names.query, channels, heads * head_dim)?,
            key: layer(names.key, channels, key_value_heads * head_dim)?,
            value: layer(names.value, channels, key_value_heads * head_dim)?,
            out: layer(names.out, heads * head_dim, channels)?,
            names,
            heads,
            key_value_heads,
            head_dim,
            dropout: Dropout::new(config.dropout)?,
            rotary,
        }
        .packed()
    }

    /// Puts the projections side by side in memory, so that one kernel computes them without a copy.
    fn packed(self) -> Result<Self> {
        Linear::pack(&self.projections())?;
        Ok(self)
    }

    /// A copy with its weights in another float type, for inference; it shares the table of rotary positions.
    /// Errors: an adapter is not merged.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Self {
            query: self.query.to_dtype(dtype)?,
            key: self.key.to_dtype(dtype)?,
            value: self.value.to_dtype(dtype)?,
            out: self.out.to_dtype(dtype)?,
            ..self.clone()
        }
        .packed()
    }

    fn projections(&self) -> [&Linear; 3] {
        [&self.query, &self.key, &self.value]
    }

    /// `x` is (B, T, C), as is the result. With a cache the tokens follow those that it holds.
    pub fn forward(&self, x: &Tensor, call: &GroupedQueryCall) -> Result<Tensor> {
        let start = call.cache.map_or(0, |(cache, _)| cache.len());
        let [q, mut k, mut v] = self.heads_of(x, start, call.mode)?;
        if let Some((cache, layer)) = call.cache {
            [k, v] = cache.append(layer, &k, &v)?;
        }
        let options = Attention {
            mask: call.mask,
            causal: call.causal && q.shape()[2] > 1,
            dropout: call.mode.generator().map(|g| (self.dropout.p(), g)),
            ..Attention::default()
        };
        let y = scaled_dot_product_attention(&q, &k, &v, &options)?;
        let [b, h, t, d] = *y.shape() else {
            return Err(Error::op("attention", format!("{y:?} is not (B, H, T, D)")));
        };
        let y = y.permute(&[0, 2, 1, 3])?.reshape(&[b, t, h * d])?;
        let out = LinearCall {
            residual: call.residual,
            mode: Some(call.mode),
            ..LinearCall::default()
        };
        self.out.forward_with(&y, &out)
    }

    /// Queries and keys, turned by their positions, and values, each (B, H, T, D).
    fn heads_of(&self, x: &Tensor, start: usize, mode: &Mode) -> Result<[Tensor; 3]> {
        let [b, t, _] = *x.shape() else {
            return Err(Error::op(
                "attention",
                format!("an input of shape (B, T, C) is needed, {x:?} was given"),
            ));
        };
        let (h, g, d) = (self.heads, self.key_value_heads, self.head_dim);
        let turned = |x: Tensor| match &self.rotary {
            Some(rotary) => rotary.forward(&x, start),
            None => Ok(x),
        };
        let heads_first = |x: &Tensor| x.permute(&[0, 2, 1, 3]);
        if let Some(packed) = Linear::forward_stacked(&self.projections(), x)? {
            let all = packed.reshape(&[b, t, h + 2 * g, d])?;
            let both = turned(all.narrow(2, 0, h + g)?)?;
            return Ok([
                heads_first(&both.narrow(2, 0, h)?)?,
                heads_first(&both.narrow(2, h, g)?)?,
                heads_first(&all.narrow(2, h + g, g)?)?,
            ]);
        }
        let call = LinearCall {
            mode: Some(mode),
            ..LinearCall::default()
        };
        let part =
            |layer: &Linear, heads: usize| layer.forward_with(x, &call)?.reshape(&[b, t, heads, d]);
        Ok([
            heads_first(&turned(part(&self.query, h)?)?)?,
            heads_first(&turned(part(&self.key, g)?)?)?,
            heads_first(&part(&self.value, g)?)?,
        ])
    }
}

/// The four layers under [`GroupedQueryConfig::names`].
impl Module for GroupedQueryAttention {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.module(self.names.query, &self.query);
        visitor.module(self.names.key, &self.key);
        visitor.module(self.names.value, &self.value);
        visitor.module(self.names.out, &self.out);
    }
}
