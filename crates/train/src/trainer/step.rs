//! One optimizer step over a group of micro-batches.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::json;
use wgrad_nn::Mode;
use wgrad_tensor::Gradients;

use super::Run;
use super::values::StepValues;
use crate::callbacks::{Flow, StepLog};
use crate::progress::StepProgress;
use crate::strategy::Every;
use crate::task::{Loss, Task};

impl Run<'_, '_> {
    /// One optimizer step over the micro-batches of `group`. Says whether a callback asks to stop.
    pub(super) fn step(
        &mut self,
        task: &mut dyn Task,
        group: &[Vec<usize>],
        lengths: &[usize],
        per_epoch: usize,
    ) -> Result<Flow> {
        let started = Instant::now();
        let learning_rate = self.scheduler.lr_at(self.state.global_step);
        self.optimizer.set_lr(learning_rate)?;
        self.unread = None;
        let (mut gradients, losses) = self.gradients(task, group)?;
        let mut flow = Flow::Continue;
        for call in &mut self.callbacks.on_gradients {
            let asked = call(self.state.global_step + 1, &mut gradients, &*self.optimizer)?;
            flow = flow.or(asked);
        }
        let norm = self.optimizer.step(&gradients, self.arguments.clip())?;
        drop(gradients);
        self.state.global_step += 1;
        self.state.step_in_epoch += 1;
        self.outcome.steps = self.state.global_step;
        let tokens: usize = group.iter().flatten().map(|i| lengths[*i]).sum();
        self.outcome.tokens += tokens as u64;
        let step = self.state.global_step;
        let values = StepValues {
            step,
            losses,
            norm,
            learning_rate,
        };
        let ends = self.state.step_in_epoch as usize == per_epoch;
        let first = step == 1 && self.logs != Every::Never;
        if !self.logs.is_due(step, ends) && step != self.total && !first {
            self.unread = Some(values);
            self.step_times.push(started.elapsed().as_secs_f64());
            return Ok(flow);
        }
        let read = values.read(self.optimizer)?;
        let entry = StepLog {
            step,
            epoch: self.epoch(per_epoch),
            loss: read.loss,
            learning_rate,
            grad_norm: read.grad_norm,
            loss_scale: read.loss_scale,
        };
        let seconds = started.elapsed().as_secs_f64();
        self.step_times.push(seconds);
        self.log_step(&entry, tokens as f64 / seconds.max(1e-9))?;
        for call in &mut self.callbacks.on_step {
            flow = flow.or(call(&entry)?);
        }
        Ok(flow)
    }

    /// The gradients of the mean loss over the items of all micro-batches, times the loss scale, and the losses.
    fn gradients(
        &mut self,
        task: &mut dyn Task,
        group: &[Vec<usize>],
    ) -> Result<(Gradients, Vec<Loss>)> {
        let step = self.state.global_step;
        let mut gradients = Gradients::default();
        let mut losses: Vec<Loss> = Vec::with_capacity(group.len());
        // How many items the step has is known only at its end. Each micro-batch is weighted as if all were
        // as large as the first, and what that misses is made up for at the end: nothing where all are equal.
        let mut guess = 0.0;
        let mut items = 0.0;
        for (micro_batch, batch) in group.iter().enumerate() {
            self.generator.begin_step(step, micro_batch as u32)?;
            let mode = Mode::train(&self.generator).with_dtype(self.arguments.dtype());
            if batch.is_empty() {
                continue;
            }
            let Loss { mean, count } = task.loss(batch, &mode)?;
            if count == 0 {
                continue;
            }
            if guess == 0.0 {
                guess = (count * group.len()) as f64;
            }
            items += count as f64;
            let weight = count as f64 / guess;
            losses.push(Loss::new(mean.detach(), count));
            let weighted = match weight == 1.0 {
                true => mean,
                false => mean.mul_scalar(weight as f32)?,
            };
            gradients.accumulate(self.optimizer.scale(&weighted)?.backward()?)?;
        }
        ensure!(
            items > 0.0,
            "step {}: the loss of its examples counts no item; has no token a target?",
            step + 1
        );
        if items != guess {
            gradients.scale((guess / items) as f32)?;
        }
        Ok((gradients, losses))
    }

    /// Writes a log line, and shows the step.
    fn log_step(&mut self, entry: &StepLog, tokens_per_second: f64) -> Result<()> {
        let mut line = json!({
            "step": entry.step, "epoch": entry.epoch, "loss": entry.loss,
            "learning_rate": entry.learning_rate, "grad_norm": entry.grad_norm,
        });
        if let Some(scale) = entry.loss_scale {
            line["loss_scale"] = json!(scale);
        }
        self.log.write(&line)?;
        self.outcome.log.push(*entry);
        if let Some(progress) = &mut self.progress {
            let last = self.outcome.evaluations.last();
            progress.update(&StepProgress {
                step: entry.step,
                epoch: entry.epoch,
                loss: entry.loss,
                learning_rate: entry.learning_rate,
                grad_norm: Some(entry.grad_norm),
                tokens_per_second: Some(tokens_per_second),
                metrics: last.map_or(Vec::new(), |e| {
                    let metrics = e.evaluation.metrics.iter();
                    metrics.map(|(name, v)| (name.clone(), *v)).collect()
                }),
            });
        }
        Ok(())
    }
}

impl Flow {
    fn or(self, other: Flow) -> Flow {
        match self {
            Flow::Stop => Flow::Stop,
            Flow::Continue => other,
        }
    }
}
