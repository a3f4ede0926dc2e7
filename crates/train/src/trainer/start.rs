//! The beginning of a run: anew, or from a checkpoint, with what differs from the checkpoint's run.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use wgrad_nn::optim::Optimizer;
use wgrad_nn::schedule::LrScheduler;
use wgrad_tensor::Device;

use super::previous::make_room;
use crate::arguments::TrainingArguments;
use crate::callbacks::{EvalLog, StepLog};
use crate::checkpoint::{self, TrainerState};
use crate::early_stopping::EarlyStopping;
use crate::fact::{Differences, Fact};
use crate::log::JsonlLog;
use crate::progress::format_learning_rate;
use crate::task::{Evaluation, Task};

/// A run before its first step.
pub(super) struct Start {
    pub state: TrainerState,
    pub log: JsonlLog,
    /// What the log holds of the run that is resumed.
    pub steps: Vec<StepLog>,
    pub evaluations: Vec<EvalLog>,
    /// A line each, about a run that is resumed or replaced.
    pub notes: Vec<String>,
}

impl Start {
    /// A new run.
    pub fn anew(arguments: &TrainingArguments) -> Result<Self> {
        let dir = &arguments.output_dir;
        let kept = make_room(dir, 0, arguments.overwrite_output_dir)?;
        Ok(Self {
            state: TrainerState::default(),
            log: JsonlLog::create(dir.join("log.jsonl"))?,
            steps: Vec::new(),
            evaluations: Vec::new(),
            notes: kept.into_iter().collect(),
        })
    }

    /// A run that goes on from the checkpoint `last`, which is loaded. Errors: it is of another run.
    #[allow(clippy::too_many_arguments)]
    pub fn resumed(
        last: &Path,
        device: &Device,
        task: &mut dyn Task,
        optimizer: &mut dyn Optimizer,
        scheduler: &mut LrScheduler,
        stopping: &mut EarlyStopping,
        (arguments, facts, total): (&TrainingArguments, &[Fact], u64),
    ) -> Result<Self> {
        let state = TrainerState::read(last)?;
        let differences = Differences::new(&state.facts, facts);
        if !differences.refused.is_empty() {
            let Differences { refused, said } = differences;
            let also = match said.is_empty() {
                true => String::new(),
                false => format!(" (also different: {})", said.join("; ")),
            };
            bail!(
                "{}: the checkpoint is of another run: {}; resume with the same, or train into another output_dir{also}",
                last.display(),
                refused.join("; ")
            );
        }
        state
            .check(arguments.steps_per_epoch(task.lengths().len()))
            .with_context(|| checkpoint::damaged(last))?;
        checkpoint::load(last, device, optimizer, scheduler, stopping)?;
        task.load(last)?;
        let dir = &arguments.output_dir;
        let step = state.global_step;
        let mut notes: Vec<String> = make_room(dir, step, arguments.overwrite_output_dir)?
            .into_iter()
            .collect();
        let mut said = differences.said;
        let (before, now) = (state.next_learning_rate, scheduler.lr_at(step));
        if (now - before).abs() > 1e-9 * before.abs().max(now.abs()) && step < total {
            said.push(format!(
                "the learning rate jumps from {} to {}",
                format_learning_rate(before),
                format_learning_rate(now)
            ));
        }
        if step >= total {
            said.push(format!(
                "all {total} steps are made; more num_train_epochs or max_steps would go on"
            ));
        }
        if said.is_empty() {
            notes.push(format!("resumed at step {step} of {total}"));
        }
        let lines = said.iter();
        notes.extend(lines.map(|line| format!("resumed at step {step}: {line}")));
        // The log of the run lies beside its checkpoints, which may be in another output folder.
        let own = dir.join("log.jsonl");
        let beside = last.parent().map(|parent| parent.join("log.jsonl"));
        let source = beside.filter(|path| path.exists());
        let (log, lines) = JsonlLog::resume(source.as_ref().unwrap_or(&own), &own, step)?;
        Ok(Self {
            state,
            log,
            steps: lines.iter().filter_map(step_log).collect(),
            evaluations: lines.iter().filter_map(eval_log).collect(),
            notes,
        })
    }
}

/// A number of the log, where a missing one was not finite.
fn number(line: &Value, key: &str) -> f64 {
    line[key].as_f64().unwrap_or(f64::NAN)
}

/// A line about a step, read back.
fn step_log(line: &Value) -> Option<StepLog> {
    line.get("loss")?;
    Some(StepLog {
        step: line["step"].as_u64()?,
        epoch: number(line, "epoch"),
        loss: number(line, "loss"),
        learning_rate: number(line, "learning_rate"),
        grad_norm: number(line, "grad_norm"),
        loss_scale: line.get("loss_scale").and_then(Value::as_f64),
    })
}

/// A line about an evaluation, read back.
fn eval_log(line: &Value) -> Option<EvalLog> {
    line.get("eval_loss")?;
    let metric = |(key, value): (&String, &Value)| {
        let name = key.strip_prefix("eval_").filter(|name| *name != "loss")?;
        Some((name.to_owned(), value.as_f64().unwrap_or(f64::NAN)))
    };
    let metrics: BTreeMap<String, f64> = line.as_object()?.iter().filter_map(metric).collect();
    Some(EvalLog {
        step: line["step"].as_u64()?,
        epoch: number(line, "epoch"),
        evaluation: Evaluation {
            loss: number(line, "eval_loss"),
            metrics,
        },
    })
}
