//! Multi-head attention.

use wgrad_tensor::{
    Attention, Error, Result, Tensor, attention_packed, scaled_dot_product_attention,
};

use crate::{Dropout, KvCache, Linear, LinearCall, Mode, Module, VarBuilder, Visitor};

/// The names of an attention's four layers inside of its module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionNames {
    /// The projection of queries.
    pub query: &'static str,
    /// The projection of keys.
    pub key: &'static str,
    /// The projection of values.
    pub value: &'static str,
    /// The layer behind the heads.
    pub out: &'static str,
}

impl Default for AttentionNames {
    fn default() -> Self {
        Self {
            query: "query",
            key: "key",
            value: "value",
            out: "out",
        }
    }
}

/// Attention of several heads over projections of the input (Vaswani et al., arXiv:1706.03762). Queries,
/// keys and values have a linear layer each, as in BERT.
///
/// ```
/// use wgrad_nn::{Mode, MultiHeadAttention, VarBuilder};
/// use wgrad_tensor::{DType, Device, DeviceOptions, Generator, Result, Tensor};
///
/// # fn main() -> Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let generator = Generator::new(&device, 0)?;
/// let vb = VarBuilder::fresh(&device, &generator);
/// let attention = MultiHeadAttention::new(8, 2, 0.1, &vb.pp("attention"))?;
/// let x = Tensor::ones(&device, &[1, 5, 8], DType::F32)?;
/// let causal = true;
/// let y = attention.forward(&x, None, causal, &Mode::eval())?;
/// assert_eq!(y.shape(), [1, 5, 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct MultiHeadAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    names: AttentionNames,
    heads: usize,
    dropout: Dropout,
}

impl MultiHeadAttention {
    /// Four layers (C, C) with biases, called `query`, `key`, `value` and `out`; `dropout` is on the
    /// attention's probabilities. Errors unless `heads` divides `channels`.
    pub fn new(channels: usize, heads: usize, dropout: f32, vb: &VarBuilder) -> Result<Self> {
        Self::with_names(channels, heads, dropout, AttentionNames::default(), vb)
    }

    /// The same with other names of the layers.
    pub fn with_names(
        channels: usize,
        heads: usize,
        dropout: f32,
        names: AttentionNames,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let layer = |name: &str| Linear::new(channels, channels, &vb.pp(name));
        let layers = [
            layer(names.query)?,
            layer(names.key)?,
            layer(names.value)?,
            layer(names.out)?,
        ];
        Self::from_layers(layers, heads, dropout, names)
    }

    /// From layers that exist: query, key, value and out. The projections of queries, keys and values are put side
    /// by side in memory, for self-attention to compute the three at once without a copy.
    ///
    /// Errors: `heads` does not divide the outputs of the query's layer.
    pub fn from_layers(
        layers: [Linear; 4],
        heads: usize,
        dropout: f32,
        names: AttentionNames,
    ) -> Result<Self> {
        let [query, key, value, out] = layers;
        let channels = query.outputs();
        if heads == 0 || !channels.is_multiple_of(heads) {
            return Err(Error::op(
                "attention",
                format!("{channels} channels do not divide into {heads} heads"),
            ));
        }
        Linear::pack(&[&query, &key, &value])?;
        Ok(Self {
            query,
            key,
            value,
            out,
            names,
            heads,
            dropout: Dropout::new(dropout)?,
        })
    }

    /// The number of heads.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// The dropout of the attention's probabilities.
    pub fn dropout(&self) -> Dropout {
        self.dropout
    }

    /// Replaces the dropout of the attention's probabilities.
    pub fn set_dropout(&mut self, dropout: Dropout) {
        self.dropout = dropout;
    }

    /// Self-attention: `x` is (B, T, C), as is the result. `mask` is u32 (B, T), 0 where a key is
    /// padding; with `causal` a position sees none behind it.
    pub fn forward(
        &self,
        x: &Tensor,
        mask: Option<&Tensor>,
        causal: bool,
        mode: &Mode,
    ) -> Result<Tensor> {
        let attended = self.attend(x, mask, causal, mode)?;
        self.out.forward_with(&attended, &called(None, mode))
    }

    /// The same plus `residual` (B, T, C), added in the last product's kernel.
    pub fn forward_residual(
        &self,
        x: &Tensor,
        residual: &Tensor,
        mask: Option<&Tensor>,
        causal: bool,
        mode: &Mode,
    ) -> Result<Tensor> {
        let attended = self.attend(x, mask, causal, mode)?;
        self.out
            .forward_with(&attended, &called(Some(residual), mode))
    }

    /// Attention of `x` (B, Tq, C) to `memory` (B, Tk, C), with `mask` (B, Tk).
    pub fn forward_from(
        &self,
        x: &Tensor,
        memory: &Tensor,
        mask: Option<&Tensor>,
        causal: bool,
        mode: &Mode,
    ) -> Result<Tensor> {
        let attended = self.attend_to(x, memory, mask, causal, mode)?;
        self.out.forward_with(&attended, &called(None, mode))
    }

