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
use crate::hugging_face;

/// Fine-tune a pretrained encoder on labelled texts; `finetune causal_lm` trains a language model
#[derive(Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct ClassificationArgs {
    #[command(flatten)]
    adapter: AdapterArg,
    #[command(flatten)]
    arguments: TextClassificationArguments,
    /// Notes about flags that change nothing here.
    #[arg(skip)]
    notes: Vec<String>,
}

/// Train a language model on a text: each token is a target of those before it
#[derive(Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct CausalLMArgs {
    #[command(flatten)]
    adapter: AdapterArg,
    #[command(flatten)]
    arguments: CausalLMArguments,
    /// Notes about flags that change nothing here.
    #[arg(skip)]
    notes: Vec<String>,
}

/// The task with its flags; text classification if none is named.
#[derive(Debug)]
pub enum FinetuneArgs {
    TextClassification(Box<ClassificationArgs>),
    CausalLM(Box<CausalLMArgs>),
}

const CAUSAL_LM: &str = "causal_lm";

/// Written by hand: a derive would mix the flags of both tasks, which share names.
impl Args for FinetuneArgs {
    fn augment_args(command: Command) -> Command {
        let language = CausalLMArgs::augment_args(Command::new(CAUSAL_LM));
        hugging_face::declare(ClassificationArgs::augment_args(command))
            .subcommand(hugging_face::declare(language))
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
                let args = CausalLMArgs::from_arg_matches(matches)?;
                let notes = hugging_face::notes(matches)?;
                Ok(Self::CausalLM(Box::new(CausalLMArgs { notes, ..args })))
            }
            _ => {
                let args = ClassificationArgs::from_arg_matches(matches)?;
                let notes = hugging_face::notes(matches)?;
                Ok(Self::TextClassification(Box::new(ClassificationArgs {
                    notes,
                    ..args
                })))
            }
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
        FinetuneArgs::TextClassification(args) => classify(*args),
        FinetuneArgs::CausalLM(args) => language(*args),
    }
}

fn callbacks() -> Result<Callbacks<'static>> {
    Ok(Callbacks::new().stop_flag(stop_on_interrupt()?).progress())
}

fn classify(args: ClassificationArgs) -> Result<()> {
    let arguments = args.arguments;
    for note in &args.notes {
        println!("{note}");
    }
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
    for note in &args.notes {
        println!("{note}");
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cli;
    use crate::args::usage_line;

    /// One line about these flags: nothing where they are taken in silence, notes, or the error.
    fn answer(command: &Command, task: &[&str], flags: &[&str]) -> String {
        let needed = [
            "--model_name_or_path=m",
            "--train_file=t.tsv",
            "--output_dir=o",
        ];
        // A flag may be one of those that are needed.
        let name = |word: &str| word.split('=').next().unwrap_or_default().to_owned();
        let needed = needed.iter().filter(|word| name(word) != flags[0]);
        let words = ["wgrad", "finetune"]
            .iter()
            .chain(task)
            .chain(needed)
            .chain(flags);
        let parsed = (command.clone().try_get_matches_from(words))
            .and_then(|matches| Cli::from_arg_matches(&matches));
        match parsed.map(|cli| cli.command) {
            Ok(crate::Command::Finetune(FinetuneArgs::TextClassification(args))) => {
                args.notes.join("\n")
            }
            Ok(crate::Command::Finetune(FinetuneArgs::CausalLM(args))) => args.notes.join("\n"),
            Ok(_) => "another command".to_owned(),
            Err(error) => usage_line(&error.to_string()),
        }
    }

    #[test]
    fn every_flag_of_transformers_is_taken_noted_or_answered() {
        let command = crate::args::command::<Cli>();
        let list = include_str!("../tests/cli/transformers_flags.tsv");
        let mut seen = 0;
        for line in list.lines().filter(|line| !line.starts_with('#')) {
            let mut columns = line.split('\t');
            let (flag, value) = (columns.next().unwrap(), columns.next().unwrap());
            for task in [&[][..], &[CAUSAL_LM]] {
                for name in [flag.to_owned(), flag.replace('_', "-")] {
                    let name = format!("--{name}");
                    let mut flags = vec![name.as_str()];
                    flags.extend((value != "-").then_some(value));
                    let line = answer(&command, task, &flags);
                    assert!(!line.contains('\n'), "{task:?} {flags:?}: {line}");
                    let known = line.is_empty()
                        || line.starts_with("note: --")
                        || line.starts_with("error: there is no --");
                    assert!(known, "{task:?} {flags:?}: {line}");
                }
                seen += 1;
            }
        }
        assert!(seen > 400, "{seen}");
    }

    #[test]
    fn answers_follow_the_value_and_the_task() {
        let command = crate::args::command::<Cli>();
        for (task, flags, words) in [
            (&[][..], &["--bf16"][..], "use --fp16"),
            (&[], &["--bf16", "False"], ""),
            (&[], &["--do_train"], ""),
            (&[], &["--do_train", "false"], "wgrad predict"),
            (&[], &["--report_to", "none"], ""),
            (&[], &["--report_to", "wandb"], "note: --report_to"),
            (&[], &["--max_length", "64"], ""),
            (&[CAUSAL_LM], &["--max_length", "64"], "--block_size"),
            (&[], &["--block_size", "64"], "--max_seq_length"),
            (&[], &["--fp16", "True"], ""),
            (&[], &["--fp16", "yes", "--no_shuffle"], ""),
            (&[], &["--fp16", "maybe"], "is not true or false"),
            (&[], &["--local_rank", "-1"], ""),
            (&[], &["--local_rank", "1"], "one process"),
            (&[], &["--fsdp", ""], ""),
            (
                &[],
                &["--learning_rat", "1"],
                "a similar argument exists: '--learning_rate';",
            ),
            (&[], &["--save_step", "1"], "'--save_steps'"),
        ] {
            let line = answer(&command, task, flags);
            assert!(line.contains(words), "{flags:?}: {line}");
            assert_eq!(line.is_empty(), words.is_empty(), "{flags:?}: {line}");
        }
    }
}
