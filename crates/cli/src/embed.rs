//! `wgrad embed`: sentence embeddings.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use wgrad_models::embed::{EmbedOptions, SentenceEmbedder};
use wgrad_runtime::DeviceOptions;

use crate::args::AdapterArg;
use crate::texts::TextArgs;

/// Turn texts into sentence embeddings
#[derive(Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct EmbedArgs {
    #[command(flatten)]
    adapter: AdapterArg,
    /// Folder of the model, as transformers or sentence-transformers saves it
    #[arg(long)]
    model_name_or_path: PathBuf,
    #[command(flatten)]
    texts: TextArgs,
    /// What each text begins with
    #[arg(long)]
    prompt: Option<String>,
    /// Name of the model's prompt that each text begins with [default: the model's own choice]
    #[arg(long, value_name = "NAME")]
    prompt_name: Option<String>,
    /// Whether vectors have length 1 [default: as the model's modules.json says; true without one]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    normalize_embeddings: Option<bool>,
    /// One JSON object a line: text, embedding
    #[arg(long)]
    json: bool,
}

pub fn run(args: EmbedArgs) -> Result<()> {
    let texts = args.texts.read()?;
    let options = EmbedOptions {
        prompt: args.prompt,
        prompt_name: args.prompt_name,
        normalize_embeddings: args.normalize_embeddings,
    };
    let device = args.adapter.open(DeviceOptions::default())?;
    let embedder = SentenceEmbedder::open(&device, &args.model_name_or_path, &options)?;
    for note in embedder.notes() {
        eprintln!("{note}");
    }
    let views: Vec<&str> = texts.iter().map(String::as_str).collect();
    let rows = embedder.embed(&views)?;
    args.adapter.keep_pipelines(&device);
    for (text, row) in texts.iter().zip(&rows) {
        if args.json {
            println!("{}", json!({"text": text, "embedding": row}));
        } else {
            let shown: Vec<String> = row.iter().take(6).map(|v| format!("{v:.4}")).collect();
            println!("[{}, … {} values]  {text}", shown.join(", "), row.len());
        }
    }
    Ok(())
}
