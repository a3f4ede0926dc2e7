//! Causal self-attention with a linear layer each for queries, keys and values.

use anyhow::{Result, bail, ensure};
use wgrad_nn::{KvCache, Linear, Module, VarBuilder};
use wgrad_tensor::{Attention, Tensor, attention_packed, scaled_dot_product_attention};

/// Attention of a GPT: no token sees those behind it.
#[derive(Debug, Module)]
pub struct GptAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    heads: usize,
}

impl GptAttention {
    pub(super) fn new(channels: usize, heads: usize, vb: &VarBuilder) -> Result<Self> {
        ensure!(
            heads > 0 && channels.is_multiple_of(heads),
            "n_embd is {channels}, which does not divide into n_head, which is {heads}"
        );
        let layer = |name: &str| Linear::new(channels, channels, &vb.pp(name));
        let attention = Self {
            query: layer("query")?,
            key: layer("key")?,
            value: layer("value")?,
            out: layer("out")?,
            heads,
        };
        Linear::pack(&attention.projections())?;
        Ok(attention)
    }

    fn projections(&self) -> [&Linear; 3] {
        [&self.query, &self.key, &self.value]
    }

    /// Attention of `x` (B, T, C) plus `residual`, which is added in the last product's kernel. With a cache
    /// the tokens see those that it holds too.
    pub(super) fn forward_residual(
        &self,
        x: &Tensor,
        residual: &Tensor,
        cache: Option<(&KvCache, usize)>,
    ) -> Result<Tensor> {
        let [b, t, c] = *x.shape() else {
            bail!(
                "attention: an input of shape (B, T, C) is needed, {:?} was given",
                x.shape()
            );
        };
        let (h, d) = (self.heads, c / self.heads);
        let Some(packed) = Linear::forward_stacked(&self.projections(), x)? else {
            bail!("attention: some of query, key and value have a bias and some have none");
        };
        let qkv = packed.reshape(&[b, t, 3, h, d])?;
        let Some((cache, layer)) = cache else {
            let causal = Attention {
                causal: true,
                ..Attention::default()
            };
            let y = attention_packed(&qkv, &causal)?.reshape(&[b, t, c])?;
            return Ok(self.out.forward_residual(&y, residual)?);
        };
        let part = |at: usize| -> Result<Tensor> {
            let part = qkv.narrow(2, at, 1)?.reshape(&[b, t, h, d])?;
            Ok(part.permute(&[0, 2, 1, 3])?)
        };
        let [keys, values] = cache.append(layer, &part(1)?, &part(2)?)?;
        let causal = Attention {
            causal: t > 1,
            ..Attention::default()
        };
        let y = scaled_dot_product_attention(&part(0)?, &keys, &values, &causal)?;
        let y = y.permute(&[0, 2, 1, 3])?.reshape(&[b, t, c])?;
        Ok(self.out.forward_residual(&y, residual)?)
    }
}
