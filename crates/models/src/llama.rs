//! Llama (Touvron et al., arXiv:2302.13971) and the models built like it, such as SmolLM2: a causal decoder
//! with RMS norms, rotary positions, grouped-query attention and a gated feed-forward part.

use anyhow::{Context, Result, bail, ensure};
use wgrad_nn::{
    Embedding, Init, KvCache, Linear, Mode, Module, RMSNorm, RotaryEmbedding, RotaryPairs,
    VarBuilder,
};
use wgrad_tensor::{DType, Device, Tensor};

mod config;
mod layer;
mod names;
mod rope;

pub use config::LlamaConfig;
pub(crate) use config::token_ids;
pub use layer::LlamaDecoderLayer;
pub use names::{GgufSource, from_gguf};
pub use rope::RopeScaling;

use crate::generate::{CausalLM, last_of};
use crate::io::gguf::GgufFile;
use crate::io::safetensors::Weights;

/// The decoder without the last product: `model.` in the names of `transformers`.
#[derive(Debug, Module)]
pub struct LlamaModel {
    embed_tokens: Embedding,
    layers: Vec<LlamaDecoderLayer>,
    norm: RMSNorm,
}

impl LlamaModel {
    fn new(config: &LlamaConfig, vb: &VarBuilder) -> Result<Self> {
        let normal = normal(config);
        let rotary = rotary(config, vb.device());
        let layer = |i: usize| LlamaDecoderLayer::new(config, &rotary, &vb.pp("layers").pp(i));
        Ok(Self {
            embed_tokens: Embedding::with_init(
                config.vocab_size,
                config.hidden_size,
                normal,
                &vb.pp("embed_tokens"),
            )?,
            layers: (0..config.num_hidden_layers)
                .map(layer)
                .collect::<Result<_>>()?,
            norm: RMSNorm::new(
                config.hidden_size,
                config.rms_norm_eps as f32,
                &vb.pp("norm"),
            )?,
        })
    }

    /// Hidden states (B, T, C) behind the last norm, from ids u32 (B, T). With a `cache` the ids follow those
    /// that it holds, and their keys and values are added to it; without one they begin a text.
    ///
    /// Errors: ids of another shape, more tokens than the model or the cache has positions.
    pub fn forward(
        &self,
        input_ids: &Tensor,
        cache: Option<&mut KvCache>,
        mode: &Mode,
    ) -> Result<Tensor> {
        let [_, tokens] = *input_ids.shape() else {
            bail!(
                "input_ids has the shape (B, T), {:?} was given",
                input_ids.shape()
            );
        };
        let mut x = self.embed_tokens.forward(input_ids)?.cast(mode.dtype())?;
        for (i, layer) in self.layers.iter().enumerate() {
            let part = cache.as_deref().map(|cache| (cache, i));
            x = layer.forward(&x, part, mode)?;
        }
        if let Some(cache) = cache {
            cache.advance(tokens)?;
        }
        Ok(self.norm.forward(&x)?)
    }
}

/// The decoder with the product that gives logits, as `transformers.LlamaForCausalLM`.
///
/// Parameters have the names that `transformers` gives them, such as
/// `model.layers.0.self_attn.q_proj.weight`; tied weights are listed once, as `model.embed_tokens.weight`.
#[derive(Debug, Module)]
pub struct LlamaForCausalLM {
    model: LlamaModel,
    lm_head: Linear,
    #[module(skip)]
    config: LlamaConfig,
}

fn rotary(config: &LlamaConfig, device: &Device) -> RotaryEmbedding {
    let most = config.max_position_embeddings;
    RotaryEmbedding::with_frequencies(device, config.rope_frequencies(), most, RotaryPairs::Halves)
}

/// How `transformers` draws new weights.
fn normal(config: &LlamaConfig) -> Init {
    Init::Normal {
        mean: 0.0,
        std: config.initializer_range as f32,
    }
}

