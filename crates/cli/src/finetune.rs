//! `wgrad finetune`: a pretrained encoder on labelled texts, or with the task's name behind it a language model on a
//! text. The flags are the fields of `TextClassificationArguments`, `CausalLMArguments` and `TrainingArguments`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use clap::{ArgMatches, Args, Command, FromArgMatches};
use wgrad_models::tasks::causal_lm::{self, CausalLMArguments};
use wgrad_models::tasks::text_classification::{
    FineTuned, Scores, TextClassificationArguments, fine_tune,
};
use wgrad_runtime::DeviceOptions;
use wgrad_train::progress::format_duration;
use wgrad_train::{Callbacks, Outcome, StopReason, TrainingArguments};

use crate::args::AdapterArg;
use crate::hugging_face::NoEffect;

/// Fine-tune a pretrained encoder on labelled texts; `finetune causal_lm` trains a language model
#[derive(Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct ClassificationArgs {
    #[command(flatten)]
    adapter: AdapterArg,
    #[command(flatten)]
    arguments: TextClassificationArguments,
    #[command(flatten)]
    no_effect: NoEffect,
}

/// Train a language model on a text: each token is a target of those before it
#[derive(Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct CausalLMArgs {
    #[command(flatten)]
    adapter: AdapterArg,
    #[command(flatten)]
    arguments: CausalLMArguments,
    #[command(flatten)]
    no_effect: NoEffect,
}

/// The task with its flags; text classification if none is named.
#[derive(Debug)]
pub enum FinetuneArgs {
    TextClassification(ClassificationArgs),
    CausalLM(CausalLMArgs),
}

const CAUSAL_LM: &str = "causal_lm";

/// Written by hand: a derive would mix the flags of both tasks, which share names.
impl Args for FinetuneArgs {
    fn augment_args(command: Command) -> Command {
        ClassificationArgs::augment_args(command)
            .subcommand(CausalLMArgs::augment_args(Command::new(CAUSAL_LM)))
            .args_conflicts_with_subcommands(true)
            .subcommand_negates_reqs(true)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for FinetuneArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.subcommand() {
            Some((CAUSAL_LM, matches)) => {
                CausalLMArgs::from_arg_matches(matches).map(Self::CausalLM)
            }
            _ => ClassificationArgs::from_arg_matches(matches).map(Self::TextClassification),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Raised by Ctrl-C. A second Ctrl-C ends the process at once.
fn stop_on_interrupt() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = stop.clone();
    ctrlc::set_handler(move || {
        if raised.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .context("Ctrl-C cannot be caught")?;
    Ok(stop)
}

pub fn run(args: FinetuneArgs) -> Result<()> {
    match args {
        FinetuneArgs::TextClassification(args) => classify(args),
        FinetuneArgs::CausalLM(args) => language(args),
    }
}

fn callbacks() -> Result<Callbacks<'static>> {
    Ok(Callbacks::new().stop_flag(stop_on_interrupt()?).progress())
}

fn classify(args: ClassificationArgs) -> Result<()> {
    let arguments = args.arguments;
    args.no_effect.check()?;
    // Check the numbers before opening an adapter.
    arguments.training.check()?;
    let device = args.adapter.open(DeviceOptions::default())?;
    let done = fine_tune(&device, &arguments, &mut callbacks()?, &|text| {
        println!("{text}")
    })?;
    args.adapter.keep_pipelines(&device);
    print_outcome(&done.outcome, &arguments.training, done.peak_bytes);
    println!("report: {}", done.report.display());
    print_scores(&done);
    Ok(())
}

fn language(args: CausalLMArgs) -> Result<()> {
    let arguments = args.arguments;
    args.no_effect.check()?;
    arguments.training.check()?;
    let device = args.adapter.open(DeviceOptions::default())?;
    let done = causal_lm::fine_tune(&device, &arguments, &mut callbacks()?, &|text| {
        println!("{text}")
    })?;
    args.adapter.keep_pipelines(&device);
    print_outcome(&done.outcome, &arguments.training, done.peak_bytes);
    println!("report: {}", done.report.display());
    if let Some(evaluation) = &done.validation {
        println!("validation loss: {:.4}", evaluation.loss);
        for (name, value) in &evaluation.metrics {
            println!("validation {name}: {value:.4}");
        }
    }
    Ok(())
}

/// Prints how training ended, and the model's folder.
fn print_outcome(outcome: &Outcome, training: &TrainingArguments, peak_bytes: u64) {
    let reason = match outcome.reason {
        StopReason::Finished => "done".to_owned(),
        StopReason::EarlyStopping => format!(
            "stopped early, no better validation {}",
            outcome.best_metric.name
        ),
        StopReason::Interrupted => "interrupted; go on with --resume_from_checkpoint".to_owned(),
        StopReason::Callback => "stopped by a callback".to_owned(),
    };
    println!(
        "{reason}: {} steps in {}, {:.3} s a step, device memory peak {:.1} MiB",
        outcome.steps,
        format_duration(outcome.seconds),
        outcome.step_seconds,
        peak_bytes as f64 / f64::from(1 << 20)
    );
    println!("model: {}", training.output_dir.display());
}

fn print_scores(done: &FineTuned) {
    for (set, scores) in [("validation", &done.validation), ("test", &done.test)] {
        match scores {
            None => {}
            Some(Scores::Classes(metrics)) => {
                if set == "test" {
                    println!(
                        "test macro F1: {:.4}, Matthews correlation: {:.4}",
                        metrics.macro_f1, metrics.matthews_corrcoef
                    );
                }
                println!("{set} accuracy: {:.4}", metrics.accuracy);
            }
            Some(scores) => {
                for (name, value) in scores.named() {
                    println!("{set} {name}: {value:.4}");
                }
            }
        }
    }
}
