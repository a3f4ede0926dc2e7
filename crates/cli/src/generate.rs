//! `wgrad generate`: texts continued by a language model.

use std::io::{BufRead, IsTerminal, Read, stdin};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use wgrad_models::generate::{LanguageModel, Sampler, SamplingOptions};
use wgrad_runtime::{Device, DeviceOptions};

use crate::args::AdapterArg;
use crate::quiet;

/// Continue texts with a language model
#[derive(Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct GenerateArgs {
    #[command(flatten)]
    adapter: AdapterArg,
    /// GGUF file, or model folder as transformers saves it
    #[arg(short = 'm', long, alias = "model")]
    model_name_or_path: PathBuf,
    /// The text to continue; may be repeated. `-` is all of standard input. Without it every line of standard
    /// input is one
    #[arg(short = 'p', long, allow_hyphen_values = true)]
    prompt: Vec<String>,
    /// Go on with the lines of standard input after the given prompts
    #[arg(long)]
    interactive: bool,
    /// Each prompt is a question on its own, put to the model in ChatML turns
    #[arg(long)]
    chat: bool,
    /// What the model is told before each question
    #[arg(long, requires = "chat")]
    system: Option<String>,
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
    /// After each text one line with a JSON object: prompt_tokens, tokens, text, tokens_per_second,
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
    // Answers of several questions are told apart by them.
    let shown = args.chat || args.prompt.len() > 1;
    for prompt in &args.prompt {
        let all = match prompt.as_str() {
            "-" => Some(all_of_input()?),
            _ => None,
        };
        let prompt = all.as_deref().unwrap_or(prompt);
        if shown {
            println!("> {prompt}");
        }
        answer(&args, &device, &model, prompt, &mut sampler)?;
    }
    if args.interactive || (args.prompt.is_empty() && args.save.is_none()) {
        converse(&args, &device, &model, &mut sampler)?;
    }
    args.adapter.keep_pipelines(&device);
    Ok(())
}

/// What is piped in, without the line end that `echo` adds.
fn all_of_input() -> Result<String> {
    let mut text = String::new();
    stdin()
        .read_to_string(&mut text)
        .context("cannot read standard input")?;
    let cut = text.strip_suffix('\n').unwrap_or(&text);
    Ok(cut.strip_suffix('\r').unwrap_or(cut).to_owned())
}

/// Answers every line of standard input until it ends; blank lines are passed over.
fn converse(
    args: &GenerateArgs,
    device: &Device,
    model: &LanguageModel,
    sampler: &mut Sampler,
) -> Result<()> {
    let typed = stdin().is_terminal();
    let mut lines = stdin().lock().lines();
    loop {
        if typed {
            print!("> ");
            quiet::flush()?;
        }
        let Some(line) = lines.next() else {
            if typed {
                println!();
            }
            return Ok(());
        };
        let line = line.context("cannot read standard input")?;
        if line.trim().is_empty() {
            continue;
        }
        if args.chat && !typed {
            println!("> {line}");
        }
        answer(args, device, model, &line, sampler)?;
    }
}

/// Continues one text, on standard output as it comes.
fn answer(
    args: &GenerateArgs,
    device: &Device,
    model: &LanguageModel,
    prompt: &str,
    sampler: &mut Sampler,
) -> Result<()> {
    let chat = match args.chat {
        true => Some(model.chat_prompt(args.system.as_deref(), prompt)?),
        false => None,
    };
    let prompt = chat.as_deref().unwrap_or(prompt);
    // From the end of the first token on, so that the prompt and the compilation of kernels do not count.
    let mut first = None;
    let most = args.max_new_tokens;
    let generated = model.generate(prompt, most, sampler, &mut |text| {
        first.get_or_insert_with(Instant::now);
        print!("{text}");
        quiet::flush()
    })?;
    let seconds = first.map_or(0.0, |first| first.elapsed().as_secs_f64());
    println!();
    let following = generated.tokens.len().saturating_sub(1);
    let ended = generated
        .tokens
        .last()
        .is_some_and(|id| model.end().contains(id));
    if args.chat && !ended {
        println!(
            "(cut after {} tokens; -n allows more)",
            generated.tokens.len()
        );
    }
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
