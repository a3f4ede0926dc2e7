//! One layer of the decoder.

use anyhow::{Result, bail};
use wgrad_nn::{Init, KvCache, Linear, Module, RMSNorm, VarBuilder};
use wgrad_tensor::{Attention, DType, Rope, Tensor, scaled_dot_product_attention};

use super::LlamaConfig;

/// A linear layer as `transformers` draws it.
fn linear(
    config: &LlamaConfig,
    inputs: usize,
    outputs: usize,
    bias: bool,
    vb: &VarBuilder,
) -> Result<Linear> {
    let bias = bias.then_some(Init::Zeros);
    Ok(Linear::with_init(
        inputs,
        outputs,
        super::normal(config),
        bias,
        vb,
    )?)
}

/// The layer with its weight and bias in another float type, for inference.
pub(super) fn cast(layer: &Linear, dtype: DType) -> Result<Linear> {
    let bias = layer.bias().map(|bias| bias.detach().cast(dtype));
    let weight = layer.weight().detach().cast(dtype)?;
    Ok(Linear::from_tensors(weight, bias.transpose()?)?)
}

/// Attention whose query heads share key and value heads in groups (Ainslie et al., arXiv:2305.13245), with
/// rotary positions (Su et al., arXiv:2104.09864).
#[derive(Debug, Module)]
pub struct LlamaAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    heads: usize,
    key_value_heads: usize,
    head_dim: usize,
}

impl LlamaAttention {
    fn new(config: &LlamaConfig, vb: &VarBuilder) -> Result<Self> {
        let c = config.hidden_size;
        let (heads, key_value_heads) = (config.num_attention_heads, config.num_key_value_heads);
        let (wide, narrow) = (heads * config.head_dim, key_value_heads * config.head_dim);
        let layer = |name: &str, inputs: usize, outputs: usize| {
            linear(config, inputs, outputs, config.attention_bias, &vb.pp(name))
        };
        Self {
            q_proj: layer("q_proj", c, wide)?,
            k_proj: layer("k_proj", c, narrow)?,
            v_proj: layer("v_proj", c, narrow)?,
            o_proj: layer("o_proj", wide, c)?,
            heads,
            key_value_heads,
            head_dim: config.head_dim,
        }
        .packed()
    }

    /// Puts the projections side by side in memory, so that one kernel computes them without a copy.
    fn packed(self) -> Result<Self> {
        Linear::pack(&self.projections())?;
        Ok(self)
    }

    fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Self {
            q_proj: cast(&self.q_proj, dtype)?,
            k_proj: cast(&self.k_proj, dtype)?,
            v_proj: cast(&self.v_proj, dtype)?,
            o_proj: cast(&self.o_proj, dtype)?,
            heads: self.heads,
            key_value_heads: self.key_value_heads,
            head_dim: self.head_dim,
        }
        .packed()
    }

    fn projections(&self) -> [&Linear; 3] {
        [&self.q_proj, &self.k_proj, &self.v_proj]
    }

    /// Queries and keys turned by their positions and values, each (B, H, T, D).
    fn heads_of(&self, x: &Tensor, table: &Tensor, start: usize) -> Result<[Tensor; 3]> {
        let [b, t, _] = *x.shape() else {
            bail!(
                "attention: an input of shape (B, T, C) is needed, {:?} was given",
                x.shape()
            );
        };
        let (h, g, d) = (self.heads, self.key_value_heads, self.head_dim);
        let turn = Rope {
            heads_behind: true,
            offset: start,
            ..Rope::default()
        };
        let heads_first = |x: &Tensor| x.permute(&[0, 2, 1, 3]);
        if let Some(packed) = Linear::forward_stacked(&self.projections(), x)? {
            let all = packed.reshape(&[b, t, h + 2 * g, d])?;
            let turned = all.narrow(2, 0, h + g)?.rope(table, &turn)?;
            return Ok([
                heads_first(&turned.narrow(2, 0, h)?)?,
                heads_first(&turned.narrow(2, h, g)?)?,
                heads_first(&all.narrow(2, h + g, g)?)?,
            ]);
        }
        let part = |layer: &Linear, heads: usize| layer.forward(x)?.reshape(&[b, t, heads, d]);
        Ok([
            heads_first(&part(&self.q_proj, h)?.rope(table, &turn)?)?,
            heads_first(&part(&self.k_proj, g)?.rope(table, &turn)?)?,
            heads_first(&part(&self.v_proj, g)?)?,
        ])
    }

    /// Attention of `x` (B, T, C), whose first token has the position `start`, plus `residual`, which is
    /// added in the last product's kernel. With a cache the tokens see those that it holds too.
    fn forward_residual(
        &self,
        x: &Tensor,
        residual: &Tensor,
        table: &Tensor,
        start: usize,
        cache: Option<(&KvCache, usize)>,
    ) -> Result<Tensor> {
        let [q, mut k, mut v] = self.heads_of(x, table, start)?;
        if let Some((cache, layer)) = cache {
            [k, v] = cache.append(layer, &k, &v)?;
        }
        let [b, h, t, d] = *q.shape() else {
            bail!("attention: queries {:?} are not (B, H, T, D)", q.shape());
        };
        let options = Attention {
            causal: t > 1,
            ..Attention::default()
        };
        let y = scaled_dot_product_attention(&q, &k, &v, &options)?;
        let y = y.permute(&[0, 2, 1, 3])?.reshape(&[b, t, h * d])?;
        Ok(self.o_proj.forward_residual(&y, residual)?)
    }
}

