//! The result of a run.

use crate::callbacks::{EvalLog, StepLog};
use crate::early_stopping::BestMetric;

/// Why training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// All steps were made.
    Finished,
    /// The best metric did not improve any more.
    EarlyStopping,
    /// The stop flag was raised.
    Interrupted,
    /// A callback asked for it.
    Callback,
}

/// What happened.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Why training ended.
    pub reason: StopReason,
    /// Optimizer steps made, those before a resume included.
    pub steps: u64,
    /// The logged steps of this run.
    pub log: Vec<StepLog>,
    /// The evaluations of this run.
    pub evaluations: Vec<EvalLog>,
    /// The metric that decides the best evaluation.
    pub best_metric: BestMetric,
    /// The step of the best evaluation.
    pub best_step: Option<u64>,
    /// Seconds in all.
    pub seconds: f64,
    /// Of these, in evaluations and checkpoints.
    pub evaluation_seconds: f64,
    /// Tokens trained on, padding left out.
    pub tokens: u64,
    /// Median seconds of a step.
    pub step_seconds: f64,
}
