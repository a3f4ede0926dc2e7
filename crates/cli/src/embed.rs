//! `wgrad embed`: sentence embeddings.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use wgrad_models::embed::SentenceEmbedder;
use wgrad_models::folder::ModelFolder;
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
    /// One JSON object a line: text, embedding
    #[arg(long)]
    json: bool,
}

pub fn run(args: EmbedArgs) -> Result<()> {
    let texts = args.texts.read()?;
    let folder = ModelFolder::open(&args.model_name_or_path)?;
    let device = args.adapter.open(DeviceOptions::default())?;
    let embedder = SentenceEmbedder::load(&device, &folder)?;
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
