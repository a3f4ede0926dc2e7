//! `wgrad predict`: labels and probabilities of texts from a fine-tuned folder.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use wgrad_models::classifier::{SequenceClassifier, argmax, probabilities};
use wgrad_models::folder::ModelFolder;
use wgrad_runtime::DeviceOptions;

use crate::args::AdapterArg;
use crate::texts::TextArgs;

/// Classify texts with a fine-tuned model
#[derive(Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct PredictArgs {
    #[command(flatten)]
    adapter: AdapterArg,
    /// Folder of the fine-tuned model
    #[arg(long)]
    model_name_or_path: PathBuf,
    #[command(flatten)]
    texts: TextArgs,
    /// Tokens of a text at most [default: what the model takes]
    #[arg(long)]
    max_seq_length: Option<usize>,
    /// One JSON object a line: text, label, probabilities (a regression has none), logits
    #[arg(long)]
    json: bool,
}

pub fn run(args: PredictArgs) -> Result<()> {
    let texts = args.texts.read()?;
    let folder = ModelFolder::open(&args.model_name_or_path)?;
    let tokenizer = folder.tokenizer()?;
    let length = args.max_seq_length.unwrap_or(folder.max_length()?);
    let views: Vec<&str> = texts.iter().map(String::as_str).collect();
    let ids = tokenizer.encode_batch(&views, length.min(folder.config.max_tokens()))?;
    let device = args.adapter.open(DeviceOptions::default())?;
    let model = SequenceClassifier::load(&device, &folder)?;
    let rows = model.logits(&ids)?;
    args.adapter.keep_pipelines(&device);
    let labels = model.labels();
    for (text, logits) in texts.iter().zip(&rows) {
        let probabilities = probabilities(folder.config.problem_type, logits);
        let best = argmax(logits);
        let label = &labels[best];
        if args.json {
            let mut line = json!({"text": text, "label": label, "logits": logits});
            if let Some(probabilities) = probabilities {
                let by_label: serde_json::Map<String, serde_json::Value> = labels
                    .iter()
                    .zip(probabilities)
                    .map(|(label, p)| (label.clone(), json!(p)))
                    .collect();
                line["probabilities"] = by_label.into();
            }
            println!("{line}");
            continue;
        }
        match probabilities {
            Some(p) => println!("{label:<10} {:6.2} %  {text}", 100.0 * p[best]),
            None => println!("{label:<10} {:8.4}  {text}", logits[best]),
        }
    }
    Ok(())
}
