//! `wgrad bench decode`: one token after another through a decoder with a cache of keys and values, from
//! made-up weights.

use anyhow::{Result, ensure};
use wgrad_models::generate::CausalLM;
use wgrad_models::llama::{LlamaConfig, LlamaForCausalLM};
use wgrad_nn::KvCache;
use wgrad_nn::VarBuilder;
use wgrad_tensor::{DType, Device, Generator, Tensor, no_grad};
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

/// The decoder: a Llama with as many heads for keys and values as for queries, and tied weights.
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

/// A decoder whose cache is full but for one token.
struct Stack {
    model: LlamaForCausalLM,
    cache: KvCache,
    id: Tensor,
}

impl Stack {
    fn new(device: &Device, s: &StackArgs, dtype: DType) -> Result<Self> {
        if dtype == DType::F16 {
            ensure!(device.has_f16(), "the adapter has no shader-f16");
        }
        let (weights, cache) = numbers(s);
        // The model is made in f32 and then cast.
        let sizes = if dtype == DType::F16 { 6.0 } else { 4.0 };
        ensure_room(device, sizes * weights + dtype.size() as f64 * cache)?;
        let mut config = LlamaConfig::smollm2_135m();
        config.vocab_size = s.vocab;
        config.hidden_size = s.channels;
        config.intermediate_size = s.hidden;
        config.num_hidden_layers = s.layers;
        config.num_attention_heads = s.heads;
        config.num_key_value_heads = s.heads;
        config.head_dim = s.channels / s.heads;
        config.max_position_embeddings = s.context;
        let generator = Generator::new(device, 0)?;
        let model = LlamaForCausalLM::new(&config, &VarBuilder::fresh(device, &generator))?;
        let model = match dtype {
            DType::F16 => model.to_dtype(dtype)?,
            _ => model,
        };
        let mut cache = model.new_cache(1, s.context)?;
        cache.advance(s.context - 1)?;
        Ok(Self {
            model,
            cache,
            id: Tensor::from_slice(device, &[0u32], &[1, 1])?,
        })
    }

    /// The logits of the token at the last position of the cache.
    fn token(&mut self) -> Result<Tensor> {
        self.cache.truncate(self.cache.capacity() - 1);
        self.model.next_logits(&self.id, &mut self.cache)
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
    ensure!(
        (s.channels / s.heads).is_multiple_of(2),
        "--channels {} give --heads {} an odd number of channels each; rotary positions need pairs",
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
        let measured = Stack::new(&device, s, dtype).and_then(|mut stack| {
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
