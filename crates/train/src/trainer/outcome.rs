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
    /// The step that the run was resumed at.
    pub resumed_at: Option<u64>,
    /// What differs from the run that was resumed, and what was kept of an earlier one, a line each.
    pub notes: Vec<String>,
    /// The logged steps, those before a resume included.
    pub log: Vec<StepLog>,
    /// The evaluations, those before a resume included.
    pub evaluations: Vec<EvalLog>,
    /// The metric that decides the best evaluation.
    pub best_metric: BestMetric,
    /// The step of the best evaluation.
    pub best_step: Option<u64>,
    /// Seconds in all; these and the numbers below count what came before a resume too.
    pub seconds: f64,
    /// Of these, in evaluations and checkpoints.
    pub evaluation_seconds: f64,
    /// Tokens trained on, padding left out.
    pub tokens: u64,
    /// Median seconds of a step.
    pub step_seconds: f64,
    /// The largest number of bytes in use on the device.
    pub peak_bytes: u64,
}

impl Outcome {
    /// The evaluations after the last resume.
    pub fn own_evaluations(&self) -> impl Iterator<Item = &EvalLog> {
        let from = self.resumed_at;
        (self.evaluations.iter()).filter(move |e| from.is_none_or(|from| e.step > from))
    }
}
