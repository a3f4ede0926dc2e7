//! `wgrad tokenize`: texts as the ids of a model's tokenizer.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use wgrad_models::tokenizer::TextTokenizer;

use crate::texts::TextArgs;

/// Turn texts into token ids
#[derive(Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct TokenizeArgs {
    /// GGUF file, or model folder as transformers saves it
    #[arg(short = 'm', long, alias = "model")]
    model_name_or_path: PathBuf,
    #[command(flatten)]
    texts: TextArgs,
    /// One JSON object a line: ids
    #[arg(long)]
    json: bool,
}

/// Runs `wgrad tokenize`.
pub fn run(args: TokenizeArgs) -> Result<()> {
    let tokenizer = TextTokenizer::open(&args.model_name_or_path)?;
    for text in args.texts.read()? {
        let ids = tokenizer.encode(&text)?;
        if args.json {
            println!("{}", json!({"ids": ids}));
            continue;
        }
        for id in ids {
            println!("{id}\t{:?}", tokenizer.decode(&[id], false)?);
        }
    }
    Ok(())
}
