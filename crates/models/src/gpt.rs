//! GPT in the shape of GPT-2 (Radford et al., 2019): a causal decoder with layer norms in front of each
//! part, a table of positions and a feed-forward part with GELU.

use anyhow::{Result, bail, ensure};
use wgrad_nn::{
    Activation, Embedding, FeedForward, Init, KvCache, LayerNorm, Linear, Mode, Module,
    MultiHeadAttention, VarBuilder,
};
use wgrad_tensor::{DType, Tensor};

use crate::generate::{CausalLM, last_of};

/// The settings of a GPT, under the names of `transformers.GPT2Config`.
#[derive(Clone, Debug, PartialEq)]
pub struct GptConfig {
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Rows of the table of positions: the most tokens of a text.
    pub n_positions: usize,
    /// Width of the hidden states.
    pub n_embd: usize,
    /// Layers.
    pub n_layer: usize,
    /// Heads; divides `n_embd`.
    pub n_head: usize,
    /// Width inside of the feed-forward part.
    pub n_inner: usize,
    /// The feed-forward part's activation.
    pub activation_function: Activation,
    /// Added to the variance in every layer norm.
    pub layer_norm_epsilon: f64,
    /// Whether the last product uses the token embedding.
    pub tie_word_embeddings: bool,
    /// Standard deviation of the normal distribution that new embeddings are drawn from. Linear layers
    /// start as PyTorch's do.
    pub embedding_std: f64,
}

impl GptConfig {
    /// The smallest GPT-2, 124 million parameters, with the exact GELU.
    pub fn gpt2() -> Self {
        Self {
            vocab_size: 50_257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: 3072,
            activation_function: Activation::Gelu,
            layer_norm_epsilon: 1e-5,
            tie_word_embeddings: true,
            embedding_std: 0.02,
        }
    }
}

/// One layer: attention and feed-forward part, each behind a layer norm and added to what came in.
#[derive(Debug, Module)]
pub struct GptBlock {
    ln_1: LayerNorm,
    attn: MultiHeadAttention,
    ln_2: LayerNorm,
    mlp: FeedForward,
}

impl GptBlock {
    fn new(config: &GptConfig, vb: &VarBuilder) -> Result<Self> {
        let c = config.n_embd;
        let norm = |name: &str| LayerNorm::new(c, config.layer_norm_epsilon as f32, &vb.pp(name));
        ensure!(
            config.n_head > 0 && c.is_multiple_of(config.n_head),
            "n_embd is {c}, which does not divide into n_head, which is {}",
            config.n_head
        );
        Ok(Self {
            attn: MultiHeadAttention::new(c, config.n_head, 0.0, &vb.pp("attn"))?,
            mlp: FeedForward::with_names(
                c,
                config.n_inner,
                config.activation_function,
                ["c_fc", "c_proj"],
                &vb.pp("mlp"),
            )?,
            ln_1: norm("ln_1")?,
            ln_2: norm("ln_2")?,
        })
    }

    fn forward(&self, x: &Tensor, cache: Option<(&KvCache, usize)>, mode: &Mode) -> Result<Tensor> {
        let normed = self.ln_1.forward(x)?;
        let x = match cache {
            Some(cache) => self.attn.forward_cached(&normed, Some(x), cache, mode)?,
            None => self.attn.forward_residual(&normed, x, None, true, mode)?,
        };
        let normed = self.ln_2.forward(&x)?;
        Ok(self.mlp.forward_residual(&normed, &x, mode)?)
    }
}

/// The decoder without the last product.
#[derive(Debug, Module)]
pub struct GptModel {
    wte: Embedding,
    wpe: Embedding,
    h: Vec<GptBlock>,
    ln_f: LayerNorm,
}

impl GptModel {
    fn new(config: &GptConfig, vb: &VarBuilder) -> Result<Self> {
        let c = config.n_embd;
        let normal = Init::Normal {
            mean: 0.0,
            std: config.embedding_std as f32,
        };
        let block = |i: usize| GptBlock::new(config, &vb.pp("h").pp(i));
        Ok(Self {
            wte: Embedding::with_init(config.vocab_size, c, normal, &vb.pp("wte"))?,
            wpe: Embedding::with_init(config.n_positions, c, normal, &vb.pp("wpe"))?,
            h: (0..config.n_layer).map(block).collect::<Result<_>>()?,
            ln_f: LayerNorm::new(c, config.layer_norm_epsilon as f32, &vb.pp("ln_f"))?,
        })
    }

