//! Classification metrics from predicted and true classes, as scikit-learn defines them.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use serde::Serialize;

use super::ratio;

/// Metrics of a set of predictions. A ratio whose denominator is zero is 0 (scikit-learn's `zero_division=0`).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassificationMetrics {
    /// Share of right predictions.
    pub accuracy: f64,
    /// Per class: of those predicted as the class, the share that is of it.
    pub precision: Vec<f64>,
    /// Per class: of those of the class, the share predicted as it.
    pub recall: Vec<f64>,
    /// Per class: harmonic mean of precision and recall.
    pub f1: Vec<f64>,
    /// Mean of `f1` over the classes that occur among labels or predictions.
    pub macro_f1: f64,
    /// Matthews correlation coefficient, for more than two classes as Gorodkin (2004): 1 perfect, 0 chance.
    pub matthews_corrcoef: f64,
    /// Counts as `confusion[true][predicted]`.
    pub confusion: Vec<Vec<u64>>,
}

impl ClassificationMetrics {
    /// The metrics by name: `accuracy`, `f1_macro`, `matthews_correlation`, and with two classes `f1`, that of
    /// the second class, as `evaluate` has it.
    pub fn named(&self) -> BTreeMap<String, f64> {
        let mut named = BTreeMap::from([
            ("accuracy".to_owned(), self.accuracy),
            ("f1_macro".to_owned(), self.macro_f1),
            ("matthews_correlation".to_owned(), self.matthews_corrcoef),
        ]);
        if let [_, positive] = *self.f1.as_slice() {
            named.insert("f1".to_owned(), positive);
        }
        named
    }
}

/// Compares `predictions` with `labels`, both class indices below `num_classes` and equally many.
///
/// # Errors
/// Different counts, none at all, or a class index that is too large.
pub fn classification_metrics(
    predictions: &[u32],
    labels: &[u32],
    num_classes: usize,
) -> Result<ClassificationMetrics> {
    metrics_of_confusion(confusion_matrix(predictions, labels, num_classes)?)
}

/// Counts as `[true][predicted]`, `num_classes` × `num_classes`.
///
/// # Errors
/// Different counts of `predictions` and `labels`, or a class index that is too large.
pub fn confusion_matrix(
    predictions: &[u32],
    labels: &[u32],
    num_classes: usize,
) -> Result<Vec<Vec<u64>>> {
    ensure!(
        predictions.len() == labels.len(),
        "metrics: {} predictions for {} labels; give one each",
        predictions.len(),
        labels.len()
    );
    let mut counts = vec![vec![0; num_classes]; num_classes];
    for (at, (&prediction, &label)) in predictions.iter().zip(labels).enumerate() {
        let Some(count) = counts
            .get_mut(label as usize)
            .and_then(|row| row.get_mut(prediction as usize))
        else {
            bail!(
                "metrics: example {at} has label {label} and prediction {prediction}; with {num_classes} classes both \
                 must be below {num_classes}"
            );
        };
        *count += 1;
    }
    Ok(counts)
}

/// The metrics of counts given as `[true][predicted]`.
///
/// # Errors
/// A matrix that is not square, or holds no example.
pub fn metrics_of_confusion(confusion: Vec<Vec<u64>>) -> Result<ClassificationMetrics> {
    let classes = confusion.len();
    if let Some(row) = confusion.iter().find(|row| row.len() != classes) {
        bail!(
            "metrics: a confusion matrix must be square; {classes} rows, one of {} columns",
            row.len()
        );
    }
    let actual: Vec<f64> = confusion
        .iter()
        .map(|row| row.iter().sum::<u64>() as f64)
        .collect();
    let predicted: Vec<f64> = (0..classes)
        .map(|c| confusion.iter().map(|row| row[c]).sum::<u64>() as f64)
        .collect();
    let right: Vec<f64> = (0..classes).map(|c| confusion[c][c] as f64).collect();
    let total: f64 = actual.iter().sum();
    ensure!(
        total > 0.0,
        "metrics: no examples to compare; give at least one"
    );

    let per_class = |f: &dyn Fn(usize) -> f64| -> Vec<f64> { (0..classes).map(f).collect() };
    let f1 = per_class(&|c| ratio(2.0 * right[c], actual[c] + predicted[c]));
    let occurring: Vec<f64> = (0..classes)
        .filter(|&c| actual[c] + predicted[c] > 0.0)
        .map(|c| f1[c])
        .collect();
    Ok(ClassificationMetrics {
        accuracy: right.iter().sum::<f64>() / total,
        precision: per_class(&|c| ratio(right[c], predicted[c])),
        recall: per_class(&|c| ratio(right[c], actual[c])),
        macro_f1: occurring.iter().sum::<f64>() / occurring.len() as f64,
        matthews_corrcoef: matthews_corrcoef(&actual, &predicted, right.iter().sum(), total),
        f1,
        confusion,
    })
}

