//! `wgrad bench decode`: one token after another through a decoder with a cache of keys and values, from
//! made-up weights.

use anyhow::{Result, ensure};
use wgrad_tensor::{DType, Device, LinearOptions, Tensor, no_grad};
use wgrad_tune::bench::values::uniform;
use wgrad_tune::bench::{Bench, Row, Work};

use super::kernels::{Dtype, side};
use super::memory::ensure_room;
use super::output::OutputArgs;

/// Time decoding: one token through a stack of decoder layers with a cache of keys and values
#[derive(clap::Args, Clone)]
#[command(rename_all = "snake_case")]
pub struct DecodeArgs {
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub stack: StackArgs,
}

/// The decoder: Llama's layers (RMSNorm, gated feed-forward) without positions.
#[derive(clap::Args, Clone)]
#[command(rename_all = "snake_case")]
pub struct StackArgs {
    #[arg(long, default_value_t = 12, value_parser = side)]
    pub layers: usize,
    #[arg(long, default_value_t = 768, value_parser = side)]
    pub channels: usize,
    /// Channels inside of the feed-forward part
    #[arg(long, default_value_t = 2048, value_parser = side)]
    pub hidden: usize,
    #[arg(long, default_value_t = 12, value_parser = side)]
    pub heads: usize,
    /// Rows of the last product
    #[arg(long, default_value_t = 32_000, value_parser = side)]
    pub vocab: usize,
    /// Tokens in the cache
    #[arg(long, default_value_t = 512, value_parser = side)]
    pub context: usize,
    #[arg(long, value_delimiter = ',', default_value = "f32")]
    pub dtype: Vec<Dtype>,
}

struct Layer {
    norms: [Tensor; 2],
    /// Queries, keys and values in one: (3 C, C).
    qkv: Tensor,
    out: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
    /// (1, H, context, D) each.
    keys: Tensor,
    values: Tensor,
}

struct Stack {
    layers: Vec<Layer>,
    norm: Tensor,
    head: Tensor,
    x: Tensor,
    heads: usize,
    context: usize,
}

/// A layer whose result is added to `residual`.
fn onto(residual: &Tensor) -> LinearOptions<'_> {
    LinearOptions {
        residual: Some(residual),
        ..LinearOptions::default()
    }
}

impl Stack {
    fn new(device: &Device, s: &StackArgs, dtype: DType) -> Result<Self> {
        if dtype == DType::F16 {
            ensure!(device.has_f16(), "the adapter has no shader-f16");
        }
        let (weights, cache) = numbers(s);
        ensure_room(device, dtype.size() as f64 * (weights + cache))?;
        let (c, f) = (s.channels, s.hidden);
        let mut seed = 0;
        let mut random = |shape: &[usize]| {
            seed += 1;
            uniform(device, shape, dtype, seed)
        };
        let mut layers = Vec::new();
        for _ in 0..s.layers {
            let cache = [1, s.heads, s.context, c / s.heads];
            layers.push(Layer {
                norms: [random(&[c])?, random(&[c])?],
                qkv: random(&[3 * c, c])?,
                out: random(&[c, c])?,
                gate: random(&[f, c])?,
                up: random(&[f, c])?,
                down: random(&[c, f])?,
                keys: random(&cache)?,
                values: random(&cache)?,
            });
        }
        Ok(Self {
            layers,
            norm: random(&[c])?,
            head: random(&[s.vocab, c])?,
            x: random(&[1, c])?,
            heads: s.heads,
            context: s.context,
        })
    }

