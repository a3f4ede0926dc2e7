//! One layer of the decoder.

use anyhow::Result;
use wgrad_nn::{
    GroupedQueryAttention, GroupedQueryCall, GroupedQueryConfig, Init, KvCache, Mode, Module,
    RMSNorm, RotaryEmbedding, SwiGlu, VarBuilder,
};
use wgrad_tensor::{DType, Tensor};

use super::{LlamaConfig, normal};

/// Attention and feed-forward part, each behind an RMS norm and added to what came in.
#[derive(Debug, Module)]
pub struct LlamaDecoderLayer {
    self_attn: GroupedQueryAttention,
    mlp: SwiGlu,
    input_layernorm: RMSNorm,
    post_attention_layernorm: RMSNorm,
}

impl LlamaDecoderLayer {
    /// All layers share the table of `rotary`.
    pub(super) fn new(
        config: &LlamaConfig,
        rotary: &RotaryEmbedding,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let c = config.hidden_size;
        let norm = |name: &str| RMSNorm::new(c, config.rms_norm_eps as f32, &vb.pp(name));
        let (heads, groups) = (config.num_attention_heads, config.num_key_value_heads);
        let attention = GroupedQueryConfig {
            head_dim: config.head_dim,
            bias: config.attention_bias,
            init: Some(normal(config)),
            ..GroupedQueryConfig::new(c, heads, groups)
        };
        let rotary = Some(rotary.clone());
        Ok(Self {
            self_attn: GroupedQueryAttention::new(&attention, rotary, &vb.pp("self_attn"))?,
            mlp: SwiGlu::with_init(
                c,
                config.intermediate_size,
                normal(config),
                config.mlp_bias.then_some(Init::Zeros),
                &vb.pp("mlp"),
            )?,
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

    /// `x` is (B, T, C), as is the result; with a cache its tokens follow those that the cache holds.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        cache: Option<(&KvCache, usize)>,
        mode: &Mode,
    ) -> Result<Tensor> {
        let call = GroupedQueryCall {
            residual: Some(x),
            cache,
            ..GroupedQueryCall::causal(mode)
        };
        let normed = self.input_layernorm.forward(x)?;
        let x = self.self_attn.forward(&normed, &call)?;
        let normed = self.post_attention_layernorm.forward(&x)?;
        Ok(self.mlp.forward_residual(&normed, &x, mode)?)
    }
}
