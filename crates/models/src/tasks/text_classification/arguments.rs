//! What to fine-tune, on what and how: each flag of `wgrad finetune` is declared here or in `TrainingArguments`.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use wgrad_train::TrainingArguments;
use wgrad_train::data::{Columns, ProblemType};

use crate::tasks::fit::check_arguments;

wgrad_train::arguments! {
    /// What to fine-tune, on what and how. Names as `transformers` spells them.
    pub struct TextClassificationArguments {
        /// Folder of the pretrained model, as transformers saves it
        pub model_name_or_path: PathBuf,
        /// Training texts: TSV, CSV or JSONL with a header
        pub train_file: PathBuf,
        /// Texts for evaluations while training
        pub validation_file: Option<PathBuf>,
        /// Texts for one evaluation at the end
        pub test_file: Option<PathBuf>,
        /// Write predict_results.txt, a prediction for each row of test_file; its labels may then be missing
        pub do_predict: bool,
        /// Column of the text
        #[cfg_attr(feature = "cli", arg(aliases = ["text_column_name", "sentence1_key"]))]
        pub text_column: String = "text".to_owned(),
        /// Column of a second text, for pairs of sentences
        #[cfg_attr(feature = "cli", arg(value_name = "COLUMN", alias = "sentence2_key"))]
        pub text_pair_column: Option<String>,
        /// Column of the label: a class, a list or `x,y` for several, a number for regression
        #[cfg_attr(feature = "cli", arg(alias = "label_column_name"))]
        pub label_column: String = "label".to_owned(),
        /// The delimiter between several labels in a cell
        pub label_delimiter: String = ",".to_owned(),
        /// single_label_classification, multi_label_classification or regression [default: what the labels look
        /// like (lists: several, decimal numbers: regression), else what the model's config.json says]
        pub problem_type: Option<ProblemType>,
        /// Train on N rows only, drawn by the seed
        #[cfg_attr(feature = "cli", arg(value_name = "N"))]
        pub max_train_samples: Option<usize>,
        /// Validate on N rows only, drawn by the seed
        #[cfg_attr(feature = "cli", arg(value_name = "N"))]
        pub max_eval_samples: Option<usize>,
        /// Test on the first N rows only
        #[cfg_attr(feature = "cli", arg(value_name = "N"))]
        pub max_predict_samples: Option<usize>,
        /// Tokens of a text or pair at most, special tokens included
        #[cfg_attr(feature = "cli", arg(alias = "max_length"))]
        pub max_seq_length: usize = 128,
        /// Dropout of hidden states, attention and classifier [default: the model's own]
        pub dropout: Option<f64>,
        /// Train the classification head only
        pub freeze_encoder: bool,
        /// Freeze the embeddings and the lowest N layers; what they compute is computed once
        #[cfg_attr(feature = "cli", arg(value_name = "N"))]
        pub freeze_layers: usize = 0,
        /// Freeze parameters by name, `*` and `?` allowed; may be repeated
        #[cfg_attr(feature = "cli", arg(value_name = "PATTERN"))]
        pub freeze: Vec<String>,
        /// Host memory for what frozen layers compute, in MiB; texts beyond it are computed in every epoch [default: a
        /// quarter of the free memory]
        #[cfg_attr(feature = "cli", arg(value_name = "MIB"))]
        pub feature_cache: Option<usize>,
        /// Safetensors file with classifier.weight and classifier.bias to start from
        #[cfg_attr(feature = "cli", arg(value_name = "FILE"))]
        pub classifier_init: Option<PathBuf>,
        /// Write every gradient of the first step, before clipping, to this safetensors file
        #[cfg_attr(feature = "cli", arg(value_name = "FILE"))]
        pub save_gradients: Option<PathBuf>,
        flatten training: TrainingArguments,
    }
}

impl TextClassificationArguments {
    /// The defaults for a model folder and a training file, writing to `output_dir`.
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

    /// The columns that are read.
    pub(super) fn columns(&self) -> Columns<'_> {
        Columns {
            text: &self.text_column,
            text_pair: self.text_pair_column.as_deref(),
            label: Some(&self.label_column),
        }
    }

    /// Refuses what could do nothing, or nothing sensible.
    pub(super) fn check(&self) -> Result<()> {
        ensure!(
            self.test_file.is_some() || !self.do_predict,
            "do_predict predicts the rows of the test file, and there is none; give a test_file"
        );
        ensure!(
            self.max_predict_samples != Some(0),
            "max_predict_samples is 0; give at least 1, or leave it out to take every row"
        );
        check_arguments(
            &self.training,
            self.validation_file.as_ref(),
            [self.max_train_samples, self.max_eval_samples],
            "row",
        )
    }
}
