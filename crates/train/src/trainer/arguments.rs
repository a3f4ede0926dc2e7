//! How long and how to train.

use std::path::PathBuf;

use wgrad_tensor::DType;

use crate::sampler::Order;

/// How long and how to train. Names as `transformers`' `TrainingArguments` has them.
#[derive(Debug, Clone)]
pub struct TrainingArguments {
    /// Where log and checkpoints go; it must exist.
    pub output_dir: PathBuf,
    /// May be a fraction.
    pub num_train_epochs: f64,
    /// Optimizer steps in all; overrides the epochs.
    pub max_steps: Option<u64>,
    pub per_device_train_batch_size: usize,
    /// Batches whose gradients are averaged before an optimizer step.
    pub gradient_accumulation_steps: usize,
    /// Gradients are scaled so that their global norm is at most this.
    pub max_grad_norm: Option<f64>,
    /// Optimizer steps between two log lines. Reading a loss waits for the device.
    pub logging_steps: u64,
    /// Optimizer steps between two evaluations; at the end of each epoch if not given.
    pub eval_steps: Option<u64>,
    /// Evaluations without improvement after which training stops.
    pub early_stopping_patience: Option<usize>,
    /// Activations and their gradients in f16, parameters in f32, losses scaled: mixed precision.
    pub fp16: bool,
    pub seed: u64,
    pub order: Order,
    /// Go on from `checkpoint-last` in the output folder.
    pub resume: bool,
    /// Whether checkpoints are written: the last, and the best by validation accuracy.
    pub save: bool,
}

impl TrainingArguments {
    /// `transformers`' defaults, writing to `output_dir`.
    pub fn new(output_dir: impl Into<PathBuf>) -> Self {
        Self {
            output_dir: output_dir.into(),
            num_train_epochs: 3.0,
            max_steps: None,
            per_device_train_batch_size: 8,
            gradient_accumulation_steps: 1,
            max_grad_norm: Some(1.0),
            logging_steps: 10,
            eval_steps: None,
            early_stopping_patience: None,
            fp16: false,
            seed: 42,
            order: Order::LengthGrouped,
            resume: false,
            save: true,
        }
    }

    /// The type of activations.
    pub fn dtype(&self) -> DType {
        match self.fp16 {
            true => DType::F16,
            false => DType::F32,
        }
    }

    /// Optimizer steps in one epoch over `examples` examples.
    pub fn steps_per_epoch(&self, examples: usize) -> u64 {
        let batches = examples.div_ceil(self.per_device_train_batch_size.max(1));
        batches.div_ceil(self.gradient_accumulation_steps.max(1)) as u64
    }

    /// Optimizer steps of the whole run.
    pub fn total_steps(&self, examples: usize) -> u64 {
        self.max_steps.unwrap_or(
            (self.num_train_epochs * self.steps_per_epoch(examples) as f64).ceil() as u64,
        )
    }
}
