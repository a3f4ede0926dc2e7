//! `wgrad predict`: labels and probabilities of texts from a fine-tuned folder.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use wgrad_models::classifier::{SequenceClassifier, argmax, probabilities};
use wgrad_models::config::ProblemType;
use wgrad_models::folder::ModelFolder;
use wgrad_runtime::DeviceOptions;

use crate::args::AdapterArg;
use crate::texts::{PairArgs, TextArgs};
use wgrad_train::data::Texts;

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
    #[command(flatten)]
    pairs: PairArgs,
    /// Tokens of a text at most [default: what the model takes]
    #[arg(long)]
    max_seq_length: Option<usize>,
    /// One JSON object a line: text, text_pair, label, probabilities and logits; labels where several may hold;
    /// value instead of label and probabilities for a regression
    #[arg(long)]
    json: bool,
}

pub fn run(args: PredictArgs) -> Result<()> {
    let Texts { texts, pairs, .. } = args.texts.read_pairs(args.pairs)?;
    let folder = ModelFolder::open(&args.model_name_or_path)?;
    let tokenizer = folder.tokenizer()?;
    let length = args.max_seq_length.unwrap_or(folder.max_length()?);
    let length = length.min(folder.config.max_tokens());
    let sequences = tokenizer.encode_sequences(&texts, pairs.as_deref(), length)?;
    let device = args.adapter.open(DeviceOptions::default())?;
    let model = SequenceClassifier::load(&device, &folder)?;
    for note in model.notes() {
        eprintln!("{note}");
    }
    let rows = model.logits(&sequences)?;
    args.adapter.keep_pipelines(&device);
    for (at, (text, logits)) in texts.iter().zip(&rows).enumerate() {
        let prediction = Prediction::new(folder.config.problem_type, model.labels(), logits);
        let pair = pairs.as_ref().and_then(|pairs| pairs.get(at));
        if args.json {
            let mut line = prediction.json(model.labels(), logits);
            line["text"] = json!(text);
            if let Some(pair) = pair {
                line["text_pair"] = json!(pair);
            }
            println!("{line}");
            continue;
        }
        let pair = pair.map_or(String::new(), |pair| format!("  |  {pair}"));
        println!("{}  {text}{pair}", prediction.short());
    }
    Ok(())
}

/// The meaning of a text's logits, by the model's problem type.
enum Prediction {
    /// The label that holds, and every label's probability.
    One(String, usize, Vec<f64>),
    /// The labels that hold, the most likely label, and every label's probability.
    Several(Vec<String>, String, Vec<f64>),
    /// The value.
    Value(f32),
    /// The name and value of the largest of several values.
    Values(String, f32),
}

impl Prediction {
    fn new(problem: ProblemType, labels: &[String], logits: &[f32]) -> Self {
        let best = argmax(logits);
        let label = labels[best].clone();
        match (problem, probabilities(problem, logits)) {
            (ProblemType::MultiLabel, Some(p)) => {
                let held = labels.iter().zip(&p).filter(|(_, p)| **p > 0.5);
                let held = held.map(|(label, _)| label.clone()).collect();
                Prediction::Several(held, label, p)
            }
            (_, Some(p)) => Prediction::One(label, best, p),
            (_, None) if logits.len() == 1 => Prediction::Value(logits[0]),
            (_, None) => Prediction::Values(label, logits[best]),
        }
    }

    fn json(&self, labels: &[String], logits: &[f32]) -> Value {
        let by_label = |p: &[f64]| -> Value {
            let mut by_label = serde_json::Map::new();
            for (class, (label, p)) in labels.iter().zip(p).enumerate() {
                // Two classes may have one name.
                let key = match by_label.contains_key(label) {
                    true => format!("{label} ({class})"),
                    false => label.clone(),
                };
                by_label.insert(key, json!(p));
            }
            Value::Object(by_label)
        };
        let mut line = json!({"logits": logits});
        match self {
            Prediction::One(label, _, p) => {
                line["label"] = json!(label);
                line["probabilities"] = by_label(p);
            }
            Prediction::Several(held, label, p) => {
                line["label"] = json!(label);
                line["labels"] = json!(held);
                line["probabilities"] = by_label(p);
            }
            Prediction::Value(value) => line["value"] = json!(value),
            Prediction::Values(label, _) => line["label"] = json!(label),
        }
        line
    }

    fn short(&self) -> String {
        match self {
            Prediction::One(label, best, p) => format!("{label:<10} {:6.2} %", 100.0 * p[*best]),
            Prediction::Several(held, _, _) if held.is_empty() => format!("{:<10}", "(none)"),
            Prediction::Several(held, _, _) => format!("{:<10}", held.join(", ")),
            Prediction::Value(value) => format!("{value:8.4}"),
            Prediction::Values(label, value) => format!("{label:<10} {value:8.4}"),
        }
    }
}
