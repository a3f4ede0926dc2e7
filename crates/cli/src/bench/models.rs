//! The models that training is timed on, small enough to read, and their batches. BERT and GPT are
//! those of the comparison with other engines, layer by layer.

use wgrad_nn::{
    Activation, Embedding, FeedForward, Init, LayerNorm, Linear, Mode, MultiHeadAttention,
    Parameters, join,
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
    pub loss: Box<dyn Fn() -> Result<Tensor>>,
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
const NORMAL: Init = Init::Normal {
    mean: 0.0,
    std: 1.0,
};

/// A transformer layer with its norms behind (BERT) or in front (GPT) of its two parts.
struct Layer {
    attention: MultiHeadAttention,
    feed_forward: FeedForward,
    norm1: LayerNorm,
    norm2: LayerNorm,
}

impl Layer {
    fn new(device: &Device, c: usize, hidden: usize, heads: usize, g: &Generator) -> Result<Self> {
        Ok(Self {
            attention: MultiHeadAttention::new(device, c, heads, 0.0, g)?,
            feed_forward: FeedForward::new(device, c, hidden, Activation::Gelu, g)?,
            norm1: LayerNorm::new(device, c, EPS, g)?,
            norm2: LayerNorm::new(device, c, EPS, g)?,
        })
    }

    /// `x` is (B, T, C).
    fn post_norm(&self, x: &Tensor) -> Result<Tensor> {
        let mode = Mode::eval();
        let none = &self.attention.dropout;
        let attended = self.attention.forward(x, None, false, &mode)?;
        let x = self.norm1.forward_residual(&attended, x, none, &mode)?;
        let further = self.feed_forward.forward(&x)?;
        self.norm2.forward_residual(&further, &x, none, &mode)
    }

    /// `x` is (B, T, C); no position sees those behind it.
    fn pre_norm(&self, x: &Tensor) -> Result<Tensor> {
        let normed = self.norm1.forward(x)?;
        let mode = Mode::eval();
        let x = self
            .attention
            .forward_residual(&normed, x, None, true, &mode)?;
        self.feed_forward
            .forward_residual(&self.norm2.forward(&x)?, &x)
    }

    fn parameters(&self, prefix: &str, out: &mut Parameters) {
        self.attention.parameters(&join(prefix, "attention"), out);
        self.feed_forward
            .parameters(&join(prefix, "feed_forward"), out);
        self.norm1.parameters(&join(prefix, "norm1"), out);
        self.norm2.parameters(&join(prefix, "norm2"), out);
    }
}

fn layers(device: &Device, sizes: Sizes, g: &Generator) -> Result<Vec<Layer>> {
    let Sizes {
        channels,
        hidden,
        heads,
        ..
    } = sizes;
    (0..sizes.layers)
        .map(|_| Layer::new(device, channels, hidden, heads, g))
        .collect()
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
pub fn bert(device: &Device, sizes: Sizes, g: &Generator) -> Result<Workload> {
    let (b, t, c, v) = (sizes.batch, sizes.seq, sizes.channels, sizes.vocabulary);
    let mut draw = Lcg::new(1);
    let ids = Tensor::from_slice(device, &draw.take(b * t, v as u32), &[b, t])?;
    let labels = Tensor::from_slice(device, &draw.take(b, 2), &[b])?;
    let word = Embedding::new(device, v, c, NORMAL, g)?;
    let position = Embedding::new(device, sizes.positions, c, NORMAL, g)?;
    let token_type = Embedding::new(device, 2, c, NORMAL, g)?;
    let norm = LayerNorm::new(device, c, EPS, g)?;
    let layers = layers(device, sizes, g)?;
    let head = Linear::new(device, c, 2, g)?;

    let mut parameters = Parameters::new();
    word.parameters("word", &mut parameters);
    position.parameters("position", &mut parameters);
    token_type.parameters("token_type", &mut parameters);
    norm.parameters("norm", &mut parameters);
    for (i, layer) in layers.iter().enumerate() {
        layer.parameters(&format!("layers.{i}"), &mut parameters);
    }
    head.parameters("head", &mut parameters);

    let loss = move || {
        // Rows of the tables that every text of the batch shares.
        let shared = position.weight.narrow(0, 0, t)?;
        let shared = shared.add(&token_type.weight.narrow(0, 0, 1)?)?;
        let x = norm.forward(&word.forward(&ids)?.add(&shared)?)?;
        let mut x = x.cast(sizes.dtype)?;
        for layer in &layers {
            x = layer.post_norm(&x)?;
        }
        let first = x.narrow(1, 0, 1)?.reshape(&[b, c])?;
        head.forward(&first.cast(DType::F32)?)?
            .cross_entropy(&labels, &CrossEntropy::default())
    };
    Ok(Workload {
        parameters,
        items: b * t,
        loss: Box::new(loss),
    })
}

/// GPT: no position sees those behind it, and every token's successor is to be told.
pub fn gpt(device: &Device, sizes: Sizes, g: &Generator) -> Result<Workload> {
    let (b, t, c, v) = (sizes.batch, sizes.seq, sizes.channels, sizes.vocabulary);
    let mut draw = Lcg::new(2);
    let ids = Tensor::from_slice(device, &draw.take(b * t, v as u32), &[b, t])?;
    let labels = Tensor::from_slice(device, &draw.take(b * t, v as u32), &[b * t])?;
    // A table that is the last product's weight too has values of that size.
    let values = match sizes.tied {
        true => Init::Normal {
            mean: 0.0,
            std: 0.02,
        },
        false => NORMAL,
    };
    let token = Embedding::new(device, v, c, values, g)?;
    let position = Embedding::new(device, sizes.positions, c, values, g)?;
    let layers = layers(device, sizes, g)?;
    let norm = LayerNorm::new(device, c, EPS, g)?;
    let head = match sizes.tied {
        true => Linear::from_tensors(token.weight.clone(), None)?,
        false => Linear::with_init(device, c, v, Init::linear_default(), None, g)?,
    };

    let mut parameters = Parameters::new();
    token.parameters("token", &mut parameters);
    position.parameters("position", &mut parameters);
    for (i, layer) in layers.iter().enumerate() {
        layer.parameters(&format!("layers.{i}"), &mut parameters);
    }
    norm.parameters("norm", &mut parameters);
    if !sizes.tied {
        head.parameters("head", &mut parameters);
    }

    let loss = move || {
        let x = token.forward(&ids)?.add(&match t == sizes.positions {
            true => position.weight.clone(),
            false => position.weight.narrow(0, 0, t)?,
        })?;
        let mut x = x.cast(sizes.dtype)?;
        for layer in &layers {
            x = layer.pre_norm(&x)?;
        }
        head.forward(&norm.forward(&x)?)?
            .reshape(&[b * t, v])?
            .cross_entropy(&labels, &CrossEntropy::default())
    };
    Ok(Workload {
        parameters,
        items: b * t,
        loss: Box::new(loss),
    })
}

/// The sides of the network for digits: 784 pixels, ten of them.
pub const MLP: [usize; 4] = [784, 512, 512, 10];

/// [`MLP`] with ReLU, on `b` rows.
pub fn mlp(device: &Device, b: usize, g: &Generator) -> Result<Workload> {
    let [pixels, wide, narrow, digits] = MLP;
    let mut draw = Lcg::new(3);
    let input = Tensor::from_slice(device, &draw.uniform(b * pixels), &[b, pixels])?;
    let labels = Tensor::from_slice(device, &draw.take(b, digits as u32), &[b])?;
    let linear1 = Linear::new(device, pixels, wide, g)?;
    let linear2 = Linear::new(device, wide, narrow, g)?;
    let linear3 = Linear::new(device, narrow, digits, g)?;

    let mut parameters = Parameters::new();
    linear1.parameters("linear1", &mut parameters);
    linear2.parameters("linear2", &mut parameters);
    linear3.parameters("linear3", &mut parameters);

    let loss = move || {
        let x = linear1.forward(&input)?.relu()?;
        let x = linear2.forward(&x)?.relu()?;
        linear3
            .forward(&x)?
            .cross_entropy(&labels, &CrossEntropy::default())
    };
    Ok(Workload {
        parameters,
        items: b,
        loss: Box::new(loss),
    })
}
