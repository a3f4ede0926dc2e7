//! Learning-rate schedules with the definitions of `transformers` and `torch.optim.lr_scheduler`.

mod curve;
mod plateau;

pub use curve::{Curve, Ramp};
pub use plateau::{Mode, ReduceOnPlateau, ThresholdMode};

use serde_json::{Map, Value};
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
    /// A curve with numbers of its own.
    Curve {
        /// Steps of warm-up.
        warmup: u64,
        /// Steps of the whole run.
        total: u64,
        /// The curve.
        curve: Curve,
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
    /// The base rate, of which `min_lr` and `lr_end` become a share.
    pub base_lr: f64,
    /// The schedule's own numbers, as `lr_scheduler_kwargs` of `transformers` has them.
    pub kwargs: Map<String, Value>,
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
            base_lr: 1.0,
            kwargs: Map::new(),
        }
    }
}

/// The numbers of a schedule that has none.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NoKwargs {}

/// The names that [`Schedule::from_name`] knows.
pub const SCHEDULE_NAMES: &[&str] = &[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "polynomial",
    "inverse_sqrt",
    "warmup_stable_decay",
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
    /// positive, kwargs that the schedule does not have.
    pub fn from_name(name: &str, options: &ScheduleOptions) -> Result<Self> {
        let (warmup, total) = (options.warmup_steps, options.total_steps);
        let gamma = options.gamma;
        let name = name.replace('-', "_");
        if let Some(curve) = Curve::from_name(&name, options)? {
            return Ok(Schedule::Curve {
                warmup,
                total,
                curve,
            });
        }
        let schedule = match name.as_str() {
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
            "reduce_lr_on_plateau" => {
                let plateau = options.plateau.clone().with(options)?;
                Schedule::ReduceOnPlateau(plateau)
            }
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
        if !matches!(schedule, Schedule::ReduceOnPlateau(_)) {
            curve::kwargs::<NoKwargs>(&name, options)?;
        }
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
            Schedule::Curve {
                warmup,
                total,
                curve,
            } => curve.factor(step, *warmup, *total),
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
mod tests;
