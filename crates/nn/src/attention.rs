//! Multi-head attention.

use wgrad_tensor::{Attention, Device, Error, Generator, Result, Tensor, attention_packed};

use crate::{Dropout, Linear, Mode, Parameters, join};

/// Attention of several heads over projections of the input (Vaswani et al., arXiv:1706.03762). Queries,
/// keys and values have a linear layer each, as in BERT.
#[derive(Debug, Clone)]
pub struct MultiHeadAttention {
    /// (C, C)
    pub query: Linear,
    /// (C, C)
    pub key: Linear,
    /// (C, C)
    pub value: Linear,
    /// (C, C), after the heads are put side by side.
    pub out: Linear,
    /// The number of heads.
    pub heads: usize,
    /// On the attention's probabilities.
    pub dropout: Dropout,
}

impl MultiHeadAttention {
    /// With PyTorch's initial values for linear layers. Errors unless `heads` divides `channels`.
    pub fn new(
        device: &Device,
        channels: usize,
        heads: usize,
        dropout: f32,
        generator: &Generator,
    ) -> Result<Self> {
        if heads == 0 || !channels.is_multiple_of(heads) {
            return Err(Error::op(
                "attention",
                format!("{channels} channels do not divide into {heads} heads"),
            ));
        }
        let linear = || Linear::new(device, channels, channels, generator);
        let attention = Self {
            query: linear()?,
            key: linear()?,
            value: linear()?,
            out: linear()?,
            heads,
            dropout: Dropout::new(dropout)?,
        };
        attention.pack()?;
        Ok(attention)
    }

    /// Puts the projections of queries, keys and values side by side in memory, for self-attention to
    /// compute the three at once without a copy. Worth a call after the layers are made by hand.
    pub fn pack(&self) -> Result<()> {
        let layers = [&self.query, &self.key, &self.value];
        Tensor::pack(&layers.map(|layer| &layer.weight))?;
        let biases: Vec<&Tensor> = layers.iter().filter_map(|l| l.bias.as_ref()).collect();
        Tensor::pack(&biases)
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
        self.out.forward(&self.attend(x, mask, causal, mode)?)
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
        self.out.forward_residual(&attended, residual)
    }

    /// The heads' results side by side, (B, T, C).
    fn attend(
        &self,
        x: &Tensor,
        mask: Option<&Tensor>,
        causal: bool,
        mode: &Mode,
    ) -> Result<Tensor> {
        let layers = [&self.query, &self.key, &self.value];
        let biases: Vec<&Tensor> = layers.iter().filter_map(|l| l.bias.as_ref()).collect();
        let [b, t, c] = *x.shape() else {
            return self.attend_to(x, x, mask, causal, mode);
        };
        if !(biases.is_empty() || biases.len() == layers.len()) {
            return self.attend_to(x, x, mask, causal, mode);
        }
        let packed = x.linear_stacked(&layers.map(|layer| &layer.weight), &biases)?;
        let qkv = packed.reshape(&[b, t, 3, self.heads, c / self.heads.max(1)])?;
        let y = attention_packed(&qkv, &self.options(mask, causal, mode))?;
        y.reshape(&[b, t, c])
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
        self.out
            .forward(&self.attend_to(x, memory, mask, causal, mode)?)
    }

    fn attend_to(
        &self,
        x: &Tensor,
        memory: &Tensor,
        mask: Option<&Tensor>,
        causal: bool,
        mode: &Mode,
    ) -> Result<Tensor> {
        let q = self.split(&self.query.forward(x)?)?;
        let k = self.split(&self.key.forward(memory)?)?;
        let v = self.split(&self.value.forward(memory)?)?;
        let options = self.options(mask, causal, mode);
        let y = wgrad_tensor::scaled_dot_product_attention(&q, &k, &v, &options)?;
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
        x.reshape(&[b, t, self.heads, c / self.heads.max(1)])?
            .permute(&[0, 2, 1, 3])
    }

    /// Appends `query.*`, `key.*`, `value.*` and `out.*`.
    pub fn parameters(&self, prefix: &str, out: &mut Parameters) {
        self.query.parameters(&join(prefix, "query"), out);
        self.key.parameters(&join(prefix, "key"), out);
        self.value.parameters(&join(prefix, "value"), out);
        self.out.parameters(&join(prefix, "out"), out);
    }
}
