//! `results.json` and `report.html` of a fine-tuning.

use anyhow::Result;
use serde_json::{Value, json};
use wgrad_tensor::Device;
use wgrad_train::data::TextDataset;
use wgrad_train::fs::write_atomic;
use wgrad_train::metrics::ClassificationMetrics;
use wgrad_train::report::{ConfusionMatrix, Prediction, Report, TrainPoint, ValidationPoint};
use wgrad_train::trainer::StopReason;

use super::{FineTuneArguments, FineTuned, shown};
use crate::classifier::{argmax, softmax};

/// Mistakes shown in the report.
const MISTAKES: usize = 12;

/// Writes both files to the output folder.
pub fn write(
    device: &Device,
    arguments: &FineTuneArguments,
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
    };
    let metrics = |m: &ClassificationMetrics| serde_json::to_value(m);
    let results = json!({
        "stopped_by": reason,
        "global_step": outcome.steps,
        "best_step": outcome.best_step,
        "train_loss": outcome.log.last().map(|l| l.loss),
        "validation": done.validation.as_ref().map(metrics).transpose()?,
        "test": done.test.as_ref().map(metrics).transpose()?,
        "test_accuracy": done.test.as_ref().map(|m| m.accuracy),
        "validation_accuracy": done.validation.as_ref().map(|m| m.accuracy),
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
    write_atomic(
        arguments.training.output_dir.join("results.json"),
        format!("{results:#}\n").as_bytes(),
    )?;
    let mut final_metrics = Vec::new();
    for (name, found) in [("test", &done.test), ("validation", &done.validation)] {
        if let Some(m) = found {
            final_metrics.push((format!("{name} accuracy"), m.accuracy));
            final_metrics.push((format!("{name} macro F1"), m.macro_f1));
        }
    }
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
                accuracy: e.evaluation.accuracy,
            })
            .collect(),
        confusion: done.test.as_ref().map(|m| ConfusionMatrix {
            label_names: labels.to_vec(),
            counts: m.confusion.clone(),
        }),
        worst_mistakes: scored
            .map(|(set, logits)| mistakes(set, logits, labels))
            .unwrap_or_default(),
        samples: Vec::new(),
        settings,
        timings,
    };
    report.write_html(&done.report)
}

/// The wrong predictions the model was surest of.
fn mistakes(set: &TextDataset, logits: &[Vec<f32>], labels: &[String]) -> Vec<Prediction> {
    let name = |class: usize| labels.get(class).cloned().unwrap_or_default();
    let mut wrong: Vec<Prediction> = set
        .texts
        .iter()
        .zip(&set.labels)
        .zip(logits)
        .filter(|((_, label), row)| argmax(row) != **label as usize)
        .map(|((text, label), row)| Prediction {
            text: text.clone(),
            label: Some(name(*label as usize)),
            predicted: name(argmax(row)),
            probability: softmax(row)[argmax(row)],
        })
        .collect();
    wrong.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    wrong.truncate(MISTAKES);
    wrong
}

fn settings(arguments: &FineTuneArguments, done: &FineTuned) -> Vec<(String, String)> {
    let training = &arguments.training;
    let optional = |value: Option<String>| value.unwrap_or_else(|| "none".into());
    let frozen = match (arguments.freeze_encoder, arguments.freeze_layers) {
        (true, _) => "the encoder".to_owned(),
        (false, 0) => "nothing".to_owned(),
        (false, n) => format!("embeddings and the lowest {n} layers"),
    };
    [
        ("model_name_or_path", shown(&arguments.model_name_or_path)),
        ("train_file", shown(&arguments.train_file)),
        (
            "max_train_samples",
            optional(arguments.max_train_samples.map(|n| n.to_string())),
        ),
        ("max_seq_length", arguments.max_seq_length.to_string()),
        ("frozen", frozen),
        (
            "trainable parameters",
            format!("{} of {}", done.parameters.0, done.parameters.1),
        ),
        ("optim", arguments.optim.clone()),
        ("learning_rate", arguments.learning_rate.to_string()),
        ("lr_scheduler_type", arguments.lr_scheduler_type.clone()),
        ("warmup_ratio", arguments.warmup_ratio.to_string()),
        ("weight_decay", arguments.weight_decay.to_string()),
        (
            "dropout",
            arguments
                .dropout
                .map_or("the model's own".into(), |p| p.to_string()),
        ),
        ("num_train_epochs", training.num_train_epochs.to_string()),
        (
            "max_steps",
            optional(training.max_steps.map(|n| n.to_string())),
        ),
        (
            "per_device_train_batch_size",
            training.per_device_train_batch_size.to_string(),
        ),
        (
            "gradient_accumulation_steps",
            training.gradient_accumulation_steps.to_string(),
        ),
        (
            "max_grad_norm",
            optional(training.max_grad_norm.map(|n| n.to_string())),
        ),
        ("seed", training.seed.to_string()),
        (
            "device memory peak",
            format!("{:.1} MiB", done.peak_bytes as f64 / f64::from(1 << 20)),
        ),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