    /// Hidden states (B, T, C) behind the last norm, from ids u32 (B, T). With a `cache` the ids follow those
    /// that it holds; without one they begin a text.
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
        let start = cache.as_ref().map_or(0, |cache| cache.len());
        let table = self.wpe.weight();
        let rows = table.shape()[0];
        ensure!(
            start + tokens <= rows,
            "a text of {} tokens is longer than the model's {rows} positions",
            start + tokens
        );
        let positions = match tokens == rows {
            true => table.clone(),
            false => table.narrow(0, start, tokens)?,
        };
        let mut x = self
            .wte
            .forward(input_ids)?
            .add(&positions)?
            .cast(mode.dtype())?;
        for (i, block) in self.h.iter().enumerate() {
            let part = cache.as_deref().map(|cache| (cache, i));
            x = block.forward(&x, part, mode)?;
        }
        if let Some(cache) = cache {
            cache.advance(tokens)?;
        }
        Ok(self.ln_f.forward(&x)?)
    }
}

/// The decoder with the product that gives logits.
///
/// ```no_run
/// use wgrad_models::gpt::{GptConfig, GptLMHeadModel};
/// use wgrad_nn::{Mode, Module, VarBuilder};
/// use wgrad_tensor::{Device, DeviceOptions, Generator, Tensor};
///
/// # fn main() -> anyhow::Result<()> {
/// let device = Device::open(DeviceOptions::default())?;
/// let generator = Generator::new(&device, 0)?;
/// let config = GptConfig { vocab_size: 96, n_positions: 64, n_embd: 64, n_layer: 2, n_head: 2, n_inner: 256, ..GptConfig::gpt2() };
/// let model = GptLMHeadModel::new(&config, &VarBuilder::fresh(&device, &generator))?;
/// let ids = Tensor::from_slice(&device, &[1u32, 2, 3], &[1, 3])?;
/// assert_eq!(model.forward(&ids, &Mode::eval())?.shape(), [1, 3, 96]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Module)]
pub struct GptLMHeadModel {
    transformer: GptModel,
    lm_head: Linear,
    #[module(skip)]
    config: GptConfig,
}

impl GptLMHeadModel {
    /// A model of this configuration from `vb`. Errors: `n_head` does not divide `n_embd`.
    pub fn new(config: &GptConfig, vb: &VarBuilder) -> Result<Self> {
        let transformer = GptModel::new(config, &vb.pp("transformer"))?;
        let lm_head = match config.tie_word_embeddings {
            true => Linear::from_tensors(transformer.wte.weight().clone(), None)?,
            false => Linear::no_bias(config.n_embd, config.vocab_size, &vb.pp("lm_head"))?,
        };
        Ok(Self {
            transformer,
            lm_head,
            config: config.clone(),
        })
    }

    /// What the model was built from.
    pub fn config(&self) -> &GptConfig {
        &self.config
    }

    /// Logits (B, T, V) for the successor of each token, from ids u32 (B, T).
    pub fn forward(&self, input_ids: &Tensor, mode: &Mode) -> Result<Tensor> {
        let hidden = self.transformer.forward(input_ids, None, mode)?;
        Ok(self.lm_head.forward(&hidden)?)
    }
}

impl CausalLM for GptLMHeadModel {
    fn logits(&self, input_ids: &Tensor, mode: &Mode) -> Result<Tensor> {
        self.forward(input_ids, mode)
    }

    fn new_cache(&self, batch: usize, tokens: usize) -> Result<KvCache> {
        let c = &self.config;
        ensure!(
            tokens <= c.n_positions,
            "{tokens} tokens are more than the model's {} positions",
            c.n_positions
        );
        let device = self.transformer.wte.weight().device();
        let shape = [batch, c.n_head, tokens, c.n_embd / c.n_head];
        Ok(KvCache::new(device, c.n_layer, shape, DType::F32)?)
    }

    fn next_logits(&self, input_ids: &Tensor, cache: &mut KvCache) -> Result<Tensor> {
        let hidden = self
            .transformer
            .forward(input_ids, Some(cache), &Mode::eval())?;
        Ok(self.lm_head.forward(&last_of(&hidden)?)?)
    }

    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn max_tokens(&self) -> usize {
        self.config.n_positions
    }
}
