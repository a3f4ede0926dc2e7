//! Learning-rate schedules with the definitions of `transformers` and `torch.optim.lr_scheduler`.

mod plateau;

pub use plateau::{Mode, ReduceOnPlateau, ThresholdMode};

use wgrad_tensor::{Error, Result};

/// The learning rate over the steps of a run. Steps are those of the optimizer, counted from 0: the
/// first update uses `lr_at(0)`.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// The base rate throughout.
    Constant,
    /// From 0 up to the base rate in `warmup` steps, then constant.
    ConstantWithWarmup {
        /// Steps in which the rate rises from 0.
        warmup: u64,
    },
    /// From 0 up to the base rate in `warmup` steps, then down to 0 at `total` in a straight line.
    Linear {
        /// Steps in which the rate rises from 0.
        warmup: u64,
        /// The step at which the rate is 0.
        total: u64,
    },
    /// From 0 up to the base rate in `warmup` steps, then down to 0 at `total` along half a cosine wave
    /// (arXiv:1608.03983 without restarts).
    Cosine {
        /// Steps in which the rate rises from 0.
        warmup: u64,
        /// The step at which the rate is 0.
        total: u64,
    },
    /// Times `gamma` every `size` steps.
    Step {
        /// Steps between two changes.
        size: u64,
        /// The factor of the rate.
        gamma: f64,
    },
    /// Times `gamma` at each of these steps.
    MultiStep {
        /// The steps of the changes.
        milestones: Vec<u64>,
        /// The factor of the rate.
        gamma: f64,
    },
    /// Times `gamma` every step.
    Exponential {
        /// The factor of the rate.
        gamma: f64,
    },
    /// Times a factor whenever a metric no longer improves; [`LrScheduler::observe`] tells it the metric.
    ReduceOnPlateau(ReduceOnPlateau),
}

/// The numbers for making a schedule by name; each schedule uses some of them.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleOptions {
    /// Steps of warm-up.
    pub warmup_steps: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Steps between decays of `step`.
    pub step_size: u64,
    /// The decay of `step`, `multistep` and `exponential`.
    pub gamma: f64,
    /// The steps at which `multistep` decays.
    pub milestones: Vec<u64>,
    /// How `reduce_lr_on_plateau` behaves.
    pub plateau: ReduceOnPlateau,
}

impl Default for ScheduleOptions {
    fn default() -> Self {
        Self {
            warmup_steps: 0,
            total_steps: 0,
            step_size: 1,
            gamma: 0.1,
            milestones: Vec::new(),
            plateau: ReduceOnPlateau::default(),
        }
    }
}

/// The names that [`Schedule::from_name`] knows.
pub const SCHEDULE_NAMES: &[&str] = &[
    "linear",
    "cosine",
    "constant",
    "constant_with_warmup",
    "step",
    "multistep",
    "exponential",
    "reduce_lr_on_plateau",
];

impl Schedule {
    /// The schedule called `name`, as `transformers` spells `lr_scheduler_type`; `-` may stand for `_`.
    ///
    /// Errors: an unknown name (the text lists the known ones), a step size of 0, a gamma that is not
    /// positive.
    pub fn from_name(name: &str, options: &ScheduleOptions) -> Result<Self> {
        let (warmup, total) = (options.warmup_steps, options.total_steps);
        let gamma = options.gamma;
        let schedule = match name.replace('-', "_").as_str() {
            "linear" => Schedule::Linear { warmup, total },
            "cosine" => Schedule::Cosine { warmup, total },
            "constant" => Schedule::Constant,
            "constant_with_warmup" => Schedule::ConstantWithWarmup { warmup },
            "step" => Schedule::Step {
                size: options.step_size,
                gamma,
            },
            "multistep" => Schedule::MultiStep {
                milestones: options.milestones.clone(),
                gamma,
            },
            "exponential" => Schedule::Exponential { gamma },
            "reduce_lr_on_plateau" => Schedule::ReduceOnPlateau(options.plateau.clone()),
            _ => {
                return Err(Error::op(
                    "lr_scheduler_type",
                    format!(
                        "there is no schedule `{name}`; known are {}",
                        SCHEDULE_NAMES.join(", ")
                    ),
                ));
            }
        };
        schedule.check()?;
        Ok(schedule)
    }

