//! The training loop: epochs, accumulation, clipping, schedule, loss scaling, log, evaluation, early stopping,
//! checkpoints, and stopping between two steps when asked to.
//!
//! The loop knows no model: a [`Task`] gives it the loss of a list of examples, an evaluation and a way
//! to save. The work of step n depends only on the seed and n, so a run that was cut off resumes
//! where it stopped, in mid-epoch too.

mod facts;
mod outcome;
mod previous;
mod start;
mod step;
mod values;

pub use outcome::{Outcome, StopReason};

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use wgrad_nn::optim::{GradScaler, Optimizer};
use wgrad_nn::schedule::{LrScheduler, Mode as PlateauMode, Schedule};
use wgrad_tensor::{Device, Generator};

use crate::arguments::TrainingArguments;
use crate::callbacks::{Callbacks, EvalLog, Flow};
use crate::checkpoint::{self, Totals, TrainerState};
use crate::early_stopping::{BestMetric, Decision, EarlyStopping};
use crate::fact::stored;
use crate::log::JsonlLog;
use crate::metrics::greater_is_better;
use crate::progress::Progress;
use crate::sampler::Sampler;
use crate::strategy::Every;
use crate::task::{Evaluation, Task};
use start::Start;
use values::StepValues;

/// Everything that changes while training.
struct Run<'a, 'b> {
    device: &'a Device,
    arguments: &'a TrainingArguments,
    optimizer: &'a mut dyn Optimizer,
    scheduler: &'a mut LrScheduler,
    callbacks: &'a mut Callbacks<'b>,
    generator: Generator,
    log: JsonlLog,
    progress: Option<Progress>,
    stopping: EarlyStopping,
    /// The metric that a schedule on plateaus observes.
    plateau_metric: String,
    state: TrainerState,
    total: u64,
    sampler: Sampler,
    evaluates: Every,
    /// When checkpoint-last is written; `None`: at each evaluation.
    saves: Option<Every>,
    logs: Every,
    outcome: Outcome,
    started: Instant,
    /// Of the run that is resumed.
    earlier: Totals,
    step_times: Vec<f64>,
    /// Of the last step, until they are read.
    unread: Option<StepValues>,
}

/// Trains `task` and leaves it at its last step. With `fp16` the loop sets up loss scaling itself, unless the
/// optimizer has a scaler already.
///
/// # Errors
/// Errors of the device, the task, a callback or the file system; invalid arguments; a loss that
/// is not finite, by step; `fp16` on an adapter without it.
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
    arguments.check()?;
    let total = arguments.total_steps(examples);
    ensure!(
        total > 0,
        "num_train_epochs is {}, which makes no step; give more, or max_steps",
        arguments.num_train_epochs
    );
    if arguments.fp16 {
        ensure!(
            device.has_f16(),
            "fp16: {} has no shader-f16; train without --fp16",
            device.adapter().name
        );
        if optimizer.grad_scaler_state()?.is_none() {
            optimizer.set_grad_scaler(GradScaler::default())?;
        }
    }
    let sampler = arguments.sampler()?;
    let best_metric = BestMetric::new(arguments, task);
    let plateau_metric = set_plateau_mode(scheduler, arguments)?;
    let mut stopping = EarlyStopping::new(
        arguments.early_stopping_patience.unwrap_or(usize::MAX),
        0.0,
        best_metric.greater_is_better,
    );
    let facts = facts::facts(arguments, &best_metric, device, task.facts())?;
    let checkpoint = arguments.checkpoint();
    let start = match &checkpoint {
        Some(last) => {
            let run = (arguments, facts.as_slice(), total);
            Start::resumed(last, device, task, optimizer, scheduler, &mut stopping, run)?
        }
        None => Start::anew(arguments)?,
    };
    let mut state = start.state;
    state.facts = stored(&facts);
    let earlier = state.totals;
    let mut progress = callbacks
        .progress
        .then(|| Progress::stdout(total, Duration::from_secs(5)));
    if let Some(progress) = &mut progress {
        start.notes.iter().for_each(|note| progress.message(note));
    }
    let mut run = Run {
        device,
        arguments,
        optimizer,
        scheduler,
        callbacks,
        generator: Generator::new(device, arguments.seed)?,
        log: start.log,
        progress,
        stopping,
        plateau_metric,
        total,
        sampler,
        evaluates: arguments.evaluates(total),
        saves: arguments.saves(total),
        logs: arguments.logs(total),
        outcome: Outcome {
            reason: StopReason::Finished,
            steps: state.global_step,
            resumed_at: checkpoint.map(|_| state.global_step),
            notes: start.notes,
            log: start.steps,
            evaluations: start.evaluations,
            best_metric,
            best_step: state.best_step,
            seconds: earlier.seconds,
            evaluation_seconds: earlier.evaluation_seconds,
            tokens: earlier.tokens,
            step_seconds: earlier.step_seconds,
            peak_bytes: earlier.peak_bytes,
        },
        state,
        started: Instant::now(),
        earlier,
        step_times: Vec::new(),
        unread: None,
    };
    if run.stopping.is_over() {
        // The run that is resumed had stopped early, and its checkpoint is where it stopped.
        run.outcome.reason = StopReason::EarlyStopping;
    } else {
        run.epochs(task)?;
    }
    if let Some(progress) = &mut run.progress {
        progress.finish();
    }
    let totals = run.totals();
    Ok(Outcome {
        seconds: totals.seconds,
        step_seconds: totals.step_seconds,
        peak_bytes: totals.peak_bytes,
        ..run.outcome
    })
}

