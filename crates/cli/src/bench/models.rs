//! The models that training is timed on, and their batches. BERT and GPT are those of the comparison with
//! other engines, layer by layer.

use wgrad_models::gpt::{GptConfig, GptLMHeadModel};
use wgrad_nn::{
    Activation, Embedding, FeedForward, LayerNorm, Linear, Mode, Module, MultiHeadAttention,
    Parameters, VarBuilder,
};
use wgrad_tensor::ops::cross_entropy::CrossEntropy;
use wgrad_tensor::{DType, Device, Generator, Result, Tensor};

/// A model with the one batch it is trained on.
pub struct Workload {
    /// All parameters.
    pub parameters: Parameters,
    /// Rows or tokens in the batch.
    pub items: usize,
    /// The loss of the batch.
    pub loss: Box<dyn Fn() -> anyhow::Result<Tensor>>,
}

/// The generator of the comparison: every engine draws the same token ids.
pub struct Lcg(u32);

impl Lcg {
    /// Starts at `seed`.
    pub fn new(seed: u32) -> Self {
        Self(seed)
    }
    fn next(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % n
    }
    /// `count` numbers below `n`.
    pub fn take(&mut self, count: usize, n: u32) -> Vec<u32> {
        (0..count).map(|_| self.next(n)).collect()
    }
    /// `count` numbers in -1..1.
    pub fn uniform(&mut self, count: usize) -> Vec<f32> {
        let steps = 1 << 24;
        let scale = 2.0 / steps as f32;
        (0..count)
            .map(|_| self.next(steps) as f32 * scale - 1.0)
            .collect()
    }
}

const EPS: f32 = 1e-5;

/// A transformer layer with its norms behind its two parts, as BERT's.
#[derive(Module)]
struct Layer {
    attention: MultiHeadAttention,
    feed_forward: FeedForward,
    norm1: LayerNorm,
    norm2: LayerNorm,
}

impl Layer {
    fn new(sizes: Sizes, vb: &VarBuilder) -> Result<Self> {
        let c = sizes.channels;
        let feed_forward = vb.pp("feed_forward");
        Ok(Self {
            attention: MultiHeadAttention::new(c, sizes.heads, 0.0, &vb.pp("attention"))?,
            feed_forward: FeedForward::new(c, sizes.hidden, Activation::Gelu, &feed_forward)?,
            norm1: LayerNorm::new(c, EPS, &vb.pp("norm1"))?,
            norm2: LayerNorm::new(c, EPS, &vb.pp("norm2"))?,
        })
    }

    /// `x` is (B, T, C).
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mode = Mode::eval();
        let none = &self.attention.dropout();
        let attended = self.attention.forward(x, None, false, &mode)?;
        let x = self.norm1.forward_residual(&attended, x, none, &mode)?;
        let further = self.feed_forward.forward(&x, &mode)?;
        self.norm2.forward_residual(&further, &x, none, &mode)
    }
}

fn layers(sizes: Sizes, vb: &VarBuilder) -> Result<Vec<Layer>> {
    let vb = vb.pp("layers");
    let layer = |i| Layer::new(sizes, &vb.pp(i));
    (0..sizes.layers).map(layer).collect()
}

/// The sides of a transformer and of its batch.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Texts in a batch.
    pub batch: usize,
    /// Tokens of a text.
    pub seq: usize,
    pub layers: usize,
    pub channels: usize,
    /// Channels between the two products of the feed-forward part.
    pub hidden: usize,
    pub heads: usize,
    pub vocabulary: usize,
    /// Rows of the table of positions.
    pub positions: usize,
    /// Whether the last product uses the table of tokens.
    pub tied: bool,
    /// The type of activations; parameters are f32.
    pub dtype: DType,
}

impl Sizes {
    /// MiniLM-L6-H384 on 16 texts of 64 tokens.
    pub const BERT: Sizes = Sizes {
        batch: 16,
        seq: 64,
        layers: 6,
        channels: 384,
        hidden: 1536,
        heads: 12,
        vocabulary: 30_522,
        positions: 512,
        tied: false,
        dtype: DType::F32,
    };
    /// A character-level GPT of 4 layers, on 16 texts of 128 tokens.
    pub const GPT: Sizes = Sizes {
        batch: 16,
        seq: 128,
        layers: 4,
        channels: 128,
        hidden: 512,
        heads: 4,
        vocabulary: 96,
        positions: 128,
        tied: false,
        dtype: DType::F32,
    };
    /// The smallest GPT-2: 124M parameters, on 8 texts of 1024 tokens.
    pub const GPT_SMALL: Sizes = Sizes {
        batch: 8,
        seq: 1024,
        layers: 12,
        channels: 768,
        hidden: 3072,
        heads: 12,
        vocabulary: 50_257,
        positions: 1024,
        tied: true,
        dtype: DType::F32,
    };

    /// Tokens in a batch.
    pub fn tokens(&self) -> usize {
        self.batch * self.seq
    }

    /// Numbers in the weights of a transformer, without those that are few.
    pub fn weights(&self) -> f64 {
        let (c, f) = (self.channels as f64, self.hidden as f64);
        let tables = (self.vocabulary + self.positions) as f64 * c;
        self.layers as f64 * (4.0 * c * c + 2.0 * c * f) + tables
    }
}

