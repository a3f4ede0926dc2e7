//! Training a causal language model on a text: each token is a target of those before it.
//!
//! The text is cut into blocks as `run_clm.py` of `transformers` cuts it, and the loss is that of
//! `model(input_ids, labels=input_ids)`: a mean over tokens, so that accumulated batches equal a large one.

mod arguments;
mod blocks;
mod task;

pub use arguments::CausalLMArguments;
pub use blocks::TokenBlocks;
pub use task::CausalLMTask;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::json;
use wgrad_nn::freeze;
use wgrad_tensor::Device;
use wgrad_train::report::Report;
use wgrad_train::{Callbacks, Evaluation, Outcome, Task};

use super::fit::{self, Trainable, all_settings, fit, prepare_output};
use crate::generate::{CausalLM, LanguageModel};

/// The result of a training.
#[derive(Debug, Clone)]
pub struct TrainedLM {
    /// What happened in the loop.
    pub outcome: Outcome,
    /// On the validation text, of the model that was kept: `loss` and `perplexity`.
    pub validation: Option<Evaluation>,
    /// Trainable parameters, and all.
    pub parameters: (usize, usize),
    /// The largest number of bytes in use on the device.
    pub peak_bytes: u64,
    /// Where the report lies.
    pub report: PathBuf,
}

/// Trains, writes model, log, results and report to `training.output_dir`. `say` receives a line about each
/// stage.
///
/// # Errors
/// One line: what is wrong with the model, a text, a flag, the output folder or the device.
pub fn fine_tune(
    device: &Device,
    arguments: &CausalLMArguments,
    callbacks: &mut Callbacks,
    say: &dyn Fn(&str),
) -> Result<TrainedLM> {
    let started = Instant::now();
    let mut timings: Vec<(String, f64)> = Vec::new();
    let training = &arguments.training;
    arguments.check()?;
    let source = LanguageModel::load(device, &arguments.model_name_or_path)?;
    source.check_saving()?;
    let size = arguments.block_size(source.model().max_tokens())?;
    let read = |path: &PathBuf| TokenBlocks::from_file(path, source.tokenizer(), size);
    let train = read(&arguments.train_file)?.take(arguments.max_train_samples);
    let validation = arguments.validation_file.as_ref().map(read).transpose()?;
    let validation = validation.map(|blocks| blocks.take(arguments.max_eval_samples));
    for pattern in &arguments.freeze {
        freeze(source.model(), pattern).with_context(|| format!("freeze {pattern}"))?;
    }
    let trainable = Trainable::of(source.model())?;
    let parameters = trainable.counts;
    prepare_output(&training.output_dir)?;
    timings.push(("loading".into(), started.elapsed().as_secs_f64()));
    say(&format!(
        "causal_lm: {} training and {} validation blocks of {size} tokens; {} of {} parameters are trained on {}",
        train.len(),
        validation.as_ref().map_or(0, TokenBlocks::len),
        parameters.0,
        parameters.1,
        device.adapter().name,
    ));
    let task = CausalLMTask::with_tokenizer(device, &source, train, validation)?;
    let mut task = task
        .eval_batch_size(training.per_device_eval_batch_size)
        .label_smoothing(training.label_smoothing_factor)
        .frozen(&arguments.freeze);
    let fitted = fit(
        device,
        &mut task,
        trainable.parameters,
        (training, arguments.validation_file.as_ref()),
        callbacks,
        say,
        &mut timings,
    )?;
    let outcome = fitted.outcome;
    let known = outcome.evaluations.iter().find(|e| e.step == fitted.kept);
    let validation = match known {
        Some(entry) => Some(entry.evaluation.clone()),
        None => task.evaluate()?,
    };
    let done = TrainedLM {
        outcome,
        validation,
        parameters,
        peak_bytes: fitted.peak_bytes,
        report: training.output_dir.join("report.html"),
    };
    write_results(device, arguments, &done, timings)?;
    Ok(done)
}

/// Writes `results.json` and the report.
fn write_results(
    device: &Device,
    arguments: &CausalLMArguments,
    done: &TrainedLM,
    timings: Vec<(String, f64)>,
) -> Result<()> {
    let settings = all_settings(arguments.settings(), done.parameters, done.peak_bytes);
    let counts = (done.parameters, done.peak_bytes);
    let mut results = fit::results(device, &done.outcome, counts, &settings, &timings);
    let mut final_metrics = Vec::new();
    if let Some(evaluation) = &done.validation {
        let metrics = evaluation.metrics.iter().map(|(k, v)| (k.as_str(), *v));
        for (name, value) in metrics.chain([("loss", evaluation.loss)]) {
            results[format!("eval_{name}")] = json!(value);
            final_metrics.push((format!("validation {name}"), value));
        }
    }
    let output = &arguments.training.output_dir;
    if !fit::write_results(output, &done.outcome, &results)? {
        return Ok(());
    }
    let model = &arguments.model_name_or_path;
    let report = Report {
        final_metrics,
        ..fit::report(device, &done.outcome, model, settings, timings)
    };
    report.write_html(&done.report)
}