    fn check(&self) -> Result<()> {
        match self {
            Schedule::Step { size: 0, .. } => Err(Error::op(
                "lr_scheduler_type",
                "step: a step size of 0 was given, at least 1 is needed",
            )),
            Schedule::Step { gamma, .. }
            | Schedule::MultiStep { gamma, .. }
            | Schedule::Exponential { gamma }
                if !(*gamma > 0.0 && gamma.is_finite()) =>
            {
                Err(Error::op(
                    "lr_scheduler_type",
                    format!("gamma {gamma} is not a positive number"),
                ))
            }
            Schedule::ReduceOnPlateau(plateau) => plateau.check(),
            _ => Ok(()),
        }
    }

    /// The factor of the base rate at `step`; 0 beyond the end of `Linear` and `Cosine`. For
    /// `ReduceOnPlateau` 1: its rate follows from what it observed.
    pub fn factor(&self, step: u64) -> f64 {
        match self {
            Schedule::Constant | Schedule::ReduceOnPlateau(_) => 1.0,
            Schedule::ConstantWithWarmup { warmup } => warm(step, *warmup).unwrap_or(1.0),
            Schedule::Linear { warmup, total } => {
                warm(step, *warmup).unwrap_or_else(|| 1.0 - progress(step, *warmup, *total))
            }
            Schedule::Cosine { warmup, total } => warm(step, *warmup).unwrap_or_else(|| {
                let progress = progress(step, *warmup, *total);
                0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
            }),
            Schedule::Step { size, gamma } => gamma.powf((step / (*size).max(1)) as f64),
            Schedule::MultiStep { milestones, gamma } => {
                let passed = milestones.iter().filter(|m| **m <= step).count();
                gamma.powf(passed as f64)
            }
            Schedule::Exponential { gamma } => gamma.powf(step as f64),
        }
    }
}

/// The factor while warming up.
fn warm(step: u64, warmup: u64) -> Option<f64> {
    (step < warmup).then(|| step as f64 / warmup as f64)
}

