//! Stopping when a metric no longer improves, and which metric that is.

use serde::{Deserialize, Serialize};

use crate::arguments::TrainingArguments;
use crate::metrics::greater_is_better;
use crate::task::Task;

/// The metric that the best checkpoint and early stopping go by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BestMetric {
    /// As in the log, without `eval_`.
    pub name: String,
    /// Whether more of it is better.
    pub greater_is_better: bool,
}

impl BestMetric {
    /// The metric of the arguments, else the task's; a direction that is not given follows from the name.
    pub fn new(arguments: &TrainingArguments, task: &dyn Task) -> Self {
        let named = arguments.metric_for_best_model.as_deref();
        let name = named.unwrap_or(task.metric_for_best_model());
        let name = name.strip_prefix("eval_").unwrap_or(name);
        Self {
            greater_is_better: arguments
                .greater_is_better
                .unwrap_or(greater_is_better(name)),
            name: name.to_owned(),
        }
    }
}

/// Watches one metric over evaluations. Its state is serialisable, so a resumed run goes on counting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EarlyStopping {
    /// Evaluations in a row without improvement after which training stops; 0 counts as 1.
    pub patience: usize,
    /// An evaluation improves on the best only by more than this.
    pub min_delta: f64,
    /// True for an accuracy, false for a loss.
    pub greater_is_better: bool,
    /// Best value so far, `None` before the first finite one.
    pub best: Option<f64>,
    /// Evaluations in a row without improvement.
    pub waiting: usize,
}

/// What an evaluation means for training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// A new best value: the moment to save the model.
    Improved,
    /// Not improved, for this many evaluations in a row; go on.
    Waiting(usize),
    /// Not improved for `patience` evaluations in a row.
    Stop,
}

impl EarlyStopping {
    /// A watch that has seen nothing yet.
    pub fn new(patience: usize, min_delta: f64, greater_is_better: bool) -> EarlyStopping {
        EarlyStopping {
            patience,
            min_delta,
            greater_is_better,
            best: None,
            waiting: 0,
        }
    }

    /// Whether it has said [`Decision::Stop`] last.
    pub fn is_over(&self) -> bool {
        self.waiting > 0 && self.waiting >= self.patience
    }

    /// Takes the metric's value at one evaluation. The first finite value is an improvement; NaN and infinities
    /// never are.
    pub fn update(&mut self, value: f64) -> Decision {
        let gain = match self.best {
            None => f64::INFINITY,
            Some(best) if self.greater_is_better => value - best,
            Some(best) => best - value,
        };
        if value.is_finite() && gain > self.min_delta {
            self.best = Some(value);
            self.waiting = 0;
            return Decision::Improved;
        }
        self.waiting = self.waiting.saturating_add(1);
        if self.is_over() {
            Decision::Stop
        } else {
            Decision::Waiting(self.waiting)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Decision::{Improved, Stop, Waiting};
    use super::*;

    fn run(mut watch: EarlyStopping, values: &[f64]) -> Vec<Decision> {
        values.iter().map(|&v| watch.update(v)).collect()
    }

    #[test]
    fn patience_counts_evaluations_without_improvement() {
        let watch = EarlyStopping::new(2, 0.0, true);
        let values = [0.5, 0.4, 0.6, 0.6, 0.55];
        assert_eq!(
            run(watch, &values),
            [Improved, Waiting(1), Improved, Waiting(1), Stop]
        );
    }

    #[test]
    fn a_loss_improves_downwards_and_by_more_than_min_delta() {
        let watch = EarlyStopping::new(3, 0.125, false);
        let values = [1.0, 0.875, 0.75, 0.5];
        assert_eq!(
            run(watch, &values),
            [Improved, Waiting(1), Improved, Improved]
        );
    }

    #[test]
    fn nan_and_infinities_never_improve() {
        let watch = EarlyStopping::new(3, 0.0, false);
        let values = [
            f64::NAN,
            f64::NEG_INFINITY,
            0.7,
            f64::NAN,
            f64::INFINITY,
            f64::NAN,
        ];
        assert_eq!(
            run(watch, &values),
            [
                Waiting(1),
                Waiting(2),
                Improved,
                Waiting(1),
                Waiting(2),
                Stop
            ]
        );
    }

    #[test]
    fn without_patience_the_first_evaluation_without_improvement_stops() {
        for patience in [0, 1] {
            let watch = EarlyStopping::new(patience, 0.0, true);
            assert_eq!(run(watch, &[0.5, 0.6, 0.6]), [Improved, Improved, Stop]);
        }
    }

    #[test]
    fn state_survives_json_to_the_bit() {
        // 11/12 written in 16 digits is misread by one unit in the last place by a fast float parser, and would
        // then count as improved upon by itself.
        for numerator in 1..5000 {
            let value = f64::from(numerator) / 4999.0;
            let mut watch = EarlyStopping::new(5, 0.0, true);
            watch.update(value);
            let json = serde_json::to_string(&watch).unwrap();
            let mut back: EarlyStopping = serde_json::from_str(&json).unwrap();
            assert_eq!(back, watch);
            assert_eq!(back.update(value), Waiting(1));
        }
    }
}
