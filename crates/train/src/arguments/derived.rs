//! What follows from the arguments: order, batches, numbers of steps, optimizer and schedule.

use anyhow::{Result, bail};
use serde_json::Value;
use wgrad_nn::Parameters;
use wgrad_nn::optim::{Adam, AdamConfig, AdamW, AdamWConfig, Optimizer, Sgd, SgdConfig, no_decay};
use wgrad_nn::schedule::{LrScheduler, Schedule, ScheduleOptions, warmup_steps};

use super::TrainingArguments;
use crate::sampler::{Order, Sampler};
use crate::strategy::{Every, Steps, Strategy};

impl TrainingArguments {
    /// How the training examples are ordered.
    ///
    /// # Errors
    /// An unknown `train_sampling_strategy`; arguments that contradict each other.
    pub fn order(&self) -> Result<Order> {
        let mut orders = Vec::new();
        if self.no_shuffle {
            orders.push(("no_shuffle", Order::Sequential));
        }
        if self.no_group_by_length {
            orders.push(("no_group_by_length", Order::Shuffled));
        }
        orders.extend(match self.group_by_length {
            Some(true) => Some(("group_by_length", Order::LengthGrouped)),
            Some(false) if !self.no_shuffle => Some(("group_by_length false", Order::Shuffled)),
            _ => None,
        });
        if let Some(name) = self.train_sampling_strategy.as_deref() {
            let order = match name {
                "group_by_length" => Order::LengthGrouped,
                "random" => Order::Shuffled,
                "sequential" => Order::Sequential,
                other => bail!(
                    "train_sampling_strategy is {other}; it must be group_by_length, random or sequential"
                ),
            };
            orders.push(("train_sampling_strategy", order));
        }
        let Some((first, order)) = orders.first().copied() else {
            return Ok(Order::LengthGrouped);
        };
        if let Some((other, _)) = orders.iter().find(|(_, another)| *another != order) {
            bail!("{first} and {other} contradict each other; give one of them");
        }
        Ok(order)
    }

    /// The batches of each epoch.
    ///
    /// # Errors
    /// Those of [`TrainingArguments::order`].
    pub fn sampler(&self) -> Result<Sampler> {
        let seed = self.data_seed.unwrap_or(self.seed);
        Ok(Sampler::new(
            self.per_device_train_batch_size,
            self.order()?,
            seed,
        ))
    }

    /// Whether checkpoints are written while training.
    pub fn saves_checkpoints(&self) -> bool {
        !self.no_checkpoints && self.save_strategy != Some(Strategy::Never)
    }

    /// When a run of `total` steps evaluates.
    pub(crate) fn evaluates(&self, total: u64) -> Every {
        let default = match self.eval_steps {
            Some(_) => Strategy::Steps,
            None => Strategy::Epoch,
        };
        let steps = self.eval_steps.unwrap_or(self.logging_steps).of(total);
        Every::new(self.eval_strategy.unwrap_or(default), steps)
    }

    /// How often a run over `examples` examples evaluates.
    pub fn evaluations(&self, examples: usize) -> u64 {
        let total = self.total_steps(examples);
        match self.evaluates(total) {
            Every::Never => 1,
            Every::Steps(steps) => total.div_ceil(steps),
            Every::Epoch => total.div_ceil(self.steps_per_epoch(examples).max(1)),
        }
    }

    /// When a run of `total` steps writes checkpoint-last; `None`: at each evaluation.
    pub(crate) fn saves(&self, total: u64) -> Option<Every> {
        let default = match self.save_steps {
            Some(_) => Some(Strategy::Steps),
            // Without evaluations there is nothing to follow.
            None if self.eval_strategy == Some(Strategy::Never) => Some(Strategy::Epoch),
            None => None,
        };
        let steps = self.save_steps.unwrap_or(Steps::Count(500)).of(total);
        Some(Every::new(self.save_strategy.or(default)?, steps))
    }

    /// When a run of `total` steps logs a step.
    pub(crate) fn logs(&self, total: u64) -> Every {
        let strategy = self.logging_strategy.unwrap_or(Strategy::Steps);
        Every::new(strategy, self.logging_steps.of(total))
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
        let (lr, eps) = (self.learning_rate, self.adam_epsilon);
        let betas = (self.adam_beta1, self.adam_beta2);
        Ok(match self.optimizer_kind()? {
            "adamw" => {
                let config = AdamWConfig {
                    lr,
                    betas,
                    eps,
                    ..AdamWConfig::default()
                };
                Box::new(AdamW::new(groups, config)?)
            }
            "adam" => {
                let config = AdamConfig {
                    lr,
                    betas,
                    eps,
                    ..AdamConfig::default()
                };
                Box::new(Adam::new(groups, config)?)
            }
            _ => {
                let config = SgdConfig {
                    lr,
                    momentum: self.momentum,
                    ..SgdConfig::default()
                };
                Box::new(Sgd::new(groups, config)?)
            }
        })
    }

    /// The optimizer that `optim` means: `adamw`, `adam` or `sgd`.
    ///
    /// # Errors
    /// An unknown name.
    pub fn optimizer_kind(&self) -> Result<&'static str> {
        Ok(match self.optim.as_str() {
            "adamw"
            | "adamw_torch"
            | "adamw_torch_fused"
            | "adamw_hf"
            | "adamw_apex_fused"
            | "adamw_torch_xla"
            | "adamw_torch_npu_fused" => "adamw",
            "adam" => "adam",
            "sgd" => "sgd",
            other => bail!("optim: there is no optimizer {other}; known are adamw, adam and sgd"),
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
                Steps::Count(0) => warmup_steps(total, self.warmup_ratio),
                steps => steps.of(total),
            },
            base_lr: self.learning_rate,
            total_steps: total,
            step_size: self.lr_step_size,
            gamma: self.lr_gamma,
            milestones: self.lr_milestones.clone(),
            ..ScheduleOptions::default()
        };
        options.plateau.factor = self.lr_gamma;
        if let Some(json) = &self.lr_scheduler_kwargs {
            match serde_json::from_str(json) {
                Ok(Value::Object(kwargs)) => options.kwargs = kwargs,
                _ => bail!(
                    "lr_scheduler_kwargs is `{json}`; give a JSON object: {{\"num_cycles\": 2}}"
                ),
            }
        }
        let schedule = Schedule::from_name(&self.lr_scheduler_type, &options)?;
        Ok(LrScheduler::new(self.learning_rate, schedule)?)
    }
}
