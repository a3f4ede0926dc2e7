//! The models that training is timed on, small enough to read, and their batches. BERT and GPT are
//! those of the comparison with other engines, layer by layer.

use wgrad_nn::{
    Activation, Embedding, FeedForward, Init, LayerNorm, Linear, Mode, MultiHeadAttention,
    Parameters, join,
};
use wgrad_tensor::ops::cross_entropy::CrossEntropy;
use wgrad_tensor::{Device, Generator, Result, Tensor};

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
        let attended = self.attention.forward(x, None, false, &Mode::eval())?;
        let x = self.norm1.forward(&x.add(&attended)?)?;
        self.norm2.forward(&x.add(&self.feed_forward.forward(&x)?)?)
    }

    /// `x` is (B, T, C); no position sees those behind it.
    fn pre_norm(&self, x: &Tensor) -> Result<Tensor> {
        let normed = self.norm1.forward(x)?;
        let x = x.add(&self.attention.forward(&normed, None, true, &Mode::eval())?)?;
        x.add(&self.feed_forward.forward(&self.norm2.forward(&x)?)?)
    }

    fn parameters(&self, prefix: &str, out: &mut Parameters) {
        self.attention.parameters(&join(prefix, "attention"), out);
        self.feed_forward
            .parameters(&join(prefix, "feed_forward"), out);
        self.norm1.parameters(&join(prefix, "norm1"), out);
        self.norm2.parameters(&join(prefix, "norm2"), out);
    }
}

fn layers(
    device: &Device,
    n: usize,
    [channels, hidden, heads]: [usize; 3],
    g: &Generator,
) -> Result<Vec<Layer>> {
    (0..n)
        .map(|_| Layer::new(device, channels, hidden, heads, g))
        .collect()
}

/// MiniLM-L6-H384 with a classifier on the first token, on 16 texts of 64 tokens. Values as PyTorch
/// draws them.
pub fn bert(device: &Device, g: &Generator) -> Result<Workload> {
    let (b, t, c) = (16, 64, 384);
    let mut draw = Lcg::new(1);
    let ids = Tensor::from_slice(device, &draw.take(b * t, 30_522), &[b, t])?;
    let labels = Tensor::from_slice(device, &draw.take(b, 2), &[b])?;
    let word = Embedding::new(device, 30_522, c, NORMAL, g)?;
    let position = Embedding::new(device, 512, c, NORMAL, g)?;
    let token_type = Embedding::new(device, 2, c, NORMAL, g)?;
    let norm = LayerNorm::new(device, c, EPS, g)?;
    let layers = layers(device, 6, [c, 1536, 12], g)?;
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
        let mut x = norm.forward(&word.forward(&ids)?.add(&shared)?)?;
        for layer in &layers {
            x = layer.post_norm(&x)?;
        }
        let first = x.narrow(1, 0, 1)?.reshape(&[b, c])?;
        head.forward(&first)?
            .cross_entropy(&labels, &CrossEntropy::default())
    };
    Ok(Workload {
        parameters,
        items: b * t,
        loss: Box::new(loss),
    })
}

/// A character-level GPT of 4 layers, on 16 texts of 128 tokens.
pub fn gpt(device: &Device, g: &Generator) -> Result<Workload> {
    let (b, t, c, v) = (16, 128, 128, 96);
    let mut draw = Lcg::new(2);
    let ids = Tensor::from_slice(device, &draw.take(b * t, v), &[b, t])?;
    let labels = Tensor::from_slice(device, &draw.take(b * t, v), &[b * t])?;
    let v = v as usize;
    let token = Embedding::new(device, v, c, NORMAL, g)?;
    let position = Embedding::new(device, t, c, NORMAL, g)?;
    let layers = layers(device, 4, [c, 512, 4], g)?;
    let norm = LayerNorm::new(device, c, EPS, g)?;
    let head = Linear::with_init(device, c, v, Init::linear_default(), None, g)?;

    let mut parameters = Parameters::new();
    token.parameters("token", &mut parameters);
    position.parameters("position", &mut parameters);
    for (i, layer) in layers.iter().enumerate() {
        layer.parameters(&format!("layers.{i}"), &mut parameters);
    }
    norm.parameters("norm", &mut parameters);
    head.parameters("head", &mut parameters);

    let loss = move || {
        let mut x = token.forward(&ids)?.add(&position.weight)?;
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

/// 784 - 512 - 512 - 10 with ReLU, on 128 rows: the shape of a first network for digits.
pub fn mlp(device: &Device, g: &Generator) -> Result<Workload> {
    let b = 128;
    let mut draw = Lcg::new(3);
    let input = Tensor::from_slice(device, &draw.uniform(b * 784), &[b, 784])?;
    let labels = Tensor::from_slice(device, &draw.take(b, 10), &[b])?;
    let linear1 = Linear::new(device, 784, 512, g)?;
    let linear2 = Linear::new(device, 512, 512, g)?;
    let linear3 = Linear::new(device, 512, 10, g)?;

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
