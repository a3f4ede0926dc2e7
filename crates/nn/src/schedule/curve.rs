//! The schedules of `transformers` that take numbers of their own (`lr_scheduler_kwargs`).

use std::f64::consts::PI;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use wgrad_tensor::{Error, Result};

use super::{ScheduleOptions, warm};

/// The shape of a ramp in [`Curve::WarmupStableDecay`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Ramp {
    /// A straight line.
    #[serde(rename = "linear")]
    Linear,
    /// A part of a cosine wave.
    #[serde(rename = "cosine")]
    Cosine,
    /// One minus a square root.
    #[serde(rename = "1-sqrt")]
    OneMinusSqrt,
}

/// A curve over the steps. All but [`Curve::CosineWarmup`] rise from 0 (`WarmupStableDecay`: from `min`) while they warm up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Curve {
    /// `cycles` waves of a cosine between 1 and `min`; 0.5 falls once.
    Cosine {
        /// Waves over the run.
        cycles: f64,
        /// The lowest factor.
        min: f64,
    },
    /// `cycles` falls along half a cosine wave to 0, each from 1.
    CosineWithRestarts {
        /// Falls over the run.
        cycles: f64,
    },
    /// As `Cosine`; the first step of the warm-up is not 0.
    CosineWarmup {
        /// Waves over the run.
        cycles: f64,
        /// The lowest factor after the warm-up.
        min: f64,
        /// The factor of the first step; by default one part of the warm-up.
        start: Option<f64>,
    },
    /// From 1 to `end` along the power of what is left.
    Polynomial {
        /// 1 is a straight line.
        power: f64,
        /// The last factor.
        end: f64,
    },
    /// With the inverse of the square root of the step.
    InverseSqrt {
        /// The steps after which the factor is the root of a half.
        timescale: f64,
    },
    /// Constant for `stable` steps, then down to `min` in `decay` steps.
    WarmupStableDecay {
        /// Steps at 1.
        stable: u64,
        /// Steps of the fall.
        decay: u64,
        /// Shapes of the rise and of the fall.
        ramps: [Ramp; 2],
        /// The lowest factor.
        min: f64,
        /// Waves of a cosine fall; 0.5 falls once.
        cycles: f64,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cycles {
    num_cycles: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MinLr {
    num_cycles: Option<f64>,
    min_lr: Option<f64>,
    min_lr_rate: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WarmupMinLr {
    num_cycles: Option<f64>,
    min_lr: Option<f64>,
    min_lr_rate: Option<f64>,
    warmup_lr_rate: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Polynomial {
    power: Option<f64>,
    lr_end: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InverseSqrt {
    timescale: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stable {
    num_decay_steps: u64,
    num_stable_steps: Option<u64>,
    warmup_type: Option<Ramp>,
    decay_type: Option<Ramp>,
    min_lr_ratio: Option<f64>,
    num_cycles: Option<f64>,
}

fn error(text: String) -> Error {
    Error::op("lr_scheduler_type", text)
}

/// The numbers of the schedule `name`. Errors: a number that it does not have, or one of another type.
pub(super) fn kwargs<T: DeserializeOwned>(name: &str, options: &ScheduleOptions) -> Result<T> {
    serde_json::from_value(options.kwargs.clone().into())
        .map_err(|e| error(format!("{name}: lr_scheduler_kwargs: {e}")))
}

impl Curve {
    /// The curve called `name`, or nothing where there is none.
    pub(super) fn from_name(name: &str, options: &ScheduleOptions) -> Result<Option<Self>> {
        let (warmup, total, lr) = (options.warmup_steps, options.total_steps, options.base_lr);
        // A rate as a factor of the base rate.
        let lowest = |rate: Option<f64>, factor: Option<f64>| match (rate, factor) {
            (Some(rate), None) => Ok(rate / lr),
            (None, Some(factor)) => Ok(factor),
            _ => Err(error(format!(
                "{name} needs min_lr or min_lr_rate, and one of them only; give lr_scheduler_kwargs {{\"min_lr_rate\": 0.1}}"
            ))),
        };
        let curve = match name {
            "cosine" if options.kwargs.is_empty() => return Ok(None),
            "cosine" => Curve::Cosine {
                cycles: kwargs::<Cycles>(name, options)?.num_cycles.unwrap_or(0.5),
                min: 0.0,
            },
            "cosine_with_restarts" => Curve::CosineWithRestarts {
                cycles: kwargs::<Cycles>(name, options)?.num_cycles.unwrap_or(1.0),
            },
            "cosine_with_min_lr" => {
                let given: MinLr = kwargs(name, options)?;
                Curve::Cosine {
                    cycles: given.num_cycles.unwrap_or(0.5),
                    min: lowest(given.min_lr, given.min_lr_rate)?,
                }
            }
            "cosine_warmup_with_min_lr" => {
                let given: WarmupMinLr = kwargs(name, options)?;
                Curve::CosineWarmup {
                    cycles: given.num_cycles.unwrap_or(0.5),
                    min: lowest(given.min_lr, given.min_lr_rate)?,
                    start: given.warmup_lr_rate,
                }
            }
            "polynomial" => {
                let given: Polynomial = kwargs(name, options)?;
                let end = given.lr_end.unwrap_or(1e-7);
                if lr <= end {
                    return Err(error(format!(
                        "polynomial: lr_end is {end}, it must be below learning_rate {lr}"
                    )));
                }
                Curve::Polynomial {
                    power: given.power.unwrap_or(1.0),
                    end: end / lr,
                }
            }
            "inverse_sqrt" => Curve::InverseSqrt {
                timescale: match kwargs::<InverseSqrt>(name, options)?.timescale {
                    Some(timescale) => timescale,
                    None if warmup == 0 => 10_000.0,
                    None => warmup as f64,
                },
            },
            "warmup_stable_decay" => {
                let given: Stable = kwargs(name, options)?;
                let rest = total.saturating_sub(warmup);
                Curve::WarmupStableDecay {
                    stable: given
                        .num_stable_steps
                        .unwrap_or(rest.saturating_sub(given.num_decay_steps)),
                    decay: given.num_decay_steps,
                    ramps: [
                        given.warmup_type.unwrap_or(Ramp::Linear),
                        given.decay_type.unwrap_or(Ramp::Cosine),
                    ],
                    min: given.min_lr_ratio.unwrap_or(0.0),
                    cycles: given.num_cycles.unwrap_or(0.5),
                }
            }
            _ => return Ok(None),
        };
        curve.check(name)?;
        Ok(Some(curve))
    }

    /// Refuses numbers that make no rate.
    fn check(&self, name: &str) -> Result<()> {
        let numbers = match *self {
            Curve::Cosine { cycles, min } => vec![cycles, min],
            Curve::CosineWithRestarts { cycles } => vec![cycles],
            Curve::CosineWarmup { cycles, min, start } => vec![cycles, min, start.unwrap_or(0.0)],
            Curve::Polynomial { power, end } => vec![power, end],
            // Its inverse is a rate too.
            Curve::InverseSqrt { timescale } => vec![timescale, 1.0 / timescale],
            Curve::WarmupStableDecay { min, cycles, .. } => vec![min, cycles],
        };
        match numbers.iter().find(|n| !(n.is_finite() && **n >= 0.0)) {
            Some(_) => Err(error(format!(
                "{name}: lr_scheduler_kwargs or learning_rate: the numbers must be finite and not below 0"
            ))),
            None => Ok(()),
        }
    }

    /// The factor of the base rate at `step`.
    pub(super) fn factor(&self, step: u64, warmup: u64, total: u64) -> f64 {
        let rising = warm(step, warmup);
        let length = total.saturating_sub(warmup).max(1) as f64;
        let progress = step.saturating_sub(warmup) as f64 / length;
        let wave = |cycles: f64, progress: f64| 0.5 * (1.0 + (PI * cycles * 2.0 * progress).cos());
        let above = |min: f64, factor: f64| (factor * (1.0 - min) + min).max(0.0);
        match (*self, rising) {
            (Curve::CosineWarmup { start, .. }, Some(_)) => match start {
                None => (step + 1) as f64 / warmup as f64,
                Some(start) => {
                    let last = warmup.saturating_sub(1).max(1) as f64;
                    start + (1.0 - start) * step as f64 / last
                }
            },
            (Curve::WarmupStableDecay { ramps, min, .. }, Some(rising)) => {
                let factor = match ramps[0] {
                    Ramp::Linear => rising,
                    Ramp::Cosine => 0.5 * (1.0 - (PI * rising).cos()),
                    Ramp::OneMinusSqrt => 1.0 - (1.0 - rising).sqrt(),
                };
                above(min, factor)
            }
            (_, Some(rising)) => rising,
            (Curve::Cosine { cycles, min }, None) => above(min, wave(cycles, progress)),
            (Curve::CosineWithRestarts { cycles }, None) => match progress >= 1.0 {
                true => 0.0,
                false => 0.5 * (1.0 + (PI * ((cycles * progress) % 1.0)).cos()),
            },
            (Curve::CosineWarmup { cycles, min, .. }, None) => {
                above(min, wave(cycles, progress + 1.0 / length))
            }
            (Curve::Polynomial { end, .. }, None) if step > total => end,
            (Curve::Polynomial { power, end }, None) => {
                (1.0 - end) * (1.0 - progress).powf(power) + end
            }
            (Curve::InverseSqrt { timescale }, None) => {
                let shifted = step as f64 + timescale - warmup as f64;
                1.0 / (shifted / timescale).sqrt()
            }
            (
                Curve::WarmupStableDecay {
                    stable,
                    decay,
                    ramps,
                    min,
                    cycles,
                },
                None,
            ) => {
                let falling = (step - warmup).checked_sub(stable);
                let Some(done) = falling else { return 1.0 };
                if done >= decay {
                    return min;
                }
                let progress = done as f64 / decay as f64;
                let factor = match ramps[1] {
                    Ramp::Linear => 1.0 - progress,
                    Ramp::Cosine => wave(cycles, progress),
                    Ramp::OneMinusSqrt => 1.0 - progress.sqrt(),
                };
                above(min, factor)
            }
        }
    }
}

#[cfg(test)]
mod tests;
