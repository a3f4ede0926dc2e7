//! What every task does around the training loop: parameters, optimizer and schedule, the checkpoint that is kept,
//! results and report.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};
use wgrad_nn::schedule::Schedule;
use wgrad_nn::{Module, Parameters};
use wgrad_tensor::Device;
use wgrad_train::checkpoint::TrainerState;
use wgrad_train::fs::{ensure_writable_dir, recover, write_atomic};
use wgrad_train::report::{Report, TrainPoint, ValidationPoint};
use wgrad_train::{Callbacks, Outcome, StopReason, Strategy, Task, TrainingArguments, train};

/// Makes the output folder ready, and repairs checkpoints that a killed run left half written.
pub fn prepare_output(dir: &Path) -> Result<()> {
    ensure_writable_dir(dir)?;
    for name in ["checkpoint-last", "checkpoint-best"] {
        recover(dir.join(name))?;
    }
    Ok(())
}

/// Refuses `what`, which watches the validation data, where there is none.
pub fn require_validation(file: Option<&PathBuf>, what: &str) -> Result<()> {
    ensure!(
        file.is_some(),
        "{what} watches the validation data, and there is none; give a validation_file"
    );
    Ok(())
}

/// Refuses arguments of any task that could do nothing. `samples` are `max_train_samples` and `max_eval_samples`, of
/// examples called `example`.
pub fn check_arguments(
    training: &TrainingArguments,
    validation_file: Option<&PathBuf>,
    samples: [Option<usize>; 2],
    example: &str,
) -> Result<()> {
    training.check()?;
    for (name, most) in ["max_train_samples", "max_eval_samples"]
        .into_iter()
        .zip(samples)
    {
        ensure!(
            most != Some(0),
            "{name} is 0; give at least 1, or leave it out to take every {example}"
        );
    }
    for (what, watches) in [
        (
            "early_stopping_patience",
            training.early_stopping_patience.is_some(),
        ),
        (
            "load_best_model_at_end",
            training.load_best_model_at_end == Some(true),
        ),
        (
            "save_strategy best",
            training.save_strategy == Some(Strategy::Best),
        ),
    ] {
        if watches {
            require_validation(validation_file, what)?;
        }
    }
    Ok(())
}

/// The parameters of a model that are trained.
pub struct Trainable {
    pub parameters: Parameters,
    /// Elements that are trained, and all.
    pub counts: (usize, usize),
}

impl Trainable {
    /// Errors: every parameter is frozen.
    pub fn of(model: &dyn Module) -> Result<Self> {
        let all = model.named_parameters();
        let count = |list: &Parameters| list.iter().map(|(_, t)| t.numel()).sum::<usize>();
        let total = count(&all);
        let trained = all.into_iter().filter(|(_, t)| t.requires_grad());
        let parameters: Parameters = trained.collect();
        ensure!(
            !parameters.is_empty(),
            "every parameter is frozen; nothing is left to train"
        );
        Ok(Self {
            counts: (count(&parameters), total),
            parameters,
        })
    }
}

/// The result of the loop.
pub struct Fitted {
    pub outcome: Outcome,
    /// The step whose model was kept.
    pub kept: u64,
    /// The largest number of bytes in use on the device.
    pub peak_bytes: u64,
}

/// Trains `task`, brings back the best checkpoint if there is one, and saves the model to the output folder. The
/// seconds of each part are added to `timings`.
pub fn fit(
    device: &Device,
    task: &mut dyn Task,
    parameters: Parameters,
    (arguments, validation_file): (&TrainingArguments, Option<&PathBuf>),
    callbacks: &mut Callbacks,
    say: &dyn Fn(&str),
    timings: &mut Vec<(String, f64)>,
) -> Result<Fitted> {
    let mut optimizer = arguments.optimizer(parameters)?;
    let total = arguments.total_steps(task.lengths().len());
    let mut scheduler = arguments.scheduler(total)?;
    if matches!(scheduler.schedule(), Schedule::ReduceOnPlateau(_)) {
        require_validation(validation_file, "lr_scheduler_type reduce_lr_on_plateau")?;
    }
    device.reset_peak();
    let outcome = train(
        device,
        task,
        &mut *optimizer,
        &mut scheduler,
        arguments,
        callbacks,
    )?;
    let evaluating = outcome.evaluation_seconds;
    timings.push(("training".into(), outcome.seconds - evaluating));
    if evaluating > 0.0 {
        timings.push(("validation and checkpoints".into(), evaluating));
    }
    let peak_bytes = outcome.peak_bytes;
    let output = &arguments.output_dir;
    let mut kept = outcome.steps;
    let keeps_best =
        arguments.saves_checkpoints() && arguments.load_best_model_at_end != Some(false);
    if let (true, Some(step)) = (keeps_best, outcome.best_step)
        && step != outcome.steps
        && outcome.reason != StopReason::Interrupted
    {
        match best_checkpoint(arguments, step) {
            Some(best) => {
                kept = step;
                say(&format!(
                    "keeping the model of step {step}, the best on the validation data by {}",
                    outcome.best_metric.name
                ));
                task.load(&best)?;
            }
            None => say(&format!(
                "checkpoint-best of step {step} is not there any more; keeping the last step's model"
            )),
        }
    }
    task.save(output)?;
    Ok(Fitted {
        outcome,
        kept,
        peak_bytes,
    })
}