impl LlamaForCausalLM {
    /// A model of this configuration from `vb`: fresh, or from tensors by the names of `transformers`.
    pub fn new(config: &LlamaConfig, vb: &VarBuilder) -> Result<Self> {
        let model = LlamaModel::new(config, &vb.pp("model"))?;
        // A file may hold a head of its own although the configuration says that the weights are tied.
        let lm_head = match config.tie_word_embeddings {
            true => Linear::from_tensors(model.embed_tokens.weight().clone(), None)?,
            false => Linear::with_init(
                config.hidden_size,
                config.vocab_size,
                normal(config),
                None,
                &vb.pp("lm_head"),
            )?,
        };
        Ok(Self {
            model,
            lm_head,
            config: config.clone(),
        })
    }

    /// Loads the model of a GGUF file, dequantised to f32.
    pub fn from_gguf(device: &Device, file: &GgufFile) -> Result<Self> {
        let config = LlamaConfig::from_gguf(file)?;
        let source = GgufSource::new(file, &config);
        Self::new(&config, &VarBuilder::from_source(device, Box::new(source)))
            .with_context(|| file.path().display().to_string())
    }

    /// Loads a model with the weights of a folder.
    pub fn from_weights(device: &Device, config: &LlamaConfig, weights: &Weights) -> Result<Self> {
        Self::new(config, &VarBuilder::from_source(device, Box::new(weights)))
    }

    /// The model with the weights of its products in another float type, for inference in half of the
    /// memory. Activations have that type too; norms keep f32 weights.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        let embed_tokens = self.model.embed_tokens.to_dtype(dtype)?;
        let layers = self.model.layers.iter();
        let lm_head = match self.config.tie_word_embeddings {
            true => Linear::from_tensors(embed_tokens.weight().clone(), None)?,
            false => self.lm_head.to_dtype(dtype)?,
        };
        Ok(Self {
            model: LlamaModel {
                embed_tokens,
                layers: layers
                    .map(|layer| layer.to_dtype(dtype))
                    .collect::<Result<_>>()?,
                norm: self.model.norm.clone(),
            },
            lm_head,
            config: self.config.clone(),
        })
    }

    /// What the model was built from.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// The decoder without the last product.
    pub fn model(&self) -> &LlamaModel {
        &self.model
    }

    /// Logits (B, T, V) for the successor of each token, from ids u32 (B, T).
    pub fn forward(&self, input_ids: &Tensor, mode: &Mode) -> Result<Tensor> {
        let hidden = self.model.forward(input_ids, None, mode)?;
        Ok(self.lm_head.forward(&hidden)?)
    }
}

impl CausalLM for LlamaForCausalLM {
    fn logits(&self, input_ids: &Tensor, mode: &Mode) -> Result<Tensor> {
        self.forward(input_ids, mode)
    }

    fn new_cache(&self, batch: usize, tokens: usize) -> Result<KvCache> {
        let c = &self.config;
        ensure!(
            tokens <= c.max_position_embeddings,
            "{tokens} tokens are more than the model's {} positions",
            c.max_position_embeddings
        );
        let table = self.model.embed_tokens.weight();
        let shape = [batch, c.num_key_value_heads, tokens, c.head_dim];
        let layers = c.num_hidden_layers;
        Ok(KvCache::new(table.device(), layers, shape, table.dtype())?)
    }

    fn next_logits(&self, input_ids: &Tensor, cache: &mut KvCache) -> Result<Tensor> {
        let mode = Mode::eval().with_dtype(self.model.embed_tokens.weight().dtype());
        let hidden = self.model.forward(input_ids, Some(cache), &mode)?;
        Ok(self.lm_head.forward(&last_of(&hidden)?)?)
    }

    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn max_tokens(&self) -> usize {
        self.config.max_position_embeddings
    }

    fn config_json(&self) -> Option<serde_json::Value> {
        Some(self.config.to_json())
    }
}
