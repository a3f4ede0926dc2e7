//! `wgrad finetune`: a pretrained encoder on labelled texts. Its flags are the fields of
//! `TextClassificationArguments` and `TrainingArguments`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use clap::Args;
use wgrad_models::tasks::text_classification::{
    FineTuned, Scores, TextClassificationArguments, fine_tune,
};
use wgrad_runtime::DeviceOptions;
use wgrad_train::progress::format_duration;
use wgrad_train::{Callbacks, StopReason};

use crate::args::AdapterArg;
use crate::hugging_face::NoEffect;

/// Fine-tune a pretrained encoder on labelled texts
#[derive(Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct FinetuneArgs {
    #[command(flatten)]
    adapter: AdapterArg,
    #[command(flatten)]
    arguments: TextClassificationArguments,
    #[command(flatten)]
    no_effect: NoEffect,
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
    let arguments = args.arguments;
    args.no_effect.check()?;
    // A mistake in the numbers is told before an adapter is opened.
    arguments.training.check()?;
    let device = args.adapter.open(DeviceOptions::default())?;
    let mut callbacks = Callbacks::new().stop_flag(stop_on_interrupt()?).progress();
    let done = fine_tune(&device, &arguments, &mut callbacks, &|text| {
        println!("{text}")
    })?;
    args.adapter.keep_pipelines(&device);
    let outcome = &done.outcome;
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
        done.peak_bytes as f64 / f64::from(1 << 20)
    );
    println!("model: {}", arguments.training.output_dir.display());
    println!("report: {}", done.report.display());
    print_scores(&done);
    Ok(())
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