/// The metric that a schedule on plateaus uses: `metric_for_best_model` if it is given, else the loss, as
/// in `transformers`. Tells such a schedule in which direction the metric improves.
fn set_plateau_mode(scheduler: &mut LrScheduler, arguments: &TrainingArguments) -> Result<String> {
    let name = arguments.metric_for_best_model.as_deref().unwrap_or("loss");
    if let Schedule::ReduceOnPlateau(plateau) = scheduler.schedule() {
        let mut plateau = plateau.clone();
        let given = arguments.metric_for_best_model.is_some();
        let greater = arguments.greater_is_better.filter(|_| given);
        plateau.mode = match greater.unwrap_or(greater_is_better(name)) {
            true => PlateauMode::Max,
            false => PlateauMode::Min,
        };
        *scheduler = LrScheduler::new(scheduler.base_lr(), Schedule::ReduceOnPlateau(plateau))?;
    }
    Ok(name.to_owned())
}

impl Run<'_, '_> {
    fn epochs(&mut self, task: &mut dyn Task) -> Result<()> {
        let arguments = self.arguments;
        while self.state.global_step < self.total {
            let lengths = task.lengths().to_vec();
            let batches = self.sampler.batches(&lengths, self.state.epoch);
            let groups: Vec<&[Vec<usize>]> = batches
                .chunks(arguments.gradient_accumulation_steps)
                .collect();
            while (self.state.step_in_epoch as usize) < groups.len()
                && self.state.global_step < self.total
            {
                let group = groups[self.state.step_in_epoch as usize];
                let flow = self.step(task, group, &lengths, groups.len())?;
                let end = self.state.step_in_epoch as usize == groups.len();
                let last = self.state.global_step == self.total;
                let step = self.state.global_step;
                let mut reason = (flow == Flow::Stop).then_some(StopReason::Callback);
                let evaluates =
                    self.evaluates.is_due(step, end) && self.is_past_delay(groups.len());
                if evaluates || (last && self.evaluates != Every::Never) {
                    reason = self.evaluate(task, groups.len())?.or(reason);
                }
                let flag = self.callbacks.stop.as_ref();
                if flag.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
                    reason = Some(StopReason::Interrupted);
                }
                if let Some(reason) = reason {
                    self.outcome.reason = reason;
                    return self.save(task);
                }
                // A killed run should find a checkpoint. The last step's is written at the end.
                if self.saves.unwrap_or(self.evaluates).is_due(step, end) && !last {
                    self.save(task)?;
                }
            }
            if self.state.step_in_epoch as usize >= groups.len() {
                self.state.epoch += 1;
                self.state.step_in_epoch = 0;
            }
        }
        self.save(task)
    }

    fn epoch(&self, per_epoch: usize) -> f64 {
        self.state.epoch as f64 + self.state.step_in_epoch as f64 / per_epoch.max(1) as f64
    }

    /// Whether `eval_delay`, which counts steps where evaluations do, is over.
    fn is_past_delay(&self, per_epoch: usize) -> bool {
        let done = match self.evaluates {
            Every::Steps(_) => self.state.global_step as f64,
            _ => self.epoch(per_epoch),
        };
        done >= self.arguments.eval_delay
    }

    /// Sums over the whole run.
    fn totals(&self) -> Totals {
        let mut times = self.step_times.clone();
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2).copied();
        Totals {
            seconds: self.earlier.seconds + self.started.elapsed().as_secs_f64(),
            evaluation_seconds: self.outcome.evaluation_seconds,
            step_seconds: median.unwrap_or(self.earlier.step_seconds),
            tokens: self.outcome.tokens,
            peak_bytes: self.earlier.peak_bytes.max(self.device.memory().peak),
        }
    }

    /// An error if the last step diverged and its result was not read before.
    fn check_last_step(&mut self) -> Result<()> {
        if let Some(values) = self.unread.take() {
            values.read(self.optimizer)?;
        }
        Ok(())
    }

    /// Evaluates, saves the best, and returns whether and why to stop.
    fn evaluate(&mut self, task: &mut dyn Task, per_epoch: usize) -> Result<Option<StopReason>> {
        let started = Instant::now();
        let step = self.state.global_step;
        self.check_last_step()?;
        let Some(evaluation) = task.evaluate()? else {
            self.check_unwatched()?;
            self.outcome.evaluation_seconds += started.elapsed().as_secs_f64();
            return Ok(None);
        };
        ensure!(
            evaluation.loss.is_finite(),
            "step {step}: the validation loss is {}; training diverged, try a lower learning_rate (now {})",
            evaluation.loss,
            self.scheduler.lr_at(step - 1)
        );
        let value = metric(&evaluation, &self.outcome.best_metric.name)?;
        let watched = metric(&evaluation, &self.plateau_metric)?;
        let entry = EvalLog {
            step,
            epoch: self.epoch(per_epoch),
            evaluation,
        };
        let mut line = json!({
            "step": step, "epoch": entry.epoch, "eval_loss": entry.evaluation.loss,
        });
        for (name, value) in &entry.evaluation.metrics {
            line[format!("eval_{name}")] = json!(value);
        }
        self.log.write(&line)?;
        self.scheduler.observe(watched);
        let decision = self.stopping.update(value);
        if decision == Decision::Improved {
            self.state.best_step = Some(step);
            self.outcome.best_step = Some(step);
            self.save_as(task, "checkpoint-best")?;
        }
        if let Some(progress) = &mut self.progress {
            let mut text = format!("step {step}: validation loss {:.4}", entry.evaluation.loss);
            for (name, value) in &entry.evaluation.metrics {
                text += &format!(", {name} {value:.4}");
            }
            if decision == Decision::Improved {
                text += " (best so far)";
            }
            progress.message(&text);
        }
        let mut reason = (decision == Decision::Stop).then_some(StopReason::EarlyStopping);
        for call in &mut self.callbacks.on_evaluate {
            if call(&entry)? == Flow::Stop {
                reason = reason.or(Some(StopReason::Callback));
            }
        }
        self.outcome.evaluations.push(entry);
        self.outcome.evaluation_seconds += started.elapsed().as_secs_f64();
        Ok(reason)
    }

    /// Refuses to watch a metric that a task without an evaluation never gives.
    fn check_unwatched(&self) -> Result<()> {
        ensure!(
            self.arguments.early_stopping_patience.is_none(),
            "early_stopping_patience watches the evaluation, and this task gives none; give it validation data"
        );
        ensure!(
            !matches!(self.scheduler.schedule(), Schedule::ReduceOnPlateau(_)),
            "lr_scheduler_type reduce_lr_on_plateau watches the evaluation, and this task gives none; give it validation data"
        );
        Ok(())
    }

    fn save(&mut self, task: &mut dyn Task) -> Result<()> {
        let started = Instant::now();
        self.save_as(task, "checkpoint-last")?;
        self.outcome.evaluation_seconds += started.elapsed().as_secs_f64();
        Ok(())
    }

    fn save_as(&mut self, task: &mut dyn Task, name: &str) -> Result<()> {
        if !self.arguments.saves_checkpoints() {
            return Ok(());
        }
        self.check_last_step()?;
        let path = self.arguments.output_dir.join(name);
        self.state.next_learning_rate = self.scheduler.lr_at(self.state.global_step);
        self.state.totals = self.totals();
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

/// A metric that decides in a run.
fn metric(evaluation: &Evaluation, name: &str) -> Result<f64> {
    evaluation.get(name).with_context(|| {
        let known: Vec<&str> = evaluation.metrics.keys().map(String::as_str).collect();
        format!(
            "metric_for_best_model is `{name}`, the evaluation gives loss, {}",
            known.join(", ")
        )
    })
}
