//! `results.json` and `report.html` of a fine-tuning.

use anyhow::Result;
use serde_json::{Value, json};
use wgrad_tensor::Device;
use wgrad_train::StopReason;
use wgrad_train::data::{Labels, TextDataset};
use wgrad_train::fs::write_atomic;
use wgrad_train::report::{ConfusionMatrix, Prediction, Report, TrainPoint, ValidationPoint};

use super::scores::host_losses;
use super::{FineTuned, Scores, TextClassificationArguments, shown};
use crate::classifier::{argmax, softmax};

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
    let settings = settings(arguments, done);
    let adapter = device.adapter();
    let outcome = &done.outcome;
    let reason = match outcome.reason {
        StopReason::Finished => "finished",
        StopReason::EarlyStopping => "early stopping",
        StopReason::Interrupted => "interrupted",
        StopReason::Callback => "callback",
    };
    let mut results = json!({
        "stopped_by": reason,
        "global_step": outcome.steps,
        "best_step": outcome.best_step,
        "train_loss": outcome.log.last().map(|l| l.loss),
        "metric_for_best_model": outcome.best_metric.name,
        "validation": done.validation,
        "test": done.test,
        "labels": labels,
        "trainable_parameters": done.parameters.0,
        "parameters": done.parameters.1,
        "train_seconds": outcome.seconds,
        "step_seconds": outcome.step_seconds,
        "tokens": outcome.tokens,
        "device_peak_bytes": done.peak_bytes,
        "device_allocated_bytes": device.memory().allocated,
        "adapter": adapter.name,
        "driver": adapter.driver,
        "timings": timings.iter().map(|(k, v)| (k.clone(), json!(v))).collect::<serde_json::Map<String, Value>>(),
        "settings": settings.iter().map(|(k, v)| (k.clone(), json!(v))).collect::<serde_json::Map<String, Value>>(),
    });
    let mut final_metrics = Vec::new();
    for (set, scores) in [("test", &done.test), ("validation", &done.validation)] {
        for (name, value) in scores.iter().flat_map(Scores::named) {
            results[format!("{set}_{name}")] = json!(value);
            final_metrics.push((format!("{set} {name}"), value));
        }
    }
    write_atomic(
        arguments.training.output_dir.join("results.json"),
        format!("{results:#}\n").as_bytes(),
    )?;
    let report = Report {
        title: format!("Fine-tuning {}", shown(&arguments.model_name_or_path)),
        adapter: format!("{} ({}, {})", adapter.name, adapter.backend, adapter.driver),
        final_metrics,
        train: outcome
            .log
            .iter()
            // What loss scaling skipped has no place on a curve.
            .filter(|l| l.loss.is_finite() && l.grad_norm.is_finite())
            .map(|l| TrainPoint {
                step: l.step,
                loss: l.loss,
                learning_rate: l.learning_rate,
                grad_norm: l.grad_norm,
            })
            .collect(),
        validation: outcome
            .evaluations
            .iter()
            .map(|e| ValidationPoint {
                step: e.step,
                loss: e.evaluation.loss,
                metrics: e.evaluation.metrics.clone(),
            })
            .collect(),
        best_metric: Some(outcome.best_metric.clone()),
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
        samples: Vec::new(),
        settings,
        timings,
    };
    report.write_html(&done.report)
}

/// The wrong predictions with the largest loss: those the model was surest of.
fn mistakes(set: &TextDataset, logits: &[Vec<f32>], labels: &[String]) -> Result<Vec<Prediction>> {
    let losses = host_losses(logits, &set.labels)?;
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

/// The arguments, and what followed from them.
fn settings(arguments: &TextClassificationArguments, done: &FineTuned) -> Vec<(String, String)> {
    let (trainable, all) = done.parameters;
    let mut settings = arguments.settings();
    settings.extend([
        ("trainable parameters", format!("{trainable} of {all}")),
        (
            "device memory peak",
            format!("{:.1} MiB", done.peak_bytes as f64 / f64::from(1 << 20)),
        ),
    ]);
    let owned = |(name, value): (&str, String)| (name.to_owned(), value);
    settings.into_iter().map(owned).collect()
}
