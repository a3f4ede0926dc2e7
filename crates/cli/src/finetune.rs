//! `wgrad finetune`: a pretrained encoder on labelled texts.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use clap::Args;
use wgrad_models::finetune::{FineTuneArguments, fine_tune};
use wgrad_runtime::DeviceOptions;
use wgrad_train::metrics::ClassificationMetrics;
use wgrad_train::progress::format_duration;
use wgrad_train::sampler::Order;
use wgrad_train::trainer::{Callbacks, StopReason, TrainingArguments};

use crate::args::AdapterArg;

/// Fine-tune a pretrained encoder on labelled texts
#[derive(Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct FinetuneArgs {
    #[command(flatten)]
    adapter: AdapterArg,
    /// Folder of the pretrained model, as transformers saves it
    #[arg(long)]
    model_name_or_path: PathBuf,
    /// Training texts: TSV, CSV or JSONL with a header
    #[arg(long)]
    train_file: PathBuf,
    #[arg(long)]
    validation_file: Option<PathBuf>,
    #[arg(long)]
    test_file: Option<PathBuf>,
    #[arg(long, default_value = "text")]
    text_column: String,
    #[arg(long, default_value = "label")]
    label_column: String,
    /// Train on N rows only, drawn by the seed
    #[arg(long, value_name = "N")]
    max_train_samples: Option<usize>,
    /// Validate on N rows only, drawn by the seed
    #[arg(long, value_name = "N")]
    max_eval_samples: Option<usize>,
    /// Folder for the model, checkpoints, log.jsonl, results.json and report.html
    #[arg(long)]
    output_dir: PathBuf,
    #[arg(long, default_value_t = 5e-5, allow_negative_numbers = true)]
    learning_rate: f64,
    /// Passes over the training rows; may be a fraction
    #[arg(long, default_value_t = 3.0, allow_negative_numbers = true)]
    num_train_epochs: f64,
    /// Optimizer steps in all; overrides num_train_epochs if above 0
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    max_steps: i64,
    #[arg(long, default_value_t = 8)]
    per_device_train_batch_size: usize,
    /// Batches whose gradients are averaged into one step
    #[arg(long, default_value_t = 1)]
    gradient_accumulation_steps: usize,
    /// Tokens of a text at most, special tokens included
    #[arg(long, default_value_t = 128)]
    max_seq_length: usize,
    /// Decay of all parameters but biases and norms
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    weight_decay: f64,
    /// Clip gradients to this global norm; 0 turns clipping off
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    max_grad_norm: f64,
    /// linear, cosine, constant, constant_with_warmup, step, multistep, exponential, reduce_lr_on_plateau
    #[arg(long, default_value = "linear")]
    lr_scheduler_type: String,
    /// Share of the steps in which the learning rate rises from 0
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    warmup_ratio: f64,
    /// Steps between decays of the step schedule
    #[arg(long, default_value_t = 100)]
    lr_step_size: u64,
    /// Steps at which the multistep schedule decays, by comma
    #[arg(long, value_delimiter = ',')]
    lr_milestones: Vec<u64>,
    /// Factor of the step, multistep, exponential and reduce_lr_on_plateau schedules
    #[arg(long, default_value_t = 0.1, allow_negative_numbers = true)]
    lr_gamma: f64,
    /// Dropout of hidden states, attention and classifier [default: the model's own]
    #[arg(long, allow_negative_numbers = true)]
    dropout: Option<f64>,
    /// Train the classification head only
    #[arg(long)]
    freeze_encoder: bool,
    /// Freeze the embeddings and the lowest N layers; what they compute is computed once
    #[arg(long, value_name = "N", default_value_t = 0)]
    freeze_layers: usize,
    /// Freeze parameters by name, `*` and `?` allowed; may be repeated
    #[arg(long, value_name = "PATTERN")]
    freeze: Vec<String>,
    /// Stop after N evaluations without a better validation accuracy
    #[arg(long, value_name = "N")]
    early_stopping_patience: Option<usize>,
    /// Steps between evaluations [default: once an epoch]
    #[arg(long)]
    eval_steps: Option<u64>,
    #[arg(long, default_value_t = 10)]
    logging_steps: u64,
    /// Compute in f16, keep parameters in f32, scale losses: faster and smaller on GPUs
    #[arg(long)]
    fp16: bool,
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Take the training rows in the order of the file
    #[arg(long)]
    no_shuffle: bool,
    /// Shuffle without grouping texts of like length (more padding)
    #[arg(long, conflicts_with = "no_shuffle")]
    no_group_by_length: bool,
    /// Safetensors file with classifier.weight and classifier.bias to start from
    #[arg(long, value_name = "FILE")]
    classifier_init: Option<PathBuf>,
    /// adamw, adam or sgd
    #[arg(long, default_value = "adamw")]
    optim: String,
    /// Momentum of sgd
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    momentum: f64,
    /// Go on from OUT/checkpoint-last
    #[arg(long)]
    resume_from_checkpoint: bool,
    /// Write no checkpoints while training (the finished model is written all the same)
    #[arg(long)]
    no_checkpoints: bool,
    /// Write every gradient of the first step to this safetensors file
    #[arg(long, value_name = "FILE")]
    save_gradients: Option<PathBuf>,
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

