//! The demo's two fine-tuning plans, side by side, and the choice between them.

/// How much of the fine-tune to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Size {
    /// A share of the data, lower layers frozen: minutes without a GPU.
    Small,
    /// One epoch over everything: the run that gives 0.84 with PyTorch.
    Full,
}

/// Flags of `wgrad finetune` that both plans share.
const BOTH: &[(&str, &str)] = &[
    ("--text_column", "text"),
    ("--label_column", "label"),
    ("--max_seq_length", "64"),
    ("--lr_scheduler_type", "linear"),
    ("--warmup_ratio", "0.1"),
    ("--dropout", "0.1"),
    ("--seed", "42"),
];

const FULL: &[(&str, &str)] = &[
    ("--num_train_epochs", "1"),
    ("--per_device_train_batch_size", "32"),
    ("--learning_rate", "5e-5"),
];

const SMALL: &[(&str, &str)] = &[
    ("--num_train_epochs", "1"),
    ("--per_device_train_batch_size", "16"),
    ("--learning_rate", "1e-3"),
    ("--freeze_layers", "5"),
    ("--max_train_samples", "3000"),
    ("--max_eval_samples", "256"),
];

impl Size {
    /// The plan's name, also its switch without the dashes.
    pub fn name(self) -> &'static str {
        match self {
            Size::Small => "small",
            Size::Full => "full",
        }
    }

    /// The plan's flags for `wgrad finetune`, without paths and adapter.
    pub fn flags(self) -> Vec<&'static str> {
        let own = match self {
            Size::Small => SMALL,
            Size::Full => FULL,
        };
        BOTH.iter()
            .chain(own)
            .flat_map(|&(flag, value)| [flag, value])
            .collect()
    }

    /// The plan for an adapter, by its WebGPU device type.
    pub fn for_device(device_type: &str) -> Self {
        if device_type.eq_ignore_ascii_case("cpu") {
            Size::Small
        } else {
            Size::Full
        }
    }

    /// One line: which plan, what it does, why, and how to get the other.
    pub fn announce(self, reason: &str) -> String {
        match self {
            Size::Small => format!(
                "plan: small, because {reason}: 3,000 training rows, 1 epoch, all but the top layer frozen \
                 (--full trains every layer on all rows)"
            ),
            Size::Full => format!(
                "plan: full, because {reason}: every layer, all rows, 1 epoch \
                 (--small is the short run for a machine without GPU)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_is_small_and_everything_else_full() {
        assert_eq!(Size::for_device("Cpu"), Size::Small);
        for device_type in ["DiscreteGpu", "IntegratedGpu", "VirtualGpu", "Other"] {
            assert_eq!(Size::for_device(device_type), Size::Full);
        }
    }

    #[test]
    fn no_flag_is_given_twice() {
        for size in [Size::Small, Size::Full] {
            let mut names: Vec<&str> = size.flags().into_iter().step_by(2).collect();
            assert!(names.iter().all(|name| name.starts_with("--")));
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{}", size.name());
        }
    }

    #[test]
    fn the_full_plan_is_the_one_compared_with_pytorch() {
        let flags = Size::Full.flags().join(" ");
        for part in [
            "--per_device_train_batch_size 32",
            "--learning_rate 5e-5",
            "--lr_scheduler_type linear",
            "--warmup_ratio 0.1",
            "--dropout 0.1",
            "--max_seq_length 64",
            "--num_train_epochs 1",
        ] {
            assert!(flags.contains(part), "{part}");
        }
        assert!(!flags.contains("freeze"));
    }

    #[test]
    fn the_small_plan_prints_its_own_numbers() {
        let flags = Size::Small.flags().join(" ");
        assert!(
            flags.contains("--max_train_samples 3000") && flags.contains("--num_train_epochs 1")
        );
        let line = Size::Small.announce("llvmpipe is a software adapter");
        assert!(line.contains("3,000") && line.contains("1 epoch") && line.contains("--full"));
    }
}