/// BERT with a classifier on the first token. Values as PyTorch draws them.
#[derive(Module)]
struct Bert {
    word: Embedding,
    position: Embedding,
    token_type: Embedding,
    norm: LayerNorm,
    layers: Vec<Layer>,
    head: Linear,
    #[module(skip)]
    sizes: Sizes,
}

impl Bert {
    fn new(sizes: Sizes, vb: &VarBuilder) -> Result<Self> {
        let c = sizes.channels;
        Ok(Self {
            word: Embedding::new(sizes.vocabulary, c, &vb.pp("word"))?,
            position: Embedding::new(sizes.positions, c, &vb.pp("position"))?,
            token_type: Embedding::new(2, c, &vb.pp("token_type"))?,
            norm: LayerNorm::new(c, EPS, &vb.pp("norm"))?,
            layers: layers(sizes, vb)?,
            head: Linear::new(c, 2, &vb.pp("head"))?,
            sizes,
        })
    }

    fn loss(&self, ids: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let Sizes {
            batch,
            seq,
            channels,
            dtype,
            ..
        } = self.sizes;
        // Rows of the tables that every text of the batch shares.
        let shared = self.position.weight().narrow(0, 0, seq)?;
        let shared = shared.add(&self.token_type.weight().narrow(0, 0, 1)?)?;
        let x = self.word.forward(ids)?.add(&shared)?;
        let mut x = self.norm.forward(&x)?.cast(dtype)?;
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        let first = x.narrow(1, 0, 1)?.reshape(&[batch, channels])?;
        self.head
            .forward(&first.cast(DType::F32)?)?
            .cross_entropy(labels, &CrossEntropy::default())
    }
}

/// [`Bert`] with its batch.
pub fn bert(device: &Device, sizes: Sizes, g: &Generator) -> anyhow::Result<Workload> {
    let (b, t, v) = (sizes.batch, sizes.seq, sizes.vocabulary);
    let mut draw = Lcg::new(1);
    let ids = Tensor::from_slice(device, &draw.take(b * t, v as u32), &[b, t])?;
    let labels = Tensor::from_slice(device, &draw.take(b, 2), &[b])?;
    let model = Bert::new(sizes, &VarBuilder::fresh(device, g))?;
    Ok(Workload {
        parameters: model.named_parameters(),
        items: b * t,
        loss: Box::new(move || Ok(model.loss(&ids, &labels)?)),
    })
}

/// A GPT with its batch: the target of each token is the next one.
pub fn gpt(device: &Device, sizes: Sizes, g: &Generator) -> anyhow::Result<Workload> {
    let (b, t, v) = (sizes.batch, sizes.seq, sizes.vocabulary);
    let mut draw = Lcg::new(2);
    let ids = Tensor::from_slice(device, &draw.take(b * t, v as u32), &[b, t])?;
    let labels = Tensor::from_slice(device, &draw.take(b * t, v as u32), &[b * t])?;
    let config = GptConfig {
        vocab_size: v,
        n_positions: sizes.positions,
        n_embd: sizes.channels,
        n_layer: sizes.layers,
        n_head: sizes.heads,
        n_inner: sizes.hidden,
        activation_function: Activation::Gelu,
        layer_norm_epsilon: f64::from(EPS),
        tie_word_embeddings: sizes.tied,
        // A table that is also the last product's weight is initialised like a weight.
        embedding_std: if sizes.tied { 0.02 } else { 1.0 },
    };
    let model = GptLMHeadModel::new(&config, &VarBuilder::fresh(device, g))?;
    let parameters = model.named_parameters();
    let mode = Mode::eval().with_dtype(sizes.dtype);
    let loss = move || {
        let logits = model.forward(&ids, &mode)?.reshape(&[b * t, v])?;
        Ok(logits.cross_entropy(&labels, &CrossEntropy::default())?)
    };
    Ok(Workload {
        parameters,
        items: b * t,
        loss: Box::new(loss),
    })
}

/// The sides of the network for digits: 784 pixels, ten of them.
pub const MLP: [usize; 4] = [784, 512, 512, 10];

/// [`MLP`] with ReLU.
#[derive(Module)]
struct Mlp {
    linear1: Linear,
    linear2: Linear,
    linear3: Linear,
}

impl Mlp {
    fn loss(&self, input: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let x = self.linear1.forward(input)?.relu()?;
        let x = self.linear2.forward(&x)?.relu()?;
        self.linear3
            .forward(&x)?
            .cross_entropy(labels, &CrossEntropy::default())
    }
}

/// [`MLP`] on `b` rows.
pub fn mlp(device: &Device, b: usize, g: &Generator) -> anyhow::Result<Workload> {
    let [pixels, wide, narrow, digits] = MLP;
    let mut draw = Lcg::new(3);
    let input = Tensor::from_slice(device, &draw.uniform(b * pixels), &[b, pixels])?;
    let labels = Tensor::from_slice(device, &draw.take(b, digits as u32), &[b])?;
    let vb = VarBuilder::fresh(device, g);
    let model = Mlp {
        linear1: Linear::new(pixels, wide, &vb.pp("linear1"))?,
        linear2: Linear::new(wide, narrow, &vb.pp("linear2"))?,
        linear3: Linear::new(narrow, digits, &vb.pp("linear3"))?,
    };
    Ok(Workload {
        parameters: model.named_parameters(),
        items: b,
        loss: Box::new(move || Ok(model.loss(&input, &labels)?)),
    })
}
