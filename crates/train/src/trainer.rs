//! The training loop: epochs, accumulation, clipping, schedule, log, evaluation, early stopping,
//! checkpoints, and stopping between two steps when asked to.
//!
//! The loop knows no model: a [`Task`] gives it the loss of a list of examples, an evaluation and a way
//! to save. What it does at step n follows from the seed and n alone, so a run that was cut off resumes
//! where it stopped, in mid-epoch too.

mod arguments;
mod events;
mod values;

pub use arguments::TrainingArguments;
pub use events::{
    Callbacks, EvalLog, Evaluation, OnEvaluate, OnGradients, OnStep, Outcome, StepLog, StopReason,
};

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use wgrad_nn::Mode;
use wgrad_nn::optim::Optimizer;
use wgrad_nn::schedule::LrScheduler;
use wgrad_tensor::{Device, Generator, Gradients, Tensor};

use crate::checkpoint::{self, TrainerState};
use crate::early_stopping::{Decision, EarlyStopping};
use crate::log::JsonlLog;
use crate::progress::{Progress, StepProgress};
use crate::sampler::epoch_batches;
use values::StepValues;

/// What is trained.
pub trait Task {
    /// The number of tokens of every training example: for batches of like length, and for throughput.
    fn lengths(&self) -> &[usize];
    /// The mean loss of these training examples, a tensor of one value.
    fn loss(&mut self, examples: &[usize], mode: &Mode) -> Result<Tensor>;
    /// Loss and accuracy on the validation data, or nothing if there is none.
    fn evaluate(&mut self) -> Result<Option<Evaluation>>;
    /// Writes the model into an existing folder.
    fn save(&self, dir: &Path) -> Result<()>;
    /// Reads back what [`Task::save`] wrote.
    fn load(&mut self, dir: &Path) -> Result<()>;
}

/// Everything that changes while training.
struct Run<'a, 'b> {
    arguments: &'a TrainingArguments,
    optimizer: &'a mut dyn Optimizer,
    scheduler: &'a mut LrScheduler,
    callbacks: &'a mut Callbacks<'b>,
    generator: Generator,
    log: JsonlLog,
    progress: Option<Progress>,
    stopping: EarlyStopping,
    state: TrainerState,
    total: u64,
    outcome: Outcome,
    step_times: Vec<f64>,
    /// Of the last step, until they are read.
    unread: Option<StepValues>,
}

/// Trains `task` and leaves it at its last step.
///
/// Errors: what the device, the task or the file system refuse; a loss that is not finite, by step.
pub fn train(
    device: &Device,
    task: &mut dyn Task,
    optimizer: &mut dyn Optimizer,
    scheduler: &mut LrScheduler,
    arguments: &TrainingArguments,
    callbacks: &mut Callbacks,
) -> Result<Outcome> {
    let examples = task.lengths().len();
    ensure!(examples > 0, "there are no training examples");
    ensure!(
        arguments.per_device_train_batch_size > 0
            && arguments.gradient_accumulation_steps > 0
            && arguments.logging_steps > 0
            && arguments.eval_steps != Some(0),
        "batch size, gradient_accumulation_steps, logging_steps and eval_steps must be at least 1"
    );
    let total = arguments.total_steps(examples);
    ensure!(
        total > 0,
        "num_train_epochs is {}, which makes no step; give more, or max_steps",
        arguments.num_train_epochs
    );
    let mut state = TrainerState::default();
    let mut stopping = EarlyStopping::new(
        arguments.early_stopping_patience.unwrap_or(usize::MAX),
        0.0,
        true,
    );
    let log_path = arguments.output_dir.join("log.jsonl");
    let log = if arguments.resume {
        let last = arguments.output_dir.join("checkpoint-last");
        state = checkpoint::load(&last, device, optimizer, scheduler, &mut stopping)?;
        let other = state.differences(arguments, task.lengths());
        ensure!(
            other.is_empty(),
            "{}: the checkpoint was written with another {}; resume with the same, or train into another output_dir",
            last.display(),
            other.join(", another ")
        );
        task.load(&last)?;
        JsonlLog::resume(&log_path, state.global_step)?
    } else {
        JsonlLog::create(&log_path)?
    };
    let progress = callbacks
        .progress
        .then(|| Progress::stdout(total, Duration::from_secs(5)));
    let mut run = Run {
        arguments,
        optimizer,
        scheduler,
        callbacks,
        generator: Generator::new(device, arguments.seed)?,
        log,
        progress,
        stopping,
        total,
        outcome: Outcome {
            reason: StopReason::Finished,
            steps: state.global_step,
            log: Vec::new(),
            evaluations: Vec::new(),
            best_step: state.best_step,
            seconds: 0.0,
            evaluation_seconds: 0.0,
            tokens: 0,
            step_seconds: 0.0,
        },
        state,
        step_times: Vec::new(),
        unread: None,
    };
    let started = Instant::now();
    if run.stopping.is_over() {
        // The run that is resumed had stopped early, and its checkpoint is where it stopped.
        run.outcome.reason = StopReason::EarlyStopping;
    } else {
        run.epochs(task)?;
    }
    if let Some(progress) = &mut run.progress {
        progress.finish();
    }
    let mut outcome = run.outcome;
    outcome.seconds = started.elapsed().as_secs_f64();
    run.step_times.sort_by(f64::total_cmp);
    outcome.step_seconds = run
        .step_times
        .get(run.step_times.len() / 2)
        .copied()
        .unwrap_or(0.0);
    Ok(outcome)
}

