//! `results.json` and `report.html` of a fine-tuning.

use anyhow::Result;
use serde_json::json;
use wgrad_tensor::Device;
use wgrad_train::data::{Labels, TextDataset};
use wgrad_train::report::{ConfusionMatrix, Prediction, Report};

use super::scores::host_losses;
use super::{FineTuned, Scores, TextClassificationArguments};
use crate::classifier::{argmax, softmax};
use crate::tasks::fit::{self, all_settings};

/// Mistakes shown in the report.
const MISTAKES: usize = 12;

/// Writes both files to the output folder.
pub fn write(
    device: &Device,
    arguments: &TextClassificationArguments,
    done: &FineTuned,
    labels: &[String],
    scored: Option<(&TextDataset, &[Vec<f32>])>,
    timings: Vec<(String, f64)>,
) -> Result<()> {
    let settings = all_settings(arguments.settings(), done.parameters, done.peak_bytes);
    let outcome = &done.outcome;
    let counts = (done.parameters, done.peak_bytes);
    let mut results = fit::results(device, outcome, counts, &settings, &timings);
    results["validation"] = json!(done.validation);
    results["test"] = json!(done.test);
    results["labels"] = json!(labels);
    let mut final_metrics = Vec::new();
    for (set, scores) in [("test", &done.test), ("validation", &done.validation)] {
        for (name, value) in scores.iter().flat_map(Scores::named) {
            results[format!("{set}_{name}")] = json!(value);
            final_metrics.push((format!("{set} {name}"), value));
        }
    }
    if !fit::write_results(&arguments.training.output_dir, outcome, &results)? {
        return Ok(());
    }
    let model = &arguments.model_name_or_path;
    let report = Report {
        final_metrics,
        confusion: match &done.test {
            Some(Scores::Classes(m)) => Some(ConfusionMatrix {
                label_names: labels.to_vec(),
                counts: m.confusion.clone(),
            }),
            _ => None,
        },
        worst_mistakes: match scored {
            Some((set, logits)) => mistakes(set, logits, labels)?,
            None => Vec::new(),
        },
        ..fit::report(device, outcome, model, settings, timings)
    };
    report.write_html(&done.report)
}

/// The wrong predictions with the largest loss: those the model was surest of.
fn mistakes(set: &TextDataset, logits: &[Vec<f32>], labels: &[String]) -> Result<Vec<Prediction>> {
    let losses = host_losses(logits, &set.labels, 0.0)?;
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| losses[*b].total_cmp(&losses[*a]));
    let name = |class: usize| labels.get(class).cloned().unwrap_or_default();
    let names = |classes: &[usize]| {
        let names: Vec<String> = classes.iter().map(|class| name(*class)).collect();
        names.join(", ")
    };
    let mut wrong = Vec::new();
    for row in order {
        let logits = &logits[row];
        let (label, predicted, probability) = match &set.labels {
            Labels::Classes(all) => {
                let best = argmax(logits);
                let probability = softmax(logits)[best];
                (name(all[row] as usize), name(best), Some(probability))
            }
            Labels::Sets(all) => {
                let truth: Vec<usize> = all[row].iter().map(|class| *class as usize).collect();
                let held = (0..logits.len()).filter(|class| logits[*class] > 0.0);
                (names(&truth), names(&held.collect::<Vec<_>>()), None)
            }
            Labels::Values(all) => (all[row].to_string(), format!("{:.4}", logits[0]), None),
        };
        if label == predicted {
            continue;
        }
        let pair = set.pairs.as_ref().map(|pairs| pairs[row].as_str());
        wrong.push(Prediction {
            text: match pair {
                Some(pair) => format!("{}\n{pair}", set.texts[row]),
                None => set.texts[row].clone(),
            },
            label: Some(label),
            predicted,
            probability,
        });
        if wrong.len() == MISTAKES {
            break;
        }
    }
    Ok(wrong)
}
