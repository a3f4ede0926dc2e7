//! A character GPT that writes while it trains: blocks of causal attention and feed-forward layers,
//! trained on one poem until it knows it by heart.
//!
//! Run: cargo run --release --example char_gpt

use wgrad::prelude::*;
use wgrad::tensor::Result;

/// Shakespeare, sonnet 18.
const TEXT: &str = "\
Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date;
Sometime too hot the eye of heaven shines,
And often is his gold complexion dimm'd;
And every fair from fair sometime declines,
By chance or nature's changing course untrimm'd;
But thy eternal summer shall not fade,
Nor lose possession of that fair thou ow'st;
Nor shall death brag thou wander'st in his shade,
When in eternal lines to time thou grow'st:
So long as men can breathe or eyes can see,
So long lives this, and this gives life to thee.
";

const CHANNELS: usize = 64;
const HEADS: usize = 4;
const LAYERS: usize = 2;
/// Characters that a position sees at most, its own included.
const WINDOW: usize = 64;
const BATCH: usize = 16;

/// One block: attention to earlier characters, then a small network on each character, both added to
/// their input.
#[derive(Module)]
struct Block {
    norm1: LayerNorm,
    attention: MultiHeadAttention,
    norm2: LayerNorm,
    feed_forward: FeedForward,
}

impl Block {
    fn new(vb: &VarBuilder) -> Result<Self> {
        Ok(Self {
            norm1: LayerNorm::new(CHANNELS, 1e-5, &vb.pp("norm1"))?,
            attention: MultiHeadAttention::new(CHANNELS, HEADS, 0.0, &vb.pp("attention"))?,
            norm2: LayerNorm::new(CHANNELS, 1e-5, &vb.pp("norm2"))?,
            feed_forward: FeedForward::new(
                CHANNELS,
                4 * CHANNELS,
                Activation::Gelu,
                &vb.pp("feed_forward"),
            )?,
        })
    }

    /// `x` is (B, T, C), as is the result.
    fn forward(&self, x: &Tensor, mode: &Mode) -> Result<Tensor> {
        let causal = true;
        let normed = self.norm1.forward(x)?;
        let x = x.add(&self.attention.forward(&normed, None, causal, mode)?)?;
        let normed = self.norm2.forward(&x)?;
        x.add(&self.feed_forward.forward(&normed, mode)?)
    }
}

/// Characters in, logits of the next character out.
#[derive(Module)]
struct Gpt {
    characters: Embedding,
    positions: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

impl Gpt {
    fn new(vocabulary: usize, vb: &VarBuilder) -> Result<Self> {
        let init = Init::Normal {
            mean: 0.0,
            std: 0.02,
        };
        let blocks = (0..LAYERS).map(|i| Block::new(&vb.pp("blocks").pp(i)));
        Ok(Self {
            characters: Embedding::with_init(vocabulary, CHANNELS, init, &vb.pp("characters"))?,
            positions: Embedding::with_init(WINDOW, CHANNELS, init, &vb.pp("positions"))?,
            blocks: blocks.collect::<Result<_>>()?,
            norm: LayerNorm::new(CHANNELS, 1e-5, &vb.pp("norm"))?,
            head: Linear::new(CHANNELS, vocabulary, &vb.pp("head"))?,
        })
    }

    /// `ids` is u32 (B, T) with T at most [`WINDOW`]; the result is (B, T, V).
    fn forward(&self, ids: &Tensor, mode: &Mode) -> Result<Tensor> {
        let positions = self.positions.weight().narrow(0, 0, ids.shape()[1])?;
        let mut x = self.characters.forward(ids)?.add(&positions)?;
        for block in &self.blocks {
            x = block.forward(&x, mode)?;
        }
        self.head.forward(&self.norm.forward(&x)?)
    }

    /// Continues `text` by `count` characters, each the most probable one.
    fn write(
        &self,
        device: &Device,
        alphabet: &[char],
        text: &str,
        count: usize,
    ) -> Result<String> {
        let mut text = text.to_owned();
        for _ in 0..count {
            let mut ids = encode(alphabet, &text);
            let ids = ids.split_off(ids.len().saturating_sub(WINDOW));
            let last = ids.len() - 1;
            let ids = Tensor::from_slice(device, &ids, &[1, last + 1])?;
            let logits = no_grad(|| self.forward(&ids, &Mode::eval())?.narrow(1, last, 1))?;
            let next = logits.argmax(-1, false)?.to_vec::<u32>()?[0];
            text.push(alphabet[next as usize]);
        }
        Ok(text)
    }
}

/// Each character as its place in the alphabet.
fn encode(alphabet: &[char], text: &str) -> Vec<u32> {
    let place = |c| alphabet.iter().position(|a| *a == c).unwrap_or(0) as u32;
    text.chars().map(place).collect()
}

fn main() -> anyhow::Result<()> {
    let device = Device::open(DeviceOptions::default())?;
    let generator = Generator::new(&device, 7)?;
    let mut alphabet: Vec<char> = TEXT.chars().collect();
    alphabet.sort_unstable();
    alphabet.dedup();
    let ids = encode(&alphabet, TEXT);
    let model = Gpt::new(alphabet.len(), &VarBuilder::fresh(&device, &generator))?;
    println!(
        "{} characters, {} parameters",
        ids.len(),
        model.num_parameters()
    );

    let config = AdamWConfig {
        lr: 3e-3,
        ..Default::default()
    };
    let mut optimizer = AdamW::new(no_decay(model.named_parameters(), 0.01), config)?;
    let steps = 200;
    let mut loss = f32::INFINITY;
    for step in 1..=steps {
        // Windows that together cover the text, from another start in each step.
        let starts =
            (0..BATCH).map(|i| (step * 37 + i * ids.len() / BATCH) % (ids.len() - WINDOW - 1));
        let (mut inputs, mut targets) = (Vec::<u32>::new(), Vec::<u32>::new());
        for start in starts {
            inputs.extend(&ids[start..start + WINDOW]);
            targets.extend(&ids[start + 1..start + WINDOW + 1]);
        }
        let inputs = Tensor::from_slice(&device, &inputs, &[BATCH, WINDOW])?;
        let targets = Tensor::from_slice(&device, &targets, &[BATCH * WINDOW])?;
        generator.begin_step(step as u64, 0)?;
        let logits = model.forward(&inputs, &Mode::train(&generator))?;
        let mean = logits
            .reshape(&[BATCH * WINDOW, alphabet.len()])?
            .cross_entropy(&targets, &CrossEntropy::default())?;
        optimizer.step(&mean.backward()?, Some(1.0))?;
        if step % 50 == 0 {
            loss = mean.item()?;
            let written = model.write(&device, &alphabet, "Shall I ", 40)?;
            println!("step {step}: loss {loss:.3}: {written:?}");
        }
    }
    anyhow::ensure!(loss < 1.0, "it did not learn: the loss is {loss}");
    Ok(())
}
