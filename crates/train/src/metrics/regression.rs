//! Metrics of predicted numbers.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::ratio;

/// How far predicted numbers lie from the true ones, and how well they go together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RegressionMetrics {
    /// Mean squared error.
    pub mse: f64,
    /// Mean absolute error.
    pub mae: f64,
    /// Pearson's correlation coefficient, -1 to 1; 0 where either side is constant.
    pub pearson: f64,
    /// Spearman's rank correlation: Pearson's of the ranks, equal values sharing their mean rank.
    pub spearmanr: f64,
}

impl RegressionMetrics {
    /// The metrics by name.
    pub fn named(&self) -> BTreeMap<String, f64> {
        let all = [
            ("mse", self.mse),
            ("mae", self.mae),
            ("pearson", self.pearson),
            ("spearmanr", self.spearmanr),
        ];
        all.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

/// Compares `predictions` with `targets`.
///
/// # Errors
/// Different counts, or none at all.
pub fn regression_metrics(predictions: &[f64], targets: &[f64]) -> Result<RegressionMetrics> {
    ensure!(
        predictions.len() == targets.len(),
        "metrics: {} predictions for {} targets; give one each",
        predictions.len(),
        targets.len()
    );
    ensure!(
        !targets.is_empty(),
        "metrics: no examples to compare; give at least one"
    );
    let mean = |f: &dyn Fn(f64) -> f64| {
        let errors = predictions.iter().zip(targets).map(|(p, t)| f(p - t));
        errors.sum::<f64>() / targets.len() as f64
    };
    Ok(RegressionMetrics {
        mse: mean(&|e| e * e),
        mae: mean(&f64::abs),
        pearson: pearson(predictions, targets),
        spearmanr: pearson(&ranks(predictions), &ranks(targets)),
    })
}

fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut both, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - mean_a, y - mean_b);
        both += x * y;
        of_a += x * x;
        of_b += y * y;
    }
    ratio(both, (of_a * of_b).sqrt())
}

/// Ranks from 1; equal values get the mean of their ranks.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let value = values[order[start]];
        let equal = order[start..]
            .iter()
            .take_while(|i| values[**i].total_cmp(&value).is_eq())
            .count();
        for at in &order[start..start + equal] {
            ranks[*at] = start as f64 + (equal as f64 + 1.0) / 2.0;
        }
        start += equal;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }

    #[test]
    fn as_numpy() {
        // From numpy: corrcoef of the values and of their ranks.
        let targets = [1.0, 2.5, 2.5, 4.0, 0.5];
        let predictions = [1.5, 2.0, 3.0, 3.5, 1.5];
        let m = regression_metrics(&predictions, &targets).unwrap();
        close(m.mse, (4.0 * 0.25 + 1.0) / 5.0);
        close(m.mae, (4.0 * 0.5 + 1.0) / 5.0);
        close(m.pearson, 0.9125475409868772);
        close(m.spearmanr, 0.9473684210526317);
        assert_eq!(ranks(&targets), [2.0, 3.5, 3.5, 5.0, 1.0]);
    }

    #[test]
    fn a_constant_correlates_with_nothing() {
        let m = regression_metrics(&[2.0, 2.0], &[1.0, 3.0]).unwrap();
        assert_eq!((m.pearson, m.spearmanr, m.mse), (0.0, 0.0, 1.0));
        assert!(regression_metrics(&[], &[]).is_err());
        assert!(regression_metrics(&[1.0], &[1.0, 2.0]).is_err());
    }
}
