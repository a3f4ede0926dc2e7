//! What a fine-tuning is told.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use wgrad_train::trainer::TrainingArguments;

/// What to fine-tune, on what and how. Names as `transformers` spells them.
#[derive(Debug, Clone)]
pub struct FineTuneArguments {
    /// A folder as `transformers` saves it.
    pub model_name_or_path: PathBuf,
    /// TSV, CSV or JSONL with a header.
    pub train_file: PathBuf,
    pub validation_file: Option<PathBuf>,
    pub test_file: Option<PathBuf>,
    pub text_column: String,
    pub label_column: String,
    /// That many rows only, drawn by the seed.
    pub max_train_samples: Option<usize>,
    /// That many rows of the validation file only, drawn by the seed.
    pub max_eval_samples: Option<usize>,
    /// Tokens of a text at most; the model's own limit bounds it.
    pub max_seq_length: usize,
    pub learning_rate: f64,
    pub weight_decay: f64,
    /// `adamw`, `adam` or `sgd`.
    pub optim: String,
    /// Of `sgd`.
    pub momentum: f64,
    pub lr_scheduler_type: String,
    /// The share of all steps in which the learning rate rises.
    pub warmup_ratio: f64,
    /// Of `step`: steps between decays.
    pub lr_step_size: u64,
    /// Of `multistep`: the steps at which it decays.
    pub lr_milestones: Vec<u64>,
    /// Of `step`, `multistep`, `exponential` and `reduce_lr_on_plateau`: the factor.
    pub lr_gamma: f64,
    /// Of hidden states, attention and classifier; the model's own if not given.
    pub dropout: Option<f64>,
    /// Train the classification head only.
    pub freeze_encoder: bool,
    /// Freeze the embeddings and the lowest layers.
    pub freeze_layers: usize,
    /// Freeze further parameters by name pattern (`*` and `?`).
    pub freeze: Vec<String>,
    /// First values of the classifier's last layer.
    pub classifier_init: Option<PathBuf>,
    /// A safetensors file for every trained parameter's gradient at the first step, before clipping.
    pub save_gradients: Option<PathBuf>,
    /// Loop, checkpoints, log.
    pub training: TrainingArguments,
}

impl FineTuneArguments {
    /// `transformers`' defaults for a model folder and a training file; writes to `output`.
    pub fn new(model_name_or_path: impl Into<PathBuf>, train_file: impl Into<PathBuf>) -> Self {
        Self {
            model_name_or_path: model_name_or_path.into(),
            train_file: train_file.into(),
            validation_file: None,
            test_file: None,
            text_column: "text".into(),
            label_column: "label".into(),
            max_train_samples: None,
            max_eval_samples: None,
            max_seq_length: 128,
            learning_rate: 5e-5,
            weight_decay: 0.0,
            optim: "adamw".into(),
            momentum: 0.0,
            lr_scheduler_type: "linear".into(),
            warmup_ratio: 0.0,
            lr_step_size: 100,
            lr_milestones: Vec::new(),
            lr_gamma: 0.1,
            dropout: None,
            freeze_encoder: false,
            freeze_layers: 0,
            freeze: Vec::new(),
            classifier_init: None,
            save_gradients: None,
            training: TrainingArguments::new("output"),
        }
    }
    /// Refuses what could do nothing, or nothing sensible.
    pub(super) fn check(&self) -> Result<()> {
        for (name, most) in [
            ("max_train_samples", self.max_train_samples),
            ("max_eval_samples", self.max_eval_samples),
        ] {
            ensure!(
                most != Some(0),
                "{name} is 0; give at least 1, or leave it out to take every row"
            );
        }
        match self.training.early_stopping_patience {
            Some(_) => self.require_validation("early_stopping_patience"),
            None => Ok(()),
        }
    }

    /// Refuses `what`, which watches the validation data, where there is none.
    pub(super) fn require_validation(&self, what: &str) -> Result<()> {
        ensure!(
            self.validation_file.is_some(),
            "{what} watches the validation data, and there is none; give a validation_file"
        );
        Ok(())
    }
}
