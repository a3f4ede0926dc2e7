//! What happens while training, and who is told.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use wgrad_nn::optim::Optimizer;
use wgrad_tensor::Gradients;

/// The result of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    pub loss: f64,
    /// What the best checkpoint and early stopping go by.
    pub accuracy: f64,
}

/// A logged step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepLog {
    /// Counted from 1.
    pub step: u64,
    pub epoch: f64,
    /// Before the update; over all batches of the step.
    pub loss: f64,
    pub learning_rate: f64,
    /// Before clipping. Not finite where loss scaling skipped the step.
    pub grad_norm: f64,
    /// What the next loss is multiplied by, with `fp16`.
    pub loss_scale: Option<f64>,
}

/// A logged evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EvalLog {
    pub step: u64,
    pub epoch: f64,
    pub evaluation: Evaluation,
}

/// Why training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    Finished,
    EarlyStopping,
    /// The stop flag was raised.
    Interrupted,
}

/// What happened.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub reason: StopReason,
    pub steps: u64,
    pub log: Vec<StepLog>,
    pub evaluations: Vec<EvalLog>,
    /// The step of the best evaluation.
    pub best_step: Option<u64>,
    pub seconds: f64,
    /// Of these, in evaluations and checkpoints.
    pub evaluation_seconds: f64,
    /// Tokens trained on, padding left out.
    pub tokens: u64,
    /// Median seconds of a step.
    pub step_seconds: f64,
}

/// Sees a logged step.
pub type OnStep<'a> = Box<dyn FnMut(&StepLog) + 'a>;
/// Sees an evaluation.
pub type OnEvaluate<'a> = Box<dyn FnMut(&EvalLog) + 'a>;
/// Sees a step's number, from 1, and its gradients, which [`Optimizer::unscale`] makes those of the loss itself
/// where a scaler is at work.
pub type OnGradients<'a> = Box<dyn FnMut(u64, &dyn Optimizer, &mut Gradients) -> Result<()> + 'a>;

/// Called after each logged step and evaluation.
#[derive(Default)]
pub struct Callbacks<'a> {
    pub on_step: Option<OnStep<'a>>,
    pub on_evaluate: Option<OnEvaluate<'a>>,
    /// Raised from outside (Ctrl-C): the step is finished, a checkpoint written, and the loop left.
    pub stop: Option<Arc<AtomicBool>>,
    /// Sees each step's gradients, averaged over its batches, before clipping; steps count from 1.
    pub on_gradients: Option<OnGradients<'a>>,
    /// Prints progress.
    pub progress: bool,
}