impl Run<'_, '_> {
    fn epochs(&mut self, task: &mut dyn Task) -> Result<()> {
        let arguments = self.arguments;
        while self.state.global_step < self.total {
            let lengths = task.lengths().to_vec();
            let batches = epoch_batches(
                &lengths,
                arguments.per_device_train_batch_size,
                arguments.seed,
                self.state.epoch,
                arguments.order,
            );
            let groups: Vec<&[Vec<usize>]> = batches
                .chunks(arguments.gradient_accumulation_steps)
                .collect();
            while (self.state.step_in_epoch as usize) < groups.len()
                && self.state.global_step < self.total
            {
                let group = groups[self.state.step_in_epoch as usize];
                self.step(task, group, &lengths, groups.len())?;
                let end = self.state.step_in_epoch as usize == groups.len();
                let last = self.state.global_step == self.total;
                let due = match arguments.eval_steps {
                    Some(every) => self.state.global_step.is_multiple_of(every) || last,
                    None => end || last,
                };
                if due && self.evaluate(task, groups.len())? {
                    self.outcome.reason = StopReason::EarlyStopping;
                    return self.save(task);
                }
                let stop = self.callbacks.stop.as_ref();
                if stop.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
                    self.outcome.reason = StopReason::Interrupted;
                    return self.save(task);
                }
            }
            if self.state.step_in_epoch as usize == groups.len() {
                self.state.epoch += 1;
                self.state.step_in_epoch = 0;
            }
        }
        self.save(task)
    }

    /// One optimizer step over a group of batches.
    fn step(
        &mut self,
        task: &mut dyn Task,
        group: &[Vec<usize>],
        lengths: &[usize],
        per_epoch: usize,
    ) -> Result<()> {
        let started = Instant::now();
        let step = self.state.global_step;
        let learning_rate = self.scheduler.lr_at(step);
        self.optimizer.set_lr(learning_rate)?;
        self.unread = None;
        let mut gradients = Gradients::default();
        let mut losses = Vec::with_capacity(group.len());
        let mut tokens = 0;
        for (micro, batch) in group.iter().enumerate() {
            self.generator.begin_step(step, micro as u32)?;
            let mode = Mode::train(&self.generator).with_dtype(self.arguments.dtype());
            let mut loss = task.loss(batch, &mode)?;
            losses.push(loss.detach());
            if group.len() > 1 {
                loss = loss.mul_scalar(1.0 / group.len() as f32)?;
            }
            gradients.accumulate(self.optimizer.scale(&loss)?.backward()?)?;
            tokens += batch.iter().map(|i| lengths[*i] as u64).sum::<u64>();
        }
        if let Some(call) = &mut self.callbacks.on_gradients {
            call(step + 1, &*self.optimizer, &mut gradients)?;
        }
        let norm = self
            .optimizer
            .step(&gradients, self.arguments.max_grad_norm)?;
        drop(gradients);
        self.state.global_step += 1;
        self.state.step_in_epoch += 1;
        self.outcome.steps = self.state.global_step;
        self.outcome.tokens += tokens;
        let step = self.state.global_step;
        let epoch = self.epoch(per_epoch);
        let logged =
            step.is_multiple_of(self.arguments.logging_steps) || step == self.total || step == 1;
        let values = StepValues {
            step,
            losses,
            norm,
            learning_rate,
        };
        if logged {
            let read = values.read(self.optimizer)?;
            let (loss, grad_norm, loss_scale) = (read.loss, read.grad_norm, read.loss_scale);
            let entry = StepLog {
                step,
                epoch,
                loss,
                learning_rate,
                grad_norm,
                loss_scale,
            };
            let mut line = json!({
                "step": step, "epoch": epoch, "loss": loss, "learning_rate": learning_rate, "grad_norm": grad_norm,
            });
            if let Some(scale) = loss_scale {
                line["loss_scale"] = json!(scale);
            }
            self.log.write(&line)?;
            self.outcome.log.push(entry);
            if let Some(call) = &mut self.callbacks.on_step {
                call(&entry);
            }
        } else {
            self.unread = Some(values);
        }
        let seconds = started.elapsed().as_secs_f64();
        self.step_times.push(seconds);
        if let (Some(progress), Some(entry)) = (&mut self.progress, self.outcome.log.last())
            && logged
        {
            progress.update(&StepProgress {
                step,
                epoch,
                loss: entry.loss,
                learning_rate,
                grad_norm: Some(entry.grad_norm),
                tokens_per_second: Some(tokens as f64 / seconds.max(1e-9)),
                validation_accuracy: self
                    .outcome
                    .evaluations
                    .last()
                    .map(|e| e.evaluation.accuracy),
            });
        }
        Ok(())
    }

    fn epoch(&self, per_epoch: usize) -> f64 {
        self.state.epoch as f64 + self.state.step_in_epoch as f64 / per_epoch.max(1) as f64
    }

    /// Refuses to go on from a step that diverged, where nobody has looked at it yet.
    fn check_last_step(&mut self) -> Result<()> {
        if let Some(values) = self.unread.take() {
            values.read(self.optimizer)?;
        }
        Ok(())
    }

    /// Evaluates, saves what is best, and says whether to stop.
    fn evaluate(&mut self, task: &mut dyn Task, per_epoch: usize) -> Result<bool> {
        let started = Instant::now();
        let step = self.state.global_step;
        self.check_last_step()?;
        let Some(evaluation) = task.evaluate()? else {
            // Nothing to measure, but a killed run should still find a checkpoint.
            if step < self.total {
                self.save(task)?;
            }
            self.outcome.evaluation_seconds += started.elapsed().as_secs_f64();
            return Ok(false);
        };
        ensure!(
            evaluation.loss.is_finite(),
            "step {step}: the validation loss is {}; training diverged, try a lower learning_rate (now {})",
            evaluation.loss,
            self.scheduler.lr_at(step - 1)
        );
        let entry = EvalLog {
            step,
            epoch: self.epoch(per_epoch),
            evaluation,
        };
        self.log.write(&json!({
            "step": step, "epoch": entry.epoch,
            "eval_loss": evaluation.loss, "eval_accuracy": evaluation.accuracy,
        }))?;
        self.scheduler.observe(evaluation.loss);
        let decision = self.stopping.update(evaluation.accuracy);
        if decision == Decision::Improved {
            self.state.best_step = Some(step);
            self.outcome.best_step = Some(step);
            self.save_as(task, "checkpoint-best")?;
        }
        self.outcome.evaluations.push(entry);
        if let Some(progress) = &mut self.progress {
            progress.message(&format!(
                "step {step}: validation loss {:.4}, accuracy {:.4}{}",
                evaluation.loss,
                evaluation.accuracy,
                if decision == Decision::Improved {
                    " (best so far)"
                } else {
                    ""
                }
            ));
        }
        if let Some(call) = &mut self.callbacks.on_evaluate {
            call(&entry);
        }
        if step < self.total {
            self.save(task)?;
        }
        self.outcome.evaluation_seconds += started.elapsed().as_secs_f64();
        Ok(decision == Decision::Stop)
    }

    fn save(&mut self, task: &mut dyn Task) -> Result<()> {
        self.save_as(task, "checkpoint-last")
    }

    fn save_as(&mut self, task: &mut dyn Task, name: &str) -> Result<()> {
        if !self.arguments.save {
            return Ok(());
        }
        self.check_last_step()?;
        let path = self.arguments.output_dir.join(name);
        self.state.remember(self.arguments, task.lengths());
        checkpoint::save(
            &path,
            task,
            self.optimizer,
            self.scheduler,
            &self.stopping,
            &self.state,
        )
        .with_context(|| format!("{}: the checkpoint could not be written", path.display()))
    }
}
