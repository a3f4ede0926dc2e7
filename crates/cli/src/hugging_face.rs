//! Flags of `transformers`' training scripts that `finetune` does not have. Flags that ask for its default behaviour are
//! accepted; for the others, the error names the flag that does the same here.

use anyhow::{Result, ensure};
use clap::Args;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Flags that change nothing. `false` is refused if `finetune` cannot switch the behaviour off.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct NoEffect {
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    do_train: Option<bool>,
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    do_eval: Option<bool>,
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    overwrite_output_dir: Option<bool>,
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    load_best_model_at_end: Option<bool>,
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    group_by_length: Option<bool>,
}

impl NoEffect {
    /// Refuses a `false` that `finetune` would not follow.
    pub fn check(&self) -> Result<()> {
        for (flag, value, instead) in [
            ("do_train", self.do_train, "use wgrad predict"),
            ("do_eval", self.do_eval, "leave out --validation_file"),
            (
                "load_best_model_at_end",
                self.load_best_model_at_end,
                "use --no_checkpoints, which keeps the last step's model",
            ),
            (
                "group_by_length",
                self.group_by_length,
                "use --no_group_by_length",
            ),
        ] {
            ensure!(value != Some(false), "--{flag} false: {instead}");
        }
        // An output folder is always written over.
        let _ = self.overwrite_output_dir;
        Ok(())
    }
}

/// Flags, and their replacements here.
const ANSWERS: [(&str, &str); 27] = [
    (
        "eval_strategy",
        "--eval_steps N, or nothing for once an epoch",
    ),
    (
        "evaluation_strategy",
        "--eval_steps N, or nothing for once an epoch",
    ),
    ("logging_strategy", "--logging_steps N"),
    (
        "save_steps",
        "--eval_steps N: a checkpoint is written at each evaluation",
    ),
    ("save_strategy", "--eval_steps N, or --no_checkpoints"),
    (
        "save_total_limit",
        "nothing: checkpoint-last and checkpoint-best are kept",
    ),
    ("do_predict", "--test_file FILE"),
    ("dataset_name", "--train_file FILE"),
    ("dataset_config_name", "--train_file FILE"),
    (
        "task_name",
        "--train_file FILE, --text_column, --text_pair_column, --label_column",
    ),
    ("text_column_name", "--text_column"),
    ("text_column_names", "--text_column and --text_pair_column"),
    ("sentence1_key", "--text_column"),
    ("sentence2_key", "--text_pair_column"),
    ("label_column_name", "--label_column"),
    ("do_regression", "--problem_type regression"),
    ("metric_name", "--metric_for_best_model"),
    ("max_length", "--max_seq_length N"),
    (
        "pad_to_max_length",
        "nothing: texts are padded to the longest of their batch",
    ),
    ("bf16", "--fp16"),
    ("tf32", "nothing: f32 is computed in f32"),
    ("use_cpu", "--adapter NAME"),
    ("no_cuda", "--adapter NAME"),
    (
        "report_to",
        "nothing: log.jsonl and report.html are written to --output_dir",
    ),
    ("logging_dir", "--output_dir"),
    ("max_predict_samples", "a shorter --test_file"),
    ("train_batch_size", "--per_device_train_batch_size N"),
];

/// One line for a flag that only `transformers` has.
pub fn answer(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let ContextValue::String(given) = error.get(ContextKind::InvalidArg)? else {
        return None;
    };
    let name = given.trim_start_matches('-').replace('-', "_");
    let (flag, instead) = ANSWERS.iter().find(|(flag, _)| *flag == name)?;
    Some(format!(
        "error: there is no --{flag}; use {instead}; see --help"
    ))
}
