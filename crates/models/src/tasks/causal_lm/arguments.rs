//! What to train, on what and how: each flag of `wgrad finetune causal_lm` is declared here or in
//! `TrainingArguments`.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use wgrad_train::TrainingArguments;

use crate::tasks::fit::check_arguments;

/// The longest block if nobody says otherwise, as in `run_clm.py`.
const BLOCK_SIZE: usize = 1024;

wgrad_train::arguments! {
    /// What to train, on what and how. Names as `run_clm.py` of `transformers` spells them.
    pub struct CausalLMArguments {
        /// GGUF file, or folder of the pretrained model, as transformers saves it
        pub model_name_or_path: PathBuf,
        /// Training text: a UTF-8 text file
        pub train_file: PathBuf,
        /// Text for evaluations while training
        pub validation_file: Option<PathBuf>,
        /// Tokens of a block, which is one training example [default: the model's positions, at most 1024]
        #[cfg_attr(feature = "cli", arg(value_name = "N"))]
        pub block_size: Option<usize>,
        /// Train on the first N blocks only
        #[cfg_attr(feature = "cli", arg(value_name = "N"))]
        pub max_train_samples: Option<usize>,
        /// Validate on the first N blocks only
        #[cfg_attr(feature = "cli", arg(value_name = "N"))]
        pub max_eval_samples: Option<usize>,
        /// Freeze parameters by name, `*` and `?` allowed; may be repeated
        #[cfg_attr(feature = "cli", arg(value_name = "PATTERN"))]
        pub freeze: Vec<String>,
        flatten training: TrainingArguments,
    }
}

impl CausalLMArguments {
    /// The defaults for a model and a training text, writing to `output_dir`.
    pub fn new(
        model_name_or_path: impl Into<PathBuf>,
        train_file: impl Into<PathBuf>,
        output_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            model_name_or_path: model_name_or_path.into(),
            train_file: train_file.into(),
            training: TrainingArguments::new(output_dir),
            ..Self::default()
        }
    }

    /// Tokens of a block for a model with this many positions. Errors: it has fewer than the arguments ask for.
    pub(super) fn block_size(&self, positions: usize) -> Result<usize> {
        let size = self.block_size.unwrap_or(positions.min(BLOCK_SIZE));
        ensure!(
            size <= positions,
            "block_size is {size}, the model has {positions} positions; give at most {positions}"
        );
        Ok(size)
    }

    /// Refuses what could do nothing, or nothing sensible.
    pub(super) fn check(&self) -> Result<()> {
        check_arguments(
            &self.training,
            self.validation_file.as_ref(),
            [self.max_train_samples, self.max_eval_samples],
            "block",
        )?;
        if let Some(name) = &self.training.metric_for_best_model {
            let known = ["loss", "perplexity"];
            if !known.contains(&name.strip_prefix("eval_").unwrap_or(name)) {
                bail!(
                    "metric_for_best_model is `{name}`; for causal_lm there are {}",
                    known.join(", ")
                );
            }
        }
        Ok(())
    }
}
