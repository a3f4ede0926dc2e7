//! Metrics of predictions, under the names and with the definitions of `transformers`' `evaluate` and scikit-learn.

mod classification;
mod multi_label;
mod regression;

pub use classification::{
    ClassificationMetrics, classification_metrics, confusion_matrix, metrics_of_confusion,
};
pub use multi_label::{MultiLabelMetrics, multi_label_metrics};
pub use regression::{RegressionMetrics, regression_metrics};

/// Names, or last parts of names, of metrics that are better when they are smaller.
const SMALLER_IS_BETTER: [&str; 10] = [
    "loss",
    "error",
    "mse",
    "rmse",
    "mae",
    "mape",
    "perplexity",
    "ppl",
    "wer",
    "cer",
];

/// Whether more of this metric is better, judged by its name: not for a loss, an error or a perplexity, in
/// whatever way the name begins (`eval_loss`, `test_mae`); for all others yes.
pub fn greater_is_better(name: &str) -> bool {
    let last = name.rsplit('_').next().unwrap_or(name).to_lowercase();
    !SMALLER_IS_BETTER.contains(&last.as_str())
}

/// Whether this metric is a share of a whole, which charts show in percent.
pub fn is_share(name: &str) -> bool {
    ["accuracy", "precision", "recall", "f1"]
        .iter()
        .any(|share| name == *share || name.starts_with(&format!("{share}_")))
}

/// `numerator / denominator`, or 0 where the denominator is 0.
fn ratio(numerator: f64, denominator: f64) -> f64 {
    if denominator == 0.0 {
        0.0
    } else {
        numerator / denominator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_direction() {
        for name in [
            "loss",
            "eval_loss",
            "mae",
            "test_rmse",
            "perplexity",
            "hinge_loss",
            "max_error",
            "wer",
        ] {
            assert!(!greater_is_better(name), "{name}");
        }
        for name in [
            "accuracy", "eval_f1", "pearson", "glossary", "f1_macro", "bleu",
        ] {
            assert!(greater_is_better(name), "{name}");
        }
        assert!(is_share("f1_macro") && is_share("accuracy") && !is_share("pearson"));
    }
}
