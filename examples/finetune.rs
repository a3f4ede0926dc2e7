//! Fine-tunes a BERT through the library, with callbacks.
//!
//! Run: cargo xtask fetch (prints the two folders), then
//! cargo run --release --example finetune -- MODEL_FOLDER TRAIN.tsv OUTPUT_FOLDER

use std::path::PathBuf;

use anyhow::Context;
use wgrad::models::tasks::text_classification::{TextClassificationArguments, fine_tune};
use wgrad::prelude::*;
use wgrad::train::{Callbacks, Flow};

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
    let mut arguments = TextClassificationArguments::new(model, file, output);
    arguments.freeze_encoder = true;
    arguments.training.learning_rate = 1e-3;
    arguments.training.max_steps = 100;
    arguments.training.per_device_train_batch_size = 32;
    let mut callbacks = Callbacks::new().on_step(|log| {
        println!("step {:3}: loss {:.4}", log.step, log.loss);
        // Enough is enough: the run ends here, with a checkpoint.
        Ok(match log.loss < 0.05 {
            true => Flow::Stop,
            false => Flow::Continue,
        })
    });
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