    /// The logits of the token at the cache's last place.
    fn token(&self) -> Result<Tensor> {
        use wgrad_tensor::Activation::None as Plain;
        let c = self.x.shape()[1];
        let head = [1, self.heads, 1, c / self.heads];
        let scale = 1.0 / (head[3] as f32).sqrt();
        let mut x = self.x.clone();
        for layer in &self.layers {
            let normed = x.rms_norm(Some(&layer.norms[0]), 1e-5)?;
            let qkv = normed.linear(&layer.qkv, None, Plain)?;
            let part = |i: usize| qkv.narrow(1, i * c, c)?.reshape(&head);
            let last = self.context - 1;
            part(1)?.copy_into(&layer.keys.narrow(2, last, 1)?)?;
            part(2)?.copy_into(&layer.values.narrow(2, last, 1)?)?;
            let scores = part(0)?.matmul(&layer.keys.transpose(-2, -1)?)?;
            let weights = scores.softmax_masked(None, scale, false)?;
            let seen = weights.matmul(&layer.values)?.reshape(&[1, c])?;
            x = seen.linear_with(&layer.out, &onto(&x))?;
            let normed = x.rms_norm(Some(&layer.norms[1]), 1e-5)?;
            let gate = normed.linear(&layer.gate, None, Plain)?.silu()?;
            let up = normed.linear(&layer.up, None, Plain)?;
            x = gate.mul(&up)?.linear_with(&layer.down, &onto(&x))?;
        }
        let normed = x.rms_norm(Some(&self.norm), 1e-5)?;
        Ok(normed.linear(&self.head, None, Plain)?)
    }
}

/// Numbers in the weights, and in the cache.
fn numbers(s: &StackArgs) -> (f64, f64) {
    let (c, f, l) = (s.channels as f64, s.hidden as f64, s.layers as f64);
    let weights = l * (4.0 * c * c + 3.0 * c * f + 2.0 * c) + (s.vocab as f64 + 1.0) * c;
    (weights, 2.0 * l * s.context as f64 * c)
}

/// Runs `wgrad bench decode`.
pub fn run(args: DecodeArgs) -> Result<()> {
    check(&args.stack)?;
    let mut run = args.output.start(false)?;
    time(&mut run.bench, &args.stack)?;
    run.finish()
}

/// Refuses what cannot be a decoder.
pub fn check(s: &StackArgs) -> Result<()> {
    ensure!(
        s.channels.is_multiple_of(s.heads),
        "--channels {} do not divide into --heads {}",
        s.channels,
        s.heads
    );
    Ok(())
}

/// Adds a row for each type. By the clock: what the host spends on a token counts.
pub fn time(bench: &mut Bench, s: &StackArgs) -> Result<()> {
    for dtype in &s.dtype {
        let dtype = DType::from(*dtype);
        let (weights, cache) = numbers(s);
        let size = dtype.size() as f64;
        // Two operations a weight, four a number of the cache's half that is keys.
        let work = Work::new(2.0 * (weights + cache), size * (weights + cache));
        let work = match dtype {
            DType::F16 => work.half(),
            _ => work,
        };
        let name = format!(
            "decode {} {} layers C{} F{} H{} V{}, {} tokens in the cache",
            dtype.wgsl(),
            s.layers,
            s.channels,
            s.hidden,
            s.heads,
            s.vocab,
            s.context
        );
        let name = bench.title(&name);
        let device = bench.device.clone();
        let measured = Stack::new(&device, s, dtype).and_then(|stack| {
            bench.meter.measure_by_clock(&mut || {
                no_grad(|| stack.token())?;
                Ok(())
            })
        });
        match measured {
            Ok(measurement) => {
                let seconds = measurement.time.median;
                let rate = size * weights / seconds / 1e9;
                let share = rate / bench.results.roof.copy_gbps;
                let launches = measurement.launches;
                bench.add(
                    Row::measured(name, work, measurement)
                        .figure("tokens/s", 1.0 / seconds)
                        .figure("weights GB/s", rate)
                        .figure("weights % of copy bandwidth", 100.0 * share)
                        .figure("weights MB", size * weights / 1e6)
                        .figure("dispatches", launches),
                );
            }
            Err(error) => bench.skip(name, &error)?,
        }
    }
    Ok(())
}
