//! Fine-tunes a BERT through the library, with a callback.
//!
//! Run: cargo xtask fetch (prints the two folders), then
//! cargo run --release --example finetune -- MODEL_FOLDER TRAIN.tsv OUTPUT_FOLDER

use std::path::PathBuf;

use anyhow::Context;
use wgrad::models::finetune::{FineTuneArguments, fine_tune};
use wgrad::prelude::*;
use wgrad::train::trainer::{Callbacks, TrainingArguments};

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1).map(PathBuf::from);
    let mut next = |what: &str| {
        words
            .next()
            .with_context(|| format!("give {what}: see the top of this file"))
    };
    let (model, file, output) = (
        next("a model folder")?,
        next("a training file")?,
        next("an output folder")?,
    );
    let device = Device::open(DeviceOptions::default())?;
    let arguments = FineTuneArguments {
        freeze_encoder: true,
        learning_rate: 1e-3,
        training: TrainingArguments {
            max_steps: Some(100),
            per_device_train_batch_size: 32,
            ..TrainingArguments::new(output)
        },
        ..FineTuneArguments::new(model, file)
    };
    let mut callbacks = Callbacks {
        on_step: Some(Box::new(|log| {
            println!("step {:3}: loss {:.4}", log.step, log.loss)
        })),
        ..Callbacks::default()
    };
    let done = fine_tune(&device, &arguments, &mut callbacks, &|line| {
        println!("{line}")
    })?;
    println!(
        "trained {} of {} parameters; report: {}",
        done.parameters.0,
        done.parameters.1,
        done.report.display()
    );
    Ok(())
}