/// How much of the way from the end of the warm-up to `total` is done, at most 1.
fn progress(step: u64, warmup: u64, total: u64) -> f64 {
    if step >= total {
        return 1.0;
    }
    (step - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64
}

/// The steps of warm-up that `ratio` of `total` gives, rounded up as `transformers` does.
pub fn warmup_steps(total: u64, ratio: f64) -> u64 {
    (total as f64 * ratio).ceil() as u64
}

/// A schedule with its base rate.
#[derive(Debug, Clone, PartialEq)]
pub struct LrScheduler {
    base_lr: f64,
    schedule: Schedule,
}

impl LrScheduler {
    /// `base_lr` is the rate that the schedule's factor is 1 for.
    ///
    /// Errors: a rate that is negative or not finite, and what [`Schedule::from_name`] refuses.
    pub fn new(base_lr: f64, schedule: Schedule) -> Result<Self> {
        if !(base_lr >= 0.0 && base_lr.is_finite()) {
            return Err(Error::op(
                "learning_rate",
                format!("{base_lr} is not a number of at least 0"),
            ));
        }
        schedule.check()?;
        Ok(Self { base_lr, schedule })
    }

    /// The learning rate of optimizer step `step`, counted from 0.
    pub fn lr_at(&self, step: u64) -> f64 {
        match &self.schedule {
            Schedule::ReduceOnPlateau(plateau) => plateau.lr(self.base_lr),
            schedule => self.base_lr * schedule.factor(step),
        }
    }

    /// Tells a schedule on plateaus the metric of one more evaluation; others ignore it. Returns whether
    /// the rate was reduced.
    pub fn observe(&mut self, metric: f64) -> bool {
        match &mut self.schedule {
            Schedule::ReduceOnPlateau(plateau) => plateau.observe(metric, self.base_lr),
            _ => false,
        }
    }

    /// The rate that the schedule's factor is 1 for.
    pub fn base_lr(&self) -> f64 {
        self.base_lr
    }

    /// The state of a schedule that a checkpoint stores.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected values are what PyTorch 2.15 and transformers 5.23 print for a base rate of 0.5.
    fn check(schedule: Schedule, expected: &[f64]) {
        let scheduler = LrScheduler::new(0.5, schedule.clone()).unwrap();
        for (step, want) in expected.iter().enumerate() {
            let got = scheduler.lr_at(step as u64);
            assert!(
                (got - want).abs() < 1e-11,
                "{schedule:?} {step}: {got}, {want}"
            );
        }
    }

    #[test]
    fn linear_and_cosine_with_warmup() {
        check(
            Schedule::Linear {
                warmup: 3,
                total: 10,
            },
            &[
                0.0,
                0.166666666667,
                0.333333333333,
                0.5,
                0.428571428571,
                0.357142857143,
                0.285714285714,
                0.214285714286,
                0.142857142857,
                0.0714285714286,
                0.0,
                0.0,
            ],
        );
        check(
            Schedule::Linear {
                warmup: 0,
                total: 4,
            },
            &[0.5, 0.375, 0.25, 0.125, 0.0, 0.0],
        );
        check(
            Schedule::Cosine {
                warmup: 3,
                total: 10,
            },
            &[
                0.0,
                0.166666666667,
                0.333333333333,
                0.5,
                0.475242216976,
                0.405872450465,
                0.305630233489,
                0.194369766511,
                0.0941275495353,
                0.0247577830244,
                0.0,
            ],
        );
        check(
            Schedule::ConstantWithWarmup { warmup: 3 },
            &[0.0, 0.166666666667, 0.333333333333, 0.5, 0.5, 0.5],
        );
        check(Schedule::Constant, &[0.5, 0.5]);
    }

    #[test]
    fn decay_in_steps() {
        check(
            Schedule::Step {
                size: 3,
                gamma: 0.5,
            },
            &[0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125, 0.125],
        );
        check(
            Schedule::MultiStep {
                milestones: vec![2, 5],
                gamma: 0.1,
            },
            &[0.5, 0.5, 0.05, 0.05, 0.05, 0.005, 0.005, 0.005],
        );
        check(
            Schedule::Exponential { gamma: 0.9 },
            &[0.5, 0.45, 0.405, 0.3645, 0.32805],
        );
    }

    #[test]
    fn shorter_than_its_warmup() {
        check(
            Schedule::Linear {
                warmup: 4,
                total: 2,
            },
            &[0.0, 0.125, 0.25, 0.375, 0.0],
        );
        check(
            Schedule::Linear {
                warmup: 2,
                total: 2,
            },
            &[0.0, 0.25, 0.0],
        );
    }

    #[test]
    fn names() {
        let options = ScheduleOptions {
            warmup_steps: warmup_steps(25, 0.1),
            total_steps: 25,
            ..Default::default()
        };
        for name in SCHEDULE_NAMES {
            Schedule::from_name(name, &options).unwrap();
        }
        assert_eq!(
            Schedule::from_name("constant-with-warmup", &options).unwrap(),
            Schedule::ConstantWithWarmup { warmup: 3 }
        );
        let error = Schedule::from_name("lineal", &options)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`lineal`") && error.contains("reduce_lr_on_plateau"),
            "{error}"
        );
        let zero = ScheduleOptions {
            step_size: 0,
            ..options.clone()
        };
        assert!(Schedule::from_name("step", &zero).is_err());
        let bad = ScheduleOptions {
            gamma: -1.0,
            ..options
        };
        assert!(Schedule::from_name("exponential", &bad).is_err());
        assert!(LrScheduler::new(f64::NAN, Schedule::Constant).is_err());
    }
}
