//! `wgrad generate`: a text continued by a language model.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use wgrad_models::generate::{LanguageModel, Sampler, SamplingOptions};
use wgrad_runtime::DeviceOptions;

use crate::args::AdapterArg;

/// Continue a text with a language model
#[derive(Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct GenerateArgs {
    #[command(flatten)]
    adapter: AdapterArg,
    /// GGUF file, or model folder as transformers saves it
    #[arg(short = 'm', long, alias = "model")]
    model_name_or_path: PathBuf,
    /// The text to continue
    #[arg(short = 'p', long)]
    prompt: String,
    /// The most tokens to write
    #[arg(short = 'n', long, default_value_t = 128)]
    max_new_tokens: usize,
    /// Logits are divided by this before a token is drawn; 0 takes the most likely token always
    #[arg(long, alias = "temp", default_value_t = 0.8)]
    temperature: f64,
    /// Draw from this many of the most likely tokens; 0 means all
    #[arg(long, default_value_t = 40)]
    top_k: usize,
    /// Draw from the most likely tokens whose probabilities sum up to this
    #[arg(long, default_value_t = 0.95)]
    top_p: f64,
    #[arg(short = 's', long, default_value_t = 0)]
    seed: u64,
    /// Save the model to this folder as transformers does, weights in f32
    #[arg(long)]
    save: Option<PathBuf>,
    /// At the end one line with a JSON object: prompt_tokens, tokens, text, tokens_per_second,
    /// peak_device_bytes
    #[arg(long)]
    json: bool,
}

/// Runs `wgrad generate`.
pub fn run(args: GenerateArgs) -> Result<()> {
    let mut sampler = Sampler::new(SamplingOptions {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        seed: args.seed,
    })?;
    let device = args.adapter.open(DeviceOptions::default())?;
    let model = LanguageModel::load(&device, &args.model_name_or_path)?;
    if let Some(dir) = &args.save {
        model.save(dir)?;
    }
    let start = Instant::now();
    // From the end of the first token on, so that the prompt and the compilation of kernels do not count.
    let mut first = None;
    let generated = model.generate(
        &args.prompt,
        args.max_new_tokens,
        &mut sampler,
        &mut |text| {
            first.get_or_insert_with(Instant::now);
            let mut out = stdout().lock();
            out.write_all(text.as_bytes())?;
            Ok(out.flush()?)
        },
    )?;
    println!();
    let following = generated.tokens.len().saturating_sub(1);
    let seconds = first.unwrap_or(start).elapsed().as_secs_f64();
    args.adapter.keep_pipelines(&device);
    if args.json {
        let line = json!({
            "prompt_tokens": generated.prompt.len(),
            "tokens": generated.tokens,
            "text": generated.text,
            "tokens_per_second": following as f64 / seconds.max(1e-9),
            "peak_device_bytes": device.memory().peak,
        });
        println!("{line}");
    }
    Ok(())
}