/// down(silu(gate(x)) * up(x)) (Shazeer, arXiv:2002.05202).
#[derive(Debug, Module)]
pub struct LlamaMLP {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
    hidden: usize,
}

impl LlamaMLP {
    fn new(config: &LlamaConfig, vb: &VarBuilder) -> Result<Self> {
        let (c, f) = (config.hidden_size, config.intermediate_size);
        let layer = |name: &str, inputs: usize, outputs: usize| {
            linear(config, inputs, outputs, config.mlp_bias, &vb.pp(name))
        };
        Self {
            gate_proj: layer("gate_proj", c, f)?,
            up_proj: layer("up_proj", c, f)?,
            down_proj: layer("down_proj", f, c)?,
            hidden: f,
        }
        .packed()
    }

    /// Puts the first two layers side by side in memory, so that one kernel computes them without a copy.
    fn packed(self) -> Result<Self> {
        Linear::pack(&[&self.gate_proj, &self.up_proj])?;
        Ok(self)
    }

    fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Self {
            gate_proj: cast(&self.gate_proj, dtype)?,
            up_proj: cast(&self.up_proj, dtype)?,
            down_proj: cast(&self.down_proj, dtype)?,
            hidden: self.hidden,
        }
        .packed()
    }

    /// `x` is (…, C); `residual` is added in the last product's kernel.
    fn forward_residual(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let (gate, up) = match Linear::forward_stacked(&[&self.gate_proj, &self.up_proj], x)? {
            Some(both) => (
                both.narrow(-1, 0, self.hidden)?,
                both.narrow(-1, self.hidden, self.hidden)?,
            ),
            None => (self.gate_proj.forward(x)?, self.up_proj.forward(x)?),
        };
        Ok(self
            .down_proj
            .forward_residual(&gate.swiglu(&up)?, residual)?)
    }
}

/// Attention and feed-forward part, each behind an RMS norm and added to what came in.
#[derive(Debug, Module)]
pub struct LlamaDecoderLayer {
    self_attn: LlamaAttention,
    mlp: LlamaMLP,
    input_layernorm: RMSNorm,
    post_attention_layernorm: RMSNorm,
}

impl LlamaDecoderLayer {
    pub(super) fn new(config: &LlamaConfig, vb: &VarBuilder) -> Result<Self> {
        let norm =
            |name: &str| RMSNorm::new(config.hidden_size, config.rms_norm_eps as f32, &vb.pp(name));
        Ok(Self {
            self_attn: LlamaAttention::new(config, &vb.pp("self_attn"))?,
            mlp: LlamaMLP::new(config, &vb.pp("mlp"))?,
            input_layernorm: norm("input_layernorm")?,
            post_attention_layernorm: norm("post_attention_layernorm")?,
        })
    }

    pub(super) fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self {
            self_attn: self.self_attn.to_dtype(dtype)?,
            mlp: self.mlp.to_dtype(dtype)?,
            input_layernorm: self.input_layernorm.clone(),
            post_attention_layernorm: self.post_attention_layernorm.clone(),
        })
    }

    /// `x` is (B, T, C), as is the result; its first token has the position `start` of the rotary `table`.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        table: &Tensor,
        start: usize,
        cache: Option<(&KvCache, usize)>,
    ) -> Result<Tensor> {
        let normed = self.input_layernorm.forward(x)?;
        let x = self
            .self_attn
            .forward_residual(&normed, x, table, start, cache)?;
        let normed = self.post_attention_layernorm.forward(&x)?;
        self.mlp.forward_residual(&normed, &x)
    }
}