    /// Causal self-attention of tokens `x` (B, T, C) that follow those of a cache, which they see too, plus
    /// `residual` (B, T, C). `cache` comes with the layer's number in it; keys and values of `x` are added to it.
    ///
    /// Errors: there is no room in the cache, a tensor requires a gradient.
    pub fn forward_cached(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        cache: (&KvCache, usize),
        mode: &Mode,
    ) -> Result<Tensor> {
        let (cache, layer) = cache;
        let [q, k, v] = match self.packed_heads(x)? {
            Some(qkv) => {
                let [b, t, _, h, d] = *qkv.shape() else {
                    return Err(Error::op("attention", format!("{qkv:?} is not packed")));
                };
                let part = |at: usize| {
                    let part = qkv.narrow(2, at, 1)?.reshape(&[b, t, h, d])?;
                    part.permute(&[0, 2, 1, 3])
                };
                [part(0)?, part(1)?, part(2)?]
            }
            None => self.heads_of(x, x, mode)?,
        };
        let [k, v] = cache.append(layer, &k, &v)?;
        let several = q.shape().get(2).is_some_and(|tokens| *tokens > 1);
        let y = self.attend_heads([&q, &k, &v], &self.options(None, several, mode))?;
        self.out.forward_with(&y, &called(residual, mode))
    }

    /// The heads' results side by side, (B, T, C).
    fn attend(
        &self,
        x: &Tensor,
        mask: Option<&Tensor>,
        causal: bool,
        mode: &Mode,
    ) -> Result<Tensor> {
        let Some(qkv) = self.packed_heads(x)? else {
            return self.attend_to(x, x, mask, causal, mode);
        };
        let y = attention_packed(&qkv, &self.options(mask, causal, mode))?;
        y.reshape(&[x.shape()[0], x.shape()[1], self.query.outputs()])
    }

    /// Queries, keys and values of `x` from one kernel, (B, T, 3, H, D); nothing where the layers have to be called
    /// one by one.
    fn packed_heads(&self, x: &Tensor) -> Result<Option<Tensor>> {
        let [b, t, _] = *x.shape() else {
            return Ok(None);
        };
        let layers = [&self.query, &self.key, &self.value];
        let Some(packed) = Linear::forward_stacked(&layers, x)? else {
            return Ok(None);
        };
        let d = self.query.outputs() / self.heads;
        packed.reshape(&[b, t, 3, self.heads, d]).map(Some)
    }

    fn attend_to(
        &self,
        x: &Tensor,
        memory: &Tensor,
        mask: Option<&Tensor>,
        causal: bool,
        mode: &Mode,
    ) -> Result<Tensor> {
        let [q, k, v] = self.heads_of(x, memory, mode)?;
        self.attend_heads([&q, &k, &v], &self.options(mask, causal, mode))
    }

    /// Queries of `x`, keys and values of `memory`, each (B, H, T, D).
    fn heads_of(&self, x: &Tensor, memory: &Tensor, mode: &Mode) -> Result<[Tensor; 3]> {
        let call = called(None, mode);
        Ok([
            self.split(&self.query.forward_with(x, &call)?)?,
            self.split(&self.key.forward_with(memory, &call)?)?,
            self.split(&self.value.forward_with(memory, &call)?)?,
        ])
    }

    /// The heads' results side by side, (B, T, C), from queries, keys and values (B, H, T, D).
    fn attend_heads(&self, [q, k, v]: [&Tensor; 3], options: &Attention) -> Result<Tensor> {
        let y = scaled_dot_product_attention(q, k, v, options)?;
        let [b, h, t, d] = *y.shape() else {
            return Err(Error::op("attention", format!("{y:?} is not (B, H, T, D)")));
        };
        y.permute(&[0, 2, 1, 3])?.reshape(&[b, t, h * d])
    }

    fn options<'a>(&self, mask: Option<&'a Tensor>, causal: bool, mode: &'a Mode) -> Attention<'a> {
        Attention {
            mask,
            causal,
            dropout: mode
                .generator()
                .map(|generator| (self.dropout.p(), generator)),
            ..Attention::default()
        }
    }

    /// (B, T, C) as (B, H, T, D), a view.
    fn split(&self, x: &Tensor) -> Result<Tensor> {
        let [b, t, c] = *x.shape() else {
            return Err(Error::op(
                "attention",
                format!("an input of shape (B, T, C) is needed, {x:?} was given"),
            ));
        };
        x.reshape(&[b, t, self.heads, c / self.heads])?
            .permute(&[0, 2, 1, 3])
    }
}

/// A call of a layer in a pass of this mode.
fn called<'a>(residual: Option<&'a Tensor>, mode: &'a Mode) -> LinearCall<'a> {
    LinearCall {
        residual,
        mode: Some(mode),
        ..LinearCall::default()
    }
}

/// The four layers under [`AttentionNames`].
impl Module for MultiHeadAttention {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.module(self.names.query, &self.query);
        visitor.module(self.names.key, &self.key);
        visitor.module(self.names.value, &self.value);
        visitor.module(self.names.out, &self.out);
    }
}
