//! The facts that every run has: its arguments, its order and metric, its device.

use anyhow::Result;
use wgrad_tensor::Device;

use crate::arguments::TrainingArguments;
use crate::early_stopping::BestMetric;
use crate::fact::Fact;
use crate::sampler::Order;

/// Arguments that do not change what is computed, or that another fact stands for.
const NO_FACTS: [&str; 18] = [
    "data_seed",
    "greater_is_better",
    "group_by_length",
    "load_best_model_at_end",
    "logging_steps",
    "logging_strategy",
    "metric_for_best_model",
    "no_checkpoints",
    "no_group_by_length",
    "no_shuffle",
    "optim",
    "output_dir",
    "overwrite_output_dir",
    "per_device_eval_batch_size",
    "resume_from_checkpoint",
    "save_steps",
    "save_strategy",
    "train_sampling_strategy",
];

/// Arguments that decide what the examples of a step are, or what the optimizer's state means.
const FIXED: [&str; 4] = [
    "fp16",
    "gradient_accumulation_steps",
    "per_device_train_batch_size",
    "seed",
];

/// All facts about a run: those of its arguments and its device, and the task's own.
pub(super) fn facts(
    arguments: &TrainingArguments,
    best_metric: &BestMetric,
    device: &Device,
    task: Vec<Fact>,
) -> Result<Vec<Fact>> {
    let mut facts = Vec::new();
    for (name, value) in arguments.settings() {
        if FIXED.contains(&name) {
            facts.push(Fact::fixed(name, value));
        } else if !NO_FACTS.contains(&name) {
            facts.push(Fact::setting(name, value));
        }
    }
    let order = match arguments.order()? {
        Order::Sequential => "that of the file",
        Order::Shuffled => "shuffled",
        Order::LengthGrouped => "shuffled by length",
    };
    let direction = match best_metric.greater_is_better {
        true => "greater is better",
        false => "less is better",
    };
    let metric = format!("{} ({direction})", best_metric.name);
    facts.extend([
        Fact::fixed("data_seed", arguments.data_seed.unwrap_or(arguments.seed)),
        Fact::fixed("optim", arguments.optimizer_kind()?),
        Fact::fixed(
            "the order of the texts (no_shuffle, no_group_by_length)",
            order,
        ),
        Fact::fixed("metric_for_best_model or greater_is_better", metric),
    ]);
    let adapter = device.adapter();
    facts.extend([
        Fact::setting("adapter", format!("{} ({})", adapter.name, adapter.driver)),
        Fact::saying(
            "tuned table",
            device.tuned_hash(),
            "the tuned table in force is another one, so sums may be rounded differently",
        ),
    ]);
    facts.extend(task);
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_that_decides_the_examples_is_one() {
        let names: Vec<&str> = TrainingArguments::default()
            .settings()
            .iter()
            .map(|(name, _)| *name)
            .collect();
        for name in NO_FACTS.iter().chain(&FIXED) {
            assert!(names.contains(name), "{name}");
        }
    }
}
