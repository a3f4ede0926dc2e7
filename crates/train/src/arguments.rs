//! How long and how to train: each flag is declared once, with its help and its default.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use wgrad_nn::Parameters;
use wgrad_nn::optim::{Adam, AdamConfig, AdamW, AdamWConfig, Optimizer, Sgd, SgdConfig, no_decay};
use wgrad_nn::schedule::{LrScheduler, Schedule, ScheduleOptions, warmup_steps};
use wgrad_tensor::DType;

use crate::sampler::{Order, Sampler};

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
        pub max_steps: i64 = -1,
        /// Training rows in a batch
        pub per_device_train_batch_size: usize = 8,
        /// Rows in a batch at most when nothing is trained [default: as many as fit in memory]
        #[cfg_attr(feature = "cli", arg(value_name = "N"))]
        pub per_device_eval_batch_size: Option<usize>,
        /// Batches whose gradients make one step: that of the mean over all their rows
        pub gradient_accumulation_steps: usize = 1,
        /// The largest learning rate of the schedule
        pub learning_rate: f64 = 5e-5,
        /// Decay of all parameters but biases and norms
        pub weight_decay: f64 = 0.0,
        /// adamw, adam or sgd
        pub optim: String = "adamw".to_owned(),
        /// Momentum of sgd
        pub momentum: f64 = 0.0,
        /// Clip gradients to this global norm; 0 turns clipping off
        pub max_grad_norm: f64 = 1.0,
        /// linear, cosine, constant, constant_with_warmup, step, multistep, exponential, reduce_lr_on_plateau
        pub lr_scheduler_type: String = "linear".to_owned(),
        /// Share of the steps in which the learning rate rises from 0
        pub warmup_ratio: f64 = 0.0,
        /// Steps in which the learning rate rises from 0; overrides warmup_ratio if above 0
        pub warmup_steps: u64 = 0,
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
        /// Steps between evaluations [default: once an epoch]
        pub eval_steps: Option<u64>,
        /// Steps between two lines of the log; reading a loss waits for the device
        pub logging_steps: u64 = 10,
        /// Compute in f16, keep parameters in f32, scale losses: faster and smaller on GPUs
        pub fp16: bool,
        /// Fixes the order of the rows, dropout and new parameters
        pub seed: u64 = 42,
        /// Take the training rows in the order of the file
        pub no_shuffle: bool,
        /// Shuffle without grouping texts of like length (more padding)
        #[cfg_attr(feature = "cli", arg(conflicts_with = "no_shuffle"))]
        pub no_group_by_length: bool,
        /// Go on from this checkpoint: a path, or a name in the output folder; checkpoint-last if not given
        #[cfg_attr(feature = "cli", arg(value_name = "PATH", num_args = 0..=1, default_missing_value = "checkpoint-last"))]
        pub resume_from_checkpoint: Option<PathBuf>,
        /// Write no checkpoints while training (the finished model is written all the same)
        pub no_checkpoints: bool,
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
                && self.logging_steps > 0
                && self.eval_steps != Some(0),
            "batch sizes, gradient_accumulation_steps, logging_steps and eval_steps must be at least 1"
        );
        ensure!(
            self.max_grad_norm >= 0.0,
            "max_grad_norm is {}; it must be above 0, or 0 for no clipping",
            self.max_grad_norm
        );
        ensure!(
            (0.0..=1.0).contains(&self.warmup_ratio),
            "warmup_ratio is {}, it must lie between 0 and 1",
            self.warmup_ratio
        );
        Ok(())
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

    /// The checkpoint to go on from, if the run is to be resumed.
    pub fn checkpoint(&self) -> Option<PathBuf> {
        let path = self.resume_from_checkpoint.as_ref()?;
        let name_only = path.components().count() == 1 && path.is_relative();
        Some(match name_only {
            true => self.output_dir.join(path),
            false => path.clone(),
        })
    }

    /// How the training examples are ordered.
    pub fn order(&self) -> Order {
        match (self.no_shuffle, self.no_group_by_length) {
            (true, _) => Order::Sequential,
            (false, true) => Order::Shuffled,
            (false, false) => Order::LengthGrouped,
        }
    }

    /// The batches of each epoch.
    pub fn sampler(&self) -> Sampler {
        Sampler::new(self.per_device_train_batch_size, self.order(), self.seed)
    }

    /// Optimizer steps in one epoch over `examples` examples.
    pub fn steps_per_epoch(&self, examples: usize) -> u64 {
        let batches = examples.div_ceil(self.per_device_train_batch_size.max(1));
        batches.div_ceil(self.gradient_accumulation_steps.max(1)) as u64
    }

    /// Optimizer steps of the whole run.
    pub fn total_steps(&self, examples: usize) -> u64 {
        match u64::try_from(self.max_steps) {
            Ok(steps) if steps > 0 => steps,
            _ => (self.num_train_epochs * self.steps_per_epoch(examples) as f64).ceil() as u64,
        }
    }

    /// The optimizer that `optim` names, without weight decay for biases and norms.
    ///
    /// # Errors
    /// An unknown name, numbers out of range, or an error of the optimizer.
    pub fn optimizer(&self, parameters: Parameters) -> Result<Box<dyn Optimizer>> {
        let groups = no_decay(parameters, self.weight_decay);
        let lr = self.learning_rate;
        Ok(match self.optim.as_str() {
            "adamw" | "adamw_torch" | "adamw_torch_fused" => {
                let config = AdamWConfig {
                    lr,
                    ..AdamWConfig::default()
                };
                Box::new(AdamW::new(groups, config)?)
            }
            "adam" => {
                let config = AdamConfig {
                    lr,
                    ..AdamConfig::default()
                };
                Box::new(Adam::new(groups, config)?)
            }
            "sgd" => {
                let config = SgdConfig {
                    lr,
                    momentum: self.momentum,
                    ..SgdConfig::default()
                };
                Box::new(Sgd::new(groups, config)?)
            }
            other => bail!("there is no optimizer \"{other}\"; known are adamw, adam and sgd"),
        })
    }

    /// The schedule that `lr_scheduler_type` names, over `total` optimizer steps.
    ///
    /// # Errors
    /// An unknown name and numbers out of range.
    pub fn scheduler(&self, total: u64) -> Result<LrScheduler> {
        self.check()?;
        let mut options = ScheduleOptions {
            warmup_steps: match self.warmup_steps {
                0 => warmup_steps(total, self.warmup_ratio),
                steps => steps,
            },
            total_steps: total,
            step_size: self.lr_step_size,
            gamma: self.lr_gamma,
            milestones: self.lr_milestones.clone(),
            ..ScheduleOptions::default()
        };
        options.plateau.factor = self.lr_gamma;
        let schedule = Schedule::from_name(&self.lr_scheduler_type, &options)?;
        Ok(LrScheduler::new(self.learning_rate, schedule)?)
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
        arguments.eval_steps = Some(5);
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
            (|a| a.eval_steps = Some(0), "eval_steps"),
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