/// Gorodkin's R_K from the margins: (right·n − Σ actual·predicted) / √((n² − Σ actual²)(n² − Σ predicted²)).
fn matthews_corrcoef(actual: &[f64], predicted: &[f64], right: f64, total: f64) -> f64 {
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(x, y)| x * y).sum() };
    let spread = |a: &[f64]| total * total - dot(a, a);
    ratio(
        right * total - dot(actual, predicted),
        (spread(actual) * spread(predicted)).sqrt(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn two_classes_match_the_textbook() {
        // tp 5, fn 1, fp 2, tn 4.
        let labels = [1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0];
        let predictions = [1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0];
        let m = classification_metrics(&predictions, &labels, 2).unwrap();
        assert_eq!(m.confusion, [[4, 2], [1, 5]]);
        close(m.accuracy, 9.0 / 12.0);
        close(m.precision[1], 5.0 / 7.0);
        close(m.recall[1], 5.0 / 6.0);
        close(m.f1[1], 10.0 / 13.0);
        close(m.macro_f1, (8.0 / 11.0 + 10.0 / 13.0) / 2.0);
        // (tp·tn − fp·fn) / √((tp+fp)(tp+fn)(tn+fp)(tn+fn))
        close(
            m.matthews_corrcoef,
            18.0 / (7.0f64 * 6.0 * 6.0 * 5.0).sqrt(),
        );
    }

    #[test]
    fn three_classes_match_scikit_learn() {
        let labels = [0, 0, 0, 1, 1, 1, 1, 2, 2, 2];
        let predictions = [0, 0, 1, 1, 1, 0, 2, 2, 2, 0];
        let m = classification_metrics(&predictions, &labels, 4).unwrap();
        close(m.accuracy, 0.6);
        // Class 3 occurs nowhere: it has scores of 0 and no part in the mean.
        assert_eq!([m.precision[3], m.recall[3], m.f1[3]], [0.0; 3]);
        close(m.macro_f1, (4.0 / 7.0 + 4.0 / 7.0 + 2.0 / 3.0) / 3.0);
        close(m.matthews_corrcoef, 27.0 / 66.0);
    }

    #[test]
    fn perfect_constant_and_inverted_predictions() {
        let mcc = |p: &[u32], l: &[u32]| classification_metrics(p, l, 2).unwrap().matthews_corrcoef;
        close(mcc(&[0, 1, 1], &[0, 1, 1]), 1.0);
        close(mcc(&[1, 1, 1], &[0, 1, 1]), 0.0);
        close(mcc(&[1, 0, 0], &[0, 1, 1]), -1.0);
    }

    #[test]
    fn bad_input_is_named() {
        let text = |p: &[u32], l: &[u32]| classification_metrics(p, l, 2).unwrap_err().to_string();
        assert!(text(&[0], &[0, 1]).contains("1 predictions for 2 labels"));
        assert!(text(&[0, 5], &[0, 1]).contains("example 1"));
        assert!(text(&[], &[]).contains("no examples"));
        assert!(metrics_of_confusion(vec![vec![1, 2]]).is_err());
    }
}