/// The best checkpoint of a run, which is that of `step`: in the output folder, or beside the checkpoint that was resumed.
fn best_checkpoint(arguments: &TrainingArguments, step: u64) -> Option<PathBuf> {
    let resumed = arguments.checkpoint();
    let beside = resumed.as_deref().and_then(Path::parent);
    let folders = [Some(arguments.output_dir.as_path()), beside];
    let paths = folders.into_iter().flatten();
    paths.map(|dir| dir.join("checkpoint-best")).find(|path| {
        let state = TrainerState::read(path);
        state.is_ok_and(|state| state.global_step == step)
    })
}

/// The settings of a run, and what followed from them.
pub fn all_settings(
    settings: Vec<(&str, String)>,
    counts: (usize, usize),
    peak_bytes: u64,
) -> Vec<(String, String)> {
    let mut settings = settings;
    settings.extend([
        (
            "trainable parameters",
            format!("{} of {}", counts.0, counts.1),
        ),
        (
            "device memory peak",
            format!("{:.1} MiB", peak_bytes as f64 / f64::from(1 << 20)),
        ),
    ]);
    let owned = |(name, value): (&str, String)| (name.to_owned(), value);
    settings.into_iter().map(owned).collect()
}

/// What `results.json` says of every task; a task adds its own keys.
pub fn results(
    device: &Device,
    outcome: &Outcome,
    (counts, peak_bytes): ((usize, usize), u64),
    settings: &[(String, String)],
    timings: &[(String, f64)],
) -> Value {
    let adapter = device.adapter();
    let reason = match outcome.reason {
        StopReason::Finished => "finished",
        StopReason::EarlyStopping => "early stopping",
        StopReason::Interrupted => "interrupted",
        StopReason::Callback => "callback",
    };
    let seconds = timings.iter().map(|(k, v)| (k.clone(), json!(v)));
    let settings = settings.iter().map(|(k, v)| (k.clone(), json!(v)));
    json!({
        "stopped_by": reason,
        "global_step": outcome.steps,
        "resumed_at": outcome.resumed_at,
        "notes": outcome.notes,
        "best_step": outcome.best_step,
        "train_loss": outcome.log.last().map(|l| l.loss),
        "metric_for_best_model": outcome.best_metric.name,
        "trainable_parameters": counts.0,
        "parameters": counts.1,
        "train_seconds": outcome.seconds,
        "step_seconds": outcome.step_seconds,
        "tokens": outcome.tokens,
        "device_peak_bytes": peak_bytes,
        "device_allocated_bytes": device.memory().allocated,
        "adapter": adapter.name,
        "driver": adapter.driver,
        "timings": seconds.collect::<Map<String, Value>>(),
        "settings": settings.collect::<Map<String, Value>>(),
    })
}

/// Writes `results.json`, unless the folder holds results of this very run that say more: those of a run that is
/// resumed where it had ended, now without its test file. Returns whether it was written.
pub fn write_results(dir: &Path, outcome: &Outcome, results: &Value) -> Result<bool> {
    let path = dir.join("results.json");
    if outcome.resumed_at == Some(outcome.steps) {
        let earlier = std::fs::read(&path).ok();
        let earlier: Option<Map<String, Value>> =
            earlier.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let earlier = earlier.unwrap_or_default();
        let same_run = earlier.get("global_step") == results.get("global_step");
        let more = (earlier.iter()).any(|(key, value)| !value.is_null() && results[key].is_null());
        if same_run && more {
            return Ok(false);
        }
    }
    write_atomic(path, format!("{results:#}\n").as_bytes())?;
    Ok(true)
}

/// A report with the curves of a run; a task adds its own parts.
pub fn report(
    device: &Device,
    outcome: &Outcome,
    model: &Path,
    settings: Vec<(String, String)>,
    timings: Vec<(String, f64)>,
) -> Report {
    let adapter = device.adapter();
    // What differs after a resume belongs to the settings.
    let notes = outcome.notes.iter().cloned();
    let mut settings = settings;
    settings.extend(notes.map(|note| ("note".to_owned(), note)));
    // What loss scaling skipped has no place on a curve.
    let finite = (outcome.log.iter()).filter(|l| l.loss.is_finite() && l.grad_norm.is_finite());
    Report {
        title: format!("Fine-tuning {}", model.display()),
        adapter: format!("{} ({}, {})", adapter.name, adapter.backend, adapter.driver),
        train: finite
            .map(|l| TrainPoint {
                step: l.step,
                loss: l.loss,
                learning_rate: l.learning_rate,
                grad_norm: l.grad_norm,
            })
            .collect(),
        validation: (outcome.evaluations.iter())
            .map(|e| ValidationPoint {
                step: e.step,
                loss: e.evaluation.loss,
                metrics: e.evaluation.metrics.clone(),
            })
            .collect(),
        best_metric: Some(outcome.best_metric.clone()),
        settings,
        timings,
        ..Report::default()
    }
}