fn line(name: &str, metrics: &ClassificationMetrics) {
    println!(
        "{name} macro F1: {:.4}, Matthews correlation: {:.4}",
        metrics.macro_f1, metrics.matthews_corrcoef
    );
}

pub fn run(args: FinetuneArgs) -> Result<()> {
    ensure!(
        args.max_grad_norm >= 0.0,
        "max_grad_norm is {}; it must be above 0, or 0 for no clipping",
        args.max_grad_norm
    );
    let order = match (args.no_shuffle, args.no_group_by_length) {
        (true, _) => Order::Sequential,
        (false, true) => Order::Shuffled,
        (false, false) => Order::LengthGrouped,
    };
    let arguments = FineTuneArguments {
        model_name_or_path: args.model_name_or_path,
        train_file: args.train_file,
        validation_file: args.validation_file,
        test_file: args.test_file,
        text_column: args.text_column,
        label_column: args.label_column,
        max_train_samples: args.max_train_samples,
        max_eval_samples: args.max_eval_samples,
        max_seq_length: args.max_seq_length,
        learning_rate: args.learning_rate,
        weight_decay: args.weight_decay,
        optim: args.optim,
        momentum: args.momentum,
        lr_scheduler_type: args.lr_scheduler_type,
        warmup_ratio: args.warmup_ratio,
        lr_step_size: args.lr_step_size,
        lr_milestones: args.lr_milestones,
        lr_gamma: args.lr_gamma,
        dropout: args.dropout,
        freeze_encoder: args.freeze_encoder,
        freeze_layers: args.freeze_layers,
        freeze: args.freeze,
        classifier_init: args.classifier_init,
        save_gradients: args.save_gradients,
        training: TrainingArguments {
            output_dir: args.output_dir,
            num_train_epochs: args.num_train_epochs,
            max_steps: u64::try_from(args.max_steps)
                .ok()
                .filter(|steps| *steps > 0),
            per_device_train_batch_size: args.per_device_train_batch_size,
            gradient_accumulation_steps: args.gradient_accumulation_steps,
            max_grad_norm: (args.max_grad_norm > 0.0).then_some(args.max_grad_norm),
            logging_steps: args.logging_steps,
            eval_steps: args.eval_steps,
            early_stopping_patience: args.early_stopping_patience,
            fp16: args.fp16,
            seed: args.seed,
            order,
            resume: args.resume_from_checkpoint,
            save: !args.no_checkpoints,
        },
    };
    let device = args.adapter.open(DeviceOptions::default())?;
    let mut callbacks = Callbacks {
        stop: Some(stop_on_interrupt()?),
        progress: true,
        ..Callbacks::default()
    };
    let done = fine_tune(&device, &arguments, &mut callbacks, &|text| {
        println!("{text}")
    })?;
    args.adapter.keep_pipelines(&device);
    let outcome = &done.outcome;
    let reason = match outcome.reason {
        StopReason::Finished => "done",
        StopReason::EarlyStopping => "stopped early, no better validation accuracy",
        StopReason::Interrupted => "interrupted; go on with --resume_from_checkpoint",
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
    if let Some(metrics) = &done.validation {
        println!("validation accuracy: {:.4}", metrics.accuracy);
    }
    if let Some(metrics) = &done.test {
        line("test", metrics);
        println!("test accuracy: {:.4}", metrics.accuracy);
    }
    Ok(())
}
