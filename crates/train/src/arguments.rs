//! How long and how to train: each flag is declared once, with its help and its default.

mod derived;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use wgrad_tensor::DType;

use crate::strategy::{Steps, Strategy};

/// Declares a struct of arguments. A field's doc comment is the help of its flag, the value behind `=` its
/// default; a field without one starts as nothing (`Option`, `Vec`), off (`bool`) or, for the command line,
/// is required. A `flatten` field holds another such struct.
///
/// The struct implements `Default`, and `settings` lists every argument with its value. With the crate's feature `cli` it also implements `clap::Args`, so that a
/// command needs no list of flags of its own.
#[macro_export]
macro_rules! arguments {
    (
        $(#[$($outer:tt)*])*
        pub struct $name:ident {
            $(
                $(#[$($meta:tt)*])*
                pub $field:ident: $type:ty $(= $default:expr)?,
            )*
            $(
                flatten $part:ident: $part_type:ty,
            )*
        }
    ) => {
        $(#[$($outer)*])*
        #[derive(Debug, Clone)]
        #[cfg_attr(feature = "cli", derive(clap::Args), command(rename_all = "snake_case"))]
        pub struct $name {
            $(
                $(#[$($meta)*])*
                #[cfg_attr(feature = "cli", arg(long))]
                $(#[cfg_attr(feature = "cli", arg(default_value_t = $default))])?
                pub $field: $type,
            )*
            $(
                /// Further arguments, declared in a struct of their own.
                #[cfg_attr(feature = "cli", command(flatten))]
                pub $part: $part_type,
            )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: $crate::arguments!(@default $($default)?),)*
                    $($part: Default::default(),)*
                }
            }
        }

        impl $name {
            /// Every argument with its value, for reports.
            pub fn settings(&self) -> Vec<(&'static str, String)> {
                let mut all = vec![
                    $((stringify!($field), $crate::setting(&self.$field)),)*
                ];
                $(all.extend(self.$part.settings());)*
                all.sort_unstable_by_key(|(name, _)| *name);
                all
            }
        }
    };
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
}

/// The value of an argument as text: `none` for nothing, no quotation marks.
pub fn setting(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    let text = match text.strip_prefix("Some(") {
        Some(inside) => inside.strip_suffix(')').unwrap_or(inside),
        None if text == "None" => "none",
        None => &text,
    };
    text.trim_matches('"').to_owned()
}

arguments! {
    /// How long and how to train. Names and defaults as `transformers`' `TrainingArguments` has them.
    pub struct TrainingArguments {
        /// Folder for the model, checkpoints, log.jsonl, results.json and report.html
        pub output_dir: PathBuf,
        /// Passes over the training rows; may be a fraction
        pub num_train_epochs: f64 = 3.0,
        /// Optimizer steps in all; overrides num_train_epochs if above 0
        #[cfg_attr(feature = "cli", arg(alias = "max_train_steps"))]
        pub max_steps: i64 = -1,
        /// Training rows in a batch
        #[cfg_attr(feature = "cli", arg(aliases = ["per_gpu_train_batch_size", "train_batch_size"]))]
        pub per_device_train_batch_size: usize = 8,
        /// Rows in a batch at most when nothing is trained [default: as many as fit in memory]
        #[cfg_attr(feature = "cli", arg(value_name = "N", alias = "per_gpu_eval_batch_size"))]
        pub per_device_eval_batch_size: Option<usize>,
        /// Batches whose gradients make one step: that of the mean over all their rows
        pub gradient_accumulation_steps: usize = 1,
        /// The largest learning rate of the schedule
        pub learning_rate: f64 = 5e-5,
        /// Decay of all parameters but biases and norms
        pub weight_decay: f64 = 0.0,
        /// adamw, adam or sgd; adamw_torch and the other names of transformers for these mean the same
        pub optim: String = "adamw".to_owned(),
        /// Momentum of sgd
        pub momentum: f64 = 0.0,
        /// Decay rate of the average of the gradient in adamw and adam
        pub adam_beta1: f64 = 0.9,
        /// Decay rate of the average of the squared gradient in adamw and adam
        pub adam_beta2: f64 = 0.999,
        /// Added to the denominator in adamw and adam
        pub adam_epsilon: f64 = 1e-8,
        /// The part of a class label that is spread evenly over all classes
        pub label_smoothing_factor: f64 = 0.0,
        /// Clip gradients to this global norm; 0 turns clipping off
        pub max_grad_norm: f64 = 1.0,
        /// linear, cosine, cosine_with_restarts, cosine_with_min_lr, cosine_warmup_with_min_lr, polynomial, inverse_sqrt,
        /// warmup_stable_decay, constant, constant_with_warmup, step, multistep, exponential, reduce_lr_on_plateau
        pub lr_scheduler_type: String = "linear".to_owned(),
        /// Further numbers of the schedule as JSON, named as in transformers: {"num_cycles": 2}
        #[cfg_attr(feature = "cli", arg(value_name = "JSON"))]
        pub lr_scheduler_kwargs: Option<String>,
        /// Share of the steps in which the learning rate rises from 0
        pub warmup_ratio: f64 = 0.0,
        /// Steps in which the learning rate rises from 0, or below 1 their share; overrides warmup_ratio if above 0
        #[cfg_attr(feature = "cli", arg(alias = "num_warmup_steps"))]
        pub warmup_steps: Steps = Steps::Count(0),
        /// Steps between decays of the step schedule
        pub lr_step_size: u64 = 100,
        /// Steps at which the multistep schedule decays, by comma
        #[cfg_attr(feature = "cli", arg(value_delimiter = ','))]
        pub lr_milestones: Vec<u64>,
        /// Factor of the step, multistep, exponential and reduce_lr_on_plateau schedules
        pub lr_gamma: f64 = 0.1,
        /// Metric that decides which checkpoint is best, when to stop early and when a plateau is reached:
        /// loss, accuracy, f1 and so on, as the log names them [default: accuracy for single labels, f1 for
        /// several, loss for numbers; a plateau uses the loss]
        #[cfg_attr(feature = "cli", arg(value_name = "NAME"))]
        pub metric_for_best_model: Option<String>,
        /// Whether more of that metric is better [default: by its name: not for losses and errors]
        #[cfg_attr(feature = "cli", arg(value_name = "BOOL", num_args = 0..=1, default_missing_value = "true"))]
        pub greater_is_better: Option<bool>,
        /// Stop after N evaluations without a better value of metric_for_best_model
        #[cfg_attr(feature = "cli", arg(value_name = "N"))]
        pub early_stopping_patience: Option<usize>,
        /// When to evaluate: no, steps or epoch [default: steps if eval_steps is given, else epoch]
        #[cfg_attr(feature = "cli", arg(value_name = "WHEN", alias = "evaluation_strategy"))]
        pub eval_strategy: Option<Strategy>,
        /// Steps between evaluations, or below 1 their share of all steps [default: logging_steps]
        #[cfg_attr(feature = "cli", arg(value_name = "N"))]
        pub eval_steps: Option<Steps>,
        /// Epochs (with eval_strategy steps: steps) before the first evaluation
        pub eval_delay: f64 = 0.0,
        /// When to write checkpoint-last: no, steps, epoch or best (only checkpoint-best while training) [default: steps
        /// if save_steps is given, else at each evaluation]
        #[cfg_attr(feature = "cli", arg(value_name = "WHEN"))]
        pub save_strategy: Option<Strategy>,
        /// Steps between checkpoints, or below 1 their share of all steps [default: 500]
        #[cfg_attr(feature = "cli", arg(value_name = "N"))]
        pub save_steps: Option<Steps>,
        /// Keep the best model on the validation data; false keeps the last step's [default: true]
        #[cfg_attr(feature = "cli", arg(value_name = "BOOL", num_args = 0..=1, default_missing_value = "true"))]
        pub load_best_model_at_end: Option<bool>,
        /// When to log: no (the last step only), steps or epoch [default: steps]
        #[cfg_attr(feature = "cli", arg(value_name = "WHEN"))]
        pub logging_strategy: Option<Strategy>,
        /// Steps between two lines of the log, or below 1 their share of all steps; reading a loss waits for the device
        pub logging_steps: Steps = Steps::Count(10),
        /// Compute in f16, keep parameters in f32, scale losses: faster and smaller on GPUs
        pub fp16: bool,
        /// Fixes the order of the rows, dropout and new parameters
        pub seed: u64 = 42,
        /// Fixes the order of the rows alone [default: seed]
        #[cfg_attr(feature = "cli", arg(value_name = "N"))]
        pub data_seed: Option<u64>,
        /// Take the training rows in the order of the file
        pub no_shuffle: bool,
        /// Shuffle without grouping texts of like length (more padding)
        pub no_group_by_length: bool,
        /// Group texts of like length in a batch; false is --no_group_by_length [default: true]
        #[cfg_attr(feature = "cli", arg(value_name = "BOOL", num_args = 0..=1, default_missing_value = "true"))]
        pub group_by_length: Option<bool>,
        /// group_by_length, random (--no_group_by_length) or sequential (--no_shuffle)
        #[cfg_attr(feature = "cli", arg(value_name = "NAME"))]
        pub train_sampling_strategy: Option<String>,
        /// Go on from this checkpoint: a path, the folder of a run, or a name in the output folder; checkpoint-last if not
        /// given
        #[cfg_attr(feature = "cli", arg(value_name = "PATH", num_args = 0..=1, default_missing_value = "checkpoint-last"))]
        pub resume_from_checkpoint: Option<PathBuf>,
        /// Write no checkpoints while training (the finished model is written all the same)
        pub no_checkpoints: bool,
        /// Do not keep the results of a finished run in output_dir as previous_run
        pub overwrite_output_dir: bool,
    }
}

impl TrainingArguments {
    /// The defaults, writing to `output_dir`, which must exist.
    pub fn new(output_dir: impl Into<PathBuf>) -> Self {
        Self {
            output_dir: output_dir.into(),
            ..Self::default()
        }
    }

    /// Refuses numbers that make no sense.
    ///
    /// # Errors
    /// Names the argument, its value and what is possible.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.per_device_train_batch_size > 0
                && self.per_device_eval_batch_size != Some(0)
                && self.gradient_accumulation_steps > 0
                && !self.logging_steps.is_zero()
                && !self.eval_steps.is_some_and(Steps::is_zero)
                && !self.save_steps.is_some_and(Steps::is_zero),
            "batch sizes, gradient_accumulation_steps, logging_steps, eval_steps and save_steps must be at least 1"
        );
        ensure!(
            self.max_grad_norm >= 0.0,
            "max_grad_norm is {}; it must be above 0, or 0 for no clipping",
            self.max_grad_norm
        );
        for (name, value) in [
            ("warmup_ratio", self.warmup_ratio),
            ("label_smoothing_factor", self.label_smoothing_factor),
        ] {
            ensure!(
                (0.0..=1.0).contains(&value),
                "{name} is {value}, it must lie between 0 and 1"
            );
        }
        for (name, strategy) in [
            ("eval_strategy", self.eval_strategy),
            ("logging_strategy", self.logging_strategy),
        ] {
            ensure!(
                strategy != Some(Strategy::Best),
                "{name} is best; it must be no, steps or epoch"
            );
        }
        ensure!(
            self.load_best_model_at_end != Some(true) || self.saves_checkpoints(),
            "load_best_model_at_end needs checkpoints; leave out no_checkpoints and save_strategy no"
        );
        if self.eval_strategy == Some(Strategy::Never) {
            for (name, watches) in [
                (
                    "early_stopping_patience",
                    self.early_stopping_patience.is_some(),
                ),
                (
                    "load_best_model_at_end",
                    self.load_best_model_at_end == Some(true),
                ),
                (
                    "lr_scheduler_type reduce_lr_on_plateau",
                    self.lr_scheduler_type == "reduce_lr_on_plateau",
                ),
                (
                    "save_strategy best",
                    self.save_strategy == Some(Strategy::Best),
                ),
            ] {
                ensure!(
                    !watches,
                    "{name} needs evaluations, and eval_strategy is no; give eval_strategy steps or epoch"
                );
            }
        }
        self.order().map(|_| ())
    }

    /// The type of activations.
    pub fn dtype(&self) -> DType {
        match self.fp16 {
            true => DType::F16,
            false => DType::F32,
        }
    }

    /// The largest global norm of the gradients, if they are clipped.
    pub fn clip(&self) -> Option<f64> {
        (self.max_grad_norm > 0.0).then_some(self.max_grad_norm)
    }

    /// The checkpoint to go on from, if the run is to be resumed. `True` and `False` mean what they mean to
    /// `transformers`' parser.
    pub fn checkpoint(&self) -> Option<PathBuf> {
        let path = self.resume_from_checkpoint.as_ref()?;
        let path = match path.to_str() {
            Some("True" | "true") => Path::new("checkpoint-last"),
            Some("False" | "false") => return None,
            _ => path,
        };
        let holds = |path: &Path, name: &str| path.join(name).join("trainer_state.json").exists();
        let name_only = path.components().count() == 1 && path.is_relative();
        let of_output = name_only && !holds(path, "checkpoint-last");
        let path = match of_output {
            true => self.output_dir.join(path),
            false => path.to_owned(),
        };
        // The folder of a run stands for its last checkpoint.
        Some(match !holds(&path, "") && holds(&path, "checkpoint-last") {
            true => path.join("checkpoint-last"),
            false => path,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_settings_follow_from_the_declaration() {
        let mut arguments = TrainingArguments::new("out");
        assert_eq!(arguments.num_train_epochs, 3.0);
        assert_eq!(arguments.total_steps(17), 9);
        arguments.eval_steps = Some(5.into());
        arguments.max_steps = 4;
        assert_eq!(arguments.total_steps(17), 4);
        let settings = arguments.settings();
        let value = |name: &str| {
            let found = settings.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(value("output_dir"), Some("out"));
        assert_eq!(value("optim"), Some("adamw"));
        assert_eq!(value("eval_steps"), Some("5"));
        assert_eq!(value("early_stopping_patience"), Some("none"));
        assert_eq!(value("learning_rate"), Some("5e-5"));
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        for (change, word) in [
            (
                (|a| a.max_grad_norm = -1.0) as fn(&mut TrainingArguments),
                "max_grad_norm is -1",
            ),
            (|a| a.warmup_ratio = 2.0, "warmup_ratio is 2"),
            (|a| a.eval_steps = Some(0.into()), "eval_steps"),
            (|a| a.save_steps = Some(0.into()), "save_steps"),
            (
                |a| a.label_smoothing_factor = 1.5,
                "label_smoothing_factor is 1.5",
            ),
            (
                |a| a.eval_strategy = Some(Strategy::Best),
                "eval_strategy is best",
            ),
            (|a| a.per_device_train_batch_size = 0, "batch sizes"),
        ] {
            let mut arguments = TrainingArguments::new("out");
            arguments.check().unwrap();
            change(&mut arguments);
            let line = arguments.check().unwrap_err().to_string();
            assert!(line.contains(word), "{line}");
        }
    }
}
