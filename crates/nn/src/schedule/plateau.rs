//! Reducing the learning rate when a metric no longer improves, as
//! `torch.optim.lr_scheduler.ReduceLROnPlateau` does.

use serde::Deserialize;
use wgrad_tensor::{Error, Result};

use super::ScheduleOptions;
use super::curve::kwargs;

/// Which way a metric improves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Downwards: a loss.
    Min,
    /// Upwards: an accuracy.
    Max,
}

/// What `threshold` is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThresholdMode {
    /// A share of the best value.
    Relative,
    /// The metric's own unit.
    Absolute,
}

/// A reduction of at most this is not made: PyTorch's `eps`.
const LEAST_CHANGE: f64 = 1e-8;

/// The settings, and the values observed so far. The default is PyTorch's.
#[derive(Debug, Clone, PartialEq)]
pub struct ReduceOnPlateau {
    /// Which way the metric improves.
    pub mode: Mode,
    /// The factor of the rate.
    pub factor: f64,
    /// Evaluations without an improvement that are allowed; the next one reduces the rate.
    pub patience: u64,
    /// How much better a value must be to count as an improvement.
    pub threshold: f64,
    /// What `threshold` is measured in.
    pub threshold_mode: ThresholdMode,
    /// Evaluations after a reduction that do not count.
    pub cooldown: u64,
    /// The rate is never reduced below this.
    pub min_lr: f64,
    /// The state: the best value so far.
    pub best: Option<f64>,
    /// The state: evaluations since then.
    pub bad_evaluations: u64,
    /// The state: evaluations that will not count.
    pub cooldown_left: u64,
    /// The state: the rate, once it was reduced.
    pub reduced_lr: Option<f64>,
}

impl Default for ReduceOnPlateau {
    fn default() -> Self {
        Self {
            mode: Mode::Min,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            threshold_mode: ThresholdMode::Relative,
            cooldown: 0,
            min_lr: 0.0,
            best: None,
            bad_evaluations: 0,
            cooldown_left: 0,
            reduced_lr: None,
        }
    }
}

/// What `transformers` passes on to PyTorch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kwargs {
    factor: Option<f64>,
    patience: Option<u64>,
    threshold: Option<f64>,
    cooldown: Option<u64>,
    min_lr: Option<f64>,
}

impl ReduceOnPlateau {
    /// With the numbers of `lr_scheduler_kwargs`.
    pub(super) fn with(self, options: &ScheduleOptions) -> Result<Self> {
        let given: Kwargs = kwargs("reduce_lr_on_plateau", options)?;
        Ok(Self {
            factor: given.factor.unwrap_or(self.factor),
            patience: given.patience.unwrap_or(self.patience),
            threshold: given.threshold.unwrap_or(self.threshold),
            cooldown: given.cooldown.unwrap_or(self.cooldown),
            min_lr: given.min_lr.unwrap_or(self.min_lr),
            ..self
        })
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.factor > 0.0 && self.factor < 1.0 {
            return Ok(());
        }
        Err(Error::op(
            "reduce_lr_on_plateau",
            format!("factor {} must lie between 0 and 1", self.factor),
        ))
    }

    pub(super) fn lr(&self, base_lr: f64) -> f64 {
        self.reduced_lr.unwrap_or(base_lr)
    }

    fn is_better(&self, metric: f64) -> bool {
        let Some(best) = self.best else {
            // A metric that is not a number improves on nothing.
            return !metric.is_nan();
        };
        match (self.mode, self.threshold_mode) {
            (Mode::Min, ThresholdMode::Relative) => metric < best * (1.0 - self.threshold),
            (Mode::Min, ThresholdMode::Absolute) => metric < best - self.threshold,
            (Mode::Max, ThresholdMode::Relative) => metric > best * (1.0 + self.threshold),
            (Mode::Max, ThresholdMode::Absolute) => metric > best + self.threshold,
        }
    }

