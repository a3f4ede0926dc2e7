//! Callbacks of the loop: see logged steps and evaluations, change gradients, stop the run.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use wgrad_nn::optim::Optimizer;
use wgrad_tensor::Gradients;

use crate::task::Evaluation;

/// A logged step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepLog {
    /// Counted from 1.
    pub step: u64,
    /// Epochs done, with a fraction.
    pub epoch: f64,
    /// The loss before the update: the mean over the items of all micro-batches of the step.
    pub loss: f64,
    /// The learning rate of the step.
    pub learning_rate: f64,
    /// The global norm before clipping. Not finite where loss scaling skipped the step.
    pub grad_norm: f64,
    /// The factor of the next loss, with `fp16`.
    pub loss_scale: Option<f64>,
}

/// A logged evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalLog {
    /// Optimizer steps done.
    pub step: u64,
    /// Epochs done, with a fraction.
    pub epoch: f64,
    /// Loss and metrics.
    pub evaluation: Evaluation,
}

/// A callback's request to the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Finish the step, write a checkpoint and leave the loop.
    Stop,
}

/// Sees a logged step.
pub type OnStep<'a> = Box<dyn FnMut(&StepLog) -> Result<Flow> + 'a>;
/// Sees an evaluation.
pub type OnEvaluate<'a> = Box<dyn FnMut(&EvalLog) -> Result<Flow> + 'a>;
/// Sees and may change the gradients of a step; gets the step's number, from 1.
pub type OnGradients<'a> = Box<dyn FnMut(u64, &mut Gradients, &dyn Optimizer) -> Result<Flow> + 'a>;

/// The callbacks of a training run. Each callback can end the run: with [`Flow::Stop`] after a checkpoint, with
/// an error at once.
///
/// ```
/// use wgrad_train::{Callbacks, Flow};
///
/// let mut losses = Vec::new();
/// let callbacks = Callbacks::new()
///     .on_step(|log| {
///         losses.push(log.loss);
///         Ok(Flow::Continue)
///     })
///     .on_evaluate(|log| match log.evaluation.get("accuracy") {
///         Some(accuracy) if accuracy > 0.9 => Ok(Flow::Stop),
///         _ => Ok(Flow::Continue),
///     });
/// # drop(callbacks);
/// ```
#[derive(Default)]
pub struct Callbacks<'a> {
    pub(crate) on_step: Vec<OnStep<'a>>,
    pub(crate) on_evaluate: Vec<OnEvaluate<'a>>,
    pub(crate) on_gradients: Vec<OnGradients<'a>>,
    pub(crate) stop: Option<Arc<AtomicBool>>,
    pub(crate) progress: bool,
}

impl<'a> Callbacks<'a> {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `call` after each logged step (`logging_steps`).
    pub fn on_step(mut self, call: impl FnMut(&StepLog) -> Result<Flow> + 'a) -> Self {
        self.on_step.push(Box::new(call));
        self
    }

    /// Calls `call` after each evaluation.
    pub fn on_evaluate(mut self, call: impl FnMut(&EvalLog) -> Result<Flow> + 'a) -> Self {
        self.on_evaluate.push(Box::new(call));
        self
    }

    /// Calls `call` in each step between the backward pass and the update, with the step's number from 1 and
    /// the gradients of the whole step before clipping. With `fp16` they are scaled: [`Optimizer::unscale`]
    /// gives those of the loss itself.
    pub fn on_gradients(
        mut self,
        call: impl FnMut(u64, &mut Gradients, &dyn Optimizer) -> Result<Flow> + 'a,
    ) -> Self {
        self.on_gradients.push(Box::new(call));
        self
    }

    /// Adds a callback as [`Callbacks::on_gradients`] does, to existing callbacks.
    pub fn push_on_gradients(&mut self, call: OnGradients<'a>) {
        self.on_gradients.push(call);
    }

    /// Stops when another thread raises `flag` (Ctrl-C): the step is finished, a checkpoint written, and the
    /// loop left.
    pub fn stop_flag(mut self, flag: Arc<AtomicBool>) -> Self {
        self.stop = Some(flag);
        self
    }

    /// Prints progress to standard output.
    pub fn progress(mut self) -> Self {
        self.progress = true;
        self
    }
}

impl fmt::Debug for Callbacks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks")
            .field("on_step", &self.on_step.len())
            .field("on_evaluate", &self.on_evaluate.len())
            .field("on_gradients", &self.on_gradients.len())
            .field("stop", &self.stop)
            .field("progress", &self.progress)
            .finish()
    }
}
