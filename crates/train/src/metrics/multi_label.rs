//! Metrics of predictions in which any number of labels holds.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::ratio;

/// Metrics of predictions in which each label holds or not. A ratio whose denominator is zero is 0.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MultiLabelMetrics {
    /// Share of examples of which every label is right.
    pub accuracy: f64,
    /// Of all labels predicted, the share that holds (micro average).
    pub precision: f64,
    /// Of all labels that hold, the share predicted (micro average).
    pub recall: f64,
    /// Harmonic mean of precision and recall over all labels (micro average), as `run_classification` has it.
    pub f1: f64,
    /// Mean of the labels' own F1.
    pub f1_macro: f64,
    /// Per label: F1.
    pub f1_by_label: Vec<f64>,
}

impl MultiLabelMetrics {
    /// The metrics by name.
    pub fn named(&self) -> BTreeMap<String, f64> {
        let all = [
            ("accuracy", self.accuracy),
            ("precision", self.precision),
            ("recall", self.recall),
            ("f1", self.f1),
            ("f1_macro", self.f1_macro),
        ];
        all.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

/// Compares, for every example and label, whether the label is predicted and whether it holds. Both have a row
/// of `num_labels` values for each example.
///
/// # Errors
/// Different counts, none at all, or counts that `num_labels` does not divide.
pub fn multi_label_metrics(
    predictions: &[bool],
    labels: &[bool],
    num_labels: usize,
) -> Result<MultiLabelMetrics> {
    ensure!(
        predictions.len() == labels.len(),
        "metrics: {} predictions for {} labels; give one each",
        predictions.len(),
        labels.len()
    );
    ensure!(
        !labels.is_empty() && num_labels > 0 && labels.len().is_multiple_of(num_labels),
        "metrics: {} values do not make rows of {num_labels} labels",
        labels.len()
    );
    // Per label: right, predicted, true.
    let mut counts = vec![[0.0f64; 3]; num_labels];
    let mut all_right = 0.0;
    for (predicted, truth) in predictions
        .chunks(num_labels)
        .zip(labels.chunks(num_labels))
    {
        all_right += f64::from(u8::from(predicted == truth));
        for (count, (p, t)) in counts.iter_mut().zip(predicted.iter().zip(truth)) {
            for (count, holds) in count.iter_mut().zip([*p && *t, *p, *t]) {
                *count += f64::from(u8::from(holds));
            }
        }
    }
    let f1 = |[right, predicted, actual]: [f64; 3]| ratio(2.0 * right, predicted + actual);
    let mut sums = [0.0; 3];
    for count in &counts {
        for (sum, value) in sums.iter_mut().zip(count) {
            *sum += value;
        }
    }
    let f1_by_label: Vec<f64> = counts.iter().map(|count| f1(*count)).collect();
    Ok(MultiLabelMetrics {
        accuracy: all_right / (labels.len() / num_labels) as f64,
        precision: ratio(sums[0], sums[1]),
        recall: ratio(sums[0], sums[2]),
        f1: f1(sums),
        f1_macro: f1_by_label.iter().sum::<f64>() / num_labels as f64,
        f1_by_label,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_scikit_learn() {
        let bits = |rows: [[u8; 3]; 4]| rows.as_flattened().iter().map(|b| *b == 1).collect();
        let truth: Vec<bool> = bits([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 0]]);
        let predicted: Vec<bool> = bits([[1, 0, 1], [0, 1, 1], [1, 0, 0], [0, 0, 0]]);
        let m = multi_label_metrics(&predicted, &truth, 3).unwrap();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} is not {b}");
        close(m.accuracy, 0.5);
        close(m.precision, 0.8);
        close(m.recall, 0.8);
        close(m.f1, 0.8);
        close(m.f1_macro, (1.0 + 2.0 / 3.0 + 2.0 / 3.0) / 3.0);
        assert!(multi_label_metrics(&predicted, &truth, 5).is_err());
        assert!(multi_label_metrics(&[], &[], 3).is_err());
    }
}