    pub(super) fn observe(&mut self, metric: f64, base_lr: f64) -> bool {
        if self.is_better(metric) {
            self.best = Some(metric);
            self.bad_evaluations = 0;
        } else {
            self.bad_evaluations = self.bad_evaluations.saturating_add(1);
        }
        if self.cooldown_left > 0 {
            self.cooldown_left -= 1;
            self.bad_evaluations = 0;
        }
        if self.bad_evaluations <= self.patience {
            return false;
        }
        self.cooldown_left = self.cooldown;
        self.bad_evaluations = 0;
        let old = self.lr(base_lr);
        let new = (old * self.factor).max(self.min_lr);
        let reduces = old - new > LEAST_CHANGE;
        if reduces {
            self.reduced_lr = Some(new);
        }
        reduces
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LrScheduler, Schedule};
    use super::*;

    /// The expected rates are what PyTorch 2.15 prints before each of these evaluations, base rate 0.5.
    fn check(plateau: ReduceOnPlateau, metrics: &[f64], expected: &[f64]) {
        let mut scheduler = LrScheduler::new(0.5, Schedule::ReduceOnPlateau(plateau)).unwrap();
        for (i, (metric, want)) in metrics.iter().zip(expected).enumerate() {
            let got = scheduler.lr_at(i as u64);
            assert!((got - want).abs() < 1e-11, "{i}: {got}, {want}");
            let reduced = scheduler.observe(*metric);
            assert_eq!(reduced, scheduler.lr_at(0) != got);
        }
    }

    #[test]
    fn as_pytorch() {
        let losses = [
            1.0, 0.9, 0.9, 0.9, 0.9, 0.5, 0.51, 0.52, 0.53, 0.54, 0.55, 0.56, 0.57, 0.58, 0.59,
            0.6, 0.61, 0.62,
        ];
        let plateau = ReduceOnPlateau {
            factor: 0.5,
            patience: 1,
            min_lr: 0.05,
            ..Default::default()
        };
        check(
            plateau,
            &losses,
            &[
                0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.125, 0.125, 0.0625, 0.0625, 0.05,
                0.05, 0.05, 0.05, 0.05, 0.05,
            ],
        );
        let plateau = ReduceOnPlateau {
            patience: 2,
            cooldown: 2,
            ..Default::default()
        };
        check(
            plateau,
            &losses,
            &[
                0.5, 0.5, 0.5, 0.5, 0.5, 0.05, 0.05, 0.05, 0.05, 0.05, 0.005, 0.005, 0.005, 0.005,
                0.005, 0.0005, 0.0005, 0.0005,
            ],
        );
        let accuracies = [
            0.5, 0.6, 0.605, 0.6, 0.61, 0.62, 0.61, 0.6, 0.7, 0.7, 0.7, 0.7,
        ];
        for (threshold, threshold_mode) in [
            (0.01, ThresholdMode::Absolute),
            (0.02, ThresholdMode::Relative),
        ] {
            let plateau = ReduceOnPlateau {
                mode: Mode::Max,
                factor: 0.5,
                patience: 1,
                threshold,
                threshold_mode,
                ..Default::default()
            };
            check(
                plateau,
                &accuracies,
                &[
                    0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.125, 0.125, 0.125, 0.0625,
                ],
            );
        }
    }

    #[test]
    fn a_metric_that_is_not_a_number_counts_as_no_improvement() {
        let plateau = ReduceOnPlateau {
            patience: 0,
            ..Default::default()
        };
        check(
            plateau,
            &[f64::NAN, 1.0, f64::NAN, 1.0],
            &[0.5, 0.05, 0.05, 0.005],
        );
    }

    #[test]
    fn a_factor_of_one_is_refused() {
        let plateau = ReduceOnPlateau {
            factor: 1.0,
            ..Default::default()
        };
        assert!(LrScheduler::new(0.5, Schedule::ReduceOnPlateau(plateau)).is_err());
    }
}
