//! Loss and metrics of logits against labels, for each type of problem.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use wgrad_tensor::ops::cross_entropy::{CrossEntropy, Reduction};
use wgrad_tensor::{Device, Tensor};
use wgrad_train::data::{Labels, ProblemType};
use wgrad_train::metrics::{
    ClassificationMetrics, MultiLabelMetrics, RegressionMetrics, classification_metrics,
    multi_label_metrics, regression_metrics,
};

use crate::classifier::{argmax, softmax};

/// The metrics of a set of predictions.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Scores {
    /// One class each.
    Classes(ClassificationMetrics),
    /// Any number of classes each.
    Sets(MultiLabelMetrics),
    /// A number each.
    Values(RegressionMetrics),
}

impl Scores {
    /// Compares logits, one row an example, with labels. In a set is what has a positive logit.
    ///
    /// # Errors
    /// Other numbers of logits than of labels.
    pub fn new(logits: &[Vec<f32>], labels: &Labels) -> Result<Self> {
        let classes = logits.first().map_or(0, Vec::len);
        Ok(match labels {
            Labels::Classes(labels) => {
                let predictions: Vec<u32> = logits.iter().map(|row| argmax(row) as u32).collect();
                Scores::Classes(classification_metrics(&predictions, labels, classes)?)
            }
            Labels::Sets(labels) => {
                let predictions: Vec<bool> =
                    logits.iter().flatten().map(|logit| *logit > 0.0).collect();
                let truth: Vec<bool> = (labels.iter())
                    .flat_map(|set| (0..classes as u32).map(|class| set.contains(&class)))
                    .collect();
                Scores::Sets(multi_label_metrics(&predictions, &truth, classes)?)
            }
            Labels::Values(targets) => {
                let predictions: Vec<f64> =
                    logits.iter().flatten().map(|v| f64::from(*v)).collect();
                Scores::Values(regression_metrics(&predictions, targets)?)
            }
        })
    }

    /// The metrics by name, as the log has them.
    pub fn named(&self) -> BTreeMap<String, f64> {
        match self {
            Scores::Classes(metrics) => metrics.named(),
            Scores::Sets(metrics) => metrics.named(),
            Scores::Values(metrics) => metrics.named(),
        }
    }
}

/// The metric that decides what is best, unless another is asked for: as `transformers`' `run_classification`
/// has it for several labels and for numbers, and accuracy for single ones.
pub fn default_metric(problem: ProblemType) -> &'static str {
    match problem {
        ProblemType::SingleLabel => "accuracy",
        ProblemType::MultiLabel => "f1",
        ProblemType::Regression => "loss",
    }
}

/// Refuses a metric that an evaluation will not give, before anything is trained.
pub fn check_metric(name: &str, problem: ProblemType, classes: usize) -> Result<()> {
    let mut known = vec!["loss"];
    known.extend(match problem {
        ProblemType::SingleLabel => &["accuracy", "f1_macro", "matthews_correlation"][..],
        ProblemType::MultiLabel => &["accuracy", "precision", "recall", "f1", "f1_macro"],
        ProblemType::Regression => &["mse", "mae", "pearson", "spearmanr"],
    });
    if (problem, classes) == (ProblemType::SingleLabel, 2) {
        known.push("f1");
    }
    ensure!(
        known.contains(&name.strip_prefix("eval_").unwrap_or(name)),
        "metric_for_best_model is `{name}`; for {problem} with {classes} labels there are {}",
        known.join(", ")
    );
    Ok(())
}

/// The mean loss of logits (B, labels) on the device: cross-entropy, with the part `smoothing` of each label spread over
/// all classes, binary cross-entropy or squared error.
pub fn loss(device: &Device, logits: &Tensor, labels: &Labels, smoothing: f64) -> Result<Tensor> {
    Ok(match labels {
        Labels::Classes(labels) => {
            let targets = Tensor::from_slice(device, labels, &[labels.len()])?;
            let options = CrossEntropy {
                label_smoothing: smoothing as f32,
                ..CrossEntropy::default()
            };
            logits.cross_entropy(&targets, &options)?
        }
        Labels::Sets(labels) => {
            let classes = logits.shape()[1];
            let mut targets = vec![0f32; labels.len() * classes];
            for (row, set) in targets.chunks_mut(classes).zip(labels) {
                for class in set {
                    row[*class as usize] = 1.0;
                }
            }
            let targets = Tensor::from_slice(device, &targets, &[labels.len(), classes])?;
            logits.bce_with_logits(&targets, None, Reduction::Mean)?
        }
        Labels::Values(values) => {
            let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
            let targets = Tensor::from_slice(device, &values, &[values.len(), 1])?;
            logits.mse_loss(&targets, Reduction::Mean)?
        }
    })
}

/// The same loss of logits on the host, one value an example.
pub fn host_losses(logits: &[Vec<f32>], labels: &Labels, smoothing: f64) -> Result<Vec<f64>> {
    let rows = logits.iter();
    match labels {
        Labels::Classes(labels) => rows
            .zip(labels)
            .map(|(row, label)| {
                // The bound keeps a probability of 0 finite; NaN passes.
                let loss = |p: &f64| -p.clamp(f64::MIN_POSITIVE, 1.0).ln();
                let probabilities = softmax(row);
                let of_label = probabilities
                    .get(*label as usize)
                    .map(loss)
                    .context("a label without a logit")?;
                if smoothing == 0.0 {
                    return Ok(of_label);
                }
                let sum: f64 = probabilities.iter().map(loss).sum();
                let of_all = sum / probabilities.len() as f64;
                Ok((1.0 - smoothing) * of_label + smoothing * of_all)
            })
            .collect(),
        Labels::Sets(labels) => Ok(rows
            .zip(labels)
            .map(|(row, set)| {
                let of_class = |(class, logit): (usize, &f32)| {
                    let x = f64::from(*logit);
                    let softplus = x.max(0.0) + (-x.abs()).exp().ln_1p();
                    softplus - x * f64::from(u8::from(set.contains(&(class as u32))))
                };
                row.iter().enumerate().map(of_class).sum::<f64>() / row.len() as f64
            })
            .collect()),
        Labels::Values(values) => Ok(rows
            .zip(values)
            .map(|(row, value)| {
                (f64::from(row.first().copied().unwrap_or(f32::NAN)) - value).powi(2)
            })
            .collect()),
    }
}
