//! The command line's choice of models for timing training steps.

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;
use wgrad_runtime::Device;
use wgrad_tensor::{DType, Generator};
use wgrad_tune::bench::Work;
use wgrad_tune::bench::values::count;

use super::kernels::{Dtype, side};
use super::least;
use super::memory::ensure_room;
use super::models::{MLP, Sizes, Workload, bert, gpt, mlp};

/// Sizes that replace a model's own.
#[derive(clap::Args, Clone, Copy, Default)]
#[command(rename_all = "snake_case")]
pub struct Overrides {
    /// Texts or rows in a batch
    #[arg(long, value_parser = side)]
    pub batch: Option<usize>,
    /// Tokens of a text
    #[arg(long, value_parser = side)]
    pub seq: Option<usize>,
    /// Layers of a transformer
    #[arg(long, value_parser = side)]
    pub layers: Option<usize>,
    /// Rows of the table of tokens
    #[arg(long, value_parser = side)]
    pub vocab: Option<usize>,
}

/// A model to train.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum TrainCase {
    /// MiniLM-L6-H384, 22.6M parameters, 16 x 64 tokens
    #[value(alias = "bert-mini", alias = "minilm")]
    Bert,
    /// 4 layers of 128 channels, 0.8M parameters, 16 x 128 tokens
    Gpt,
    /// GPT-2 small, 124M parameters, 8 x 1024 tokens
    #[value(alias = "gpt2")]
    GptSmall,
    /// 784-512-512-10, 0.7M parameters, 128 rows
    Mlp,
}

impl TrainCase {
    fn own(self) -> Sizes {
        match self {
            TrainCase::Bert => Sizes::BERT,
            TrainCase::Gpt => Sizes::GPT,
            TrainCase::GptSmall => Sizes::GPT_SMALL,
            TrainCase::Mlp => Sizes {
                batch: 128,
                seq: 1,
                ..Sizes::GPT
            },
        }
    }

    /// The model's sizes with the requested changes. The network for digits has only a batch size.
    pub fn sizes(self, change: Overrides) -> Result<Sizes> {
        let own = self.own();
        let batch = change.batch.unwrap_or(own.batch);
        if self == TrainCase::Mlp {
            return Ok(Sizes { batch, ..own });
        }
        let sizes = Sizes {
            batch,
            seq: change.seq.unwrap_or(own.seq),
            layers: change.layers.unwrap_or(own.layers),
            vocabulary: change.vocab.unwrap_or(own.vocabulary),
            ..own
        };
        ensure!(
            sizes.seq <= sizes.positions,
            "{} has {} positions: --seq {} is too long",
            self.name(),
            sizes.positions,
            sizes.seq
        );
        Ok(sizes)
    }

    /// Refuses options that no model of `cases` has, and a type that one of them lacks.
    pub fn check(cases: &[TrainCase], dtypes: &[Dtype], change: Overrides) -> Result<()> {
        ensure!(
            !cases.contains(&TrainCase::Mlp) || !dtypes.contains(&Dtype::F16),
            "mlp is in f32 only; --dtype f16 is for bert, gpt and gpt-small"
        );
        if cases.iter().any(|case| *case != TrainCase::Mlp) {
            return Ok(());
        }
        for (name, given) in [
            ("seq", change.seq),
            ("layers", change.layers),
            ("vocab", change.vocab),
        ] {
            if let Some(value) = given {
                bail!("mlp has no --{name} {value}; it is for bert, gpt and gpt-small");
            }
        }
        Ok(())
    }

    /// The model on `device`.
    pub fn build(self, device: &Device, sizes: Sizes) -> Result<Workload> {
        // The batch made by the host, and the weights with their gradients and two moments.
        if self == TrainCase::Mlp {
            count(device, &[sizes.batch, MLP[0]], DType::F32)?;
        } else {
            count(device, &[sizes.batch, sizes.seq], DType::U32)?;
            ensure_room(device, 16.0 * sizes.weights())?;
        }
        let g = Generator::new(device, 0)?;
        Ok(match self {
            TrainCase::Bert => bert(device, sizes, &g)?,
            TrainCase::Gpt | TrainCase::GptSmall => gpt(device, sizes, &g)?,
            TrainCase::Mlp => mlp(device, sizes.batch, &g)?,
        })
    }

    /// The least work of a step.
    pub fn work(self, sizes: &Sizes) -> Work {
        match self {
            TrainCase::Bert => least::bert(sizes),
            TrainCase::Gpt | TrainCase::GptSmall => least::gpt(sizes),
            TrainCase::Mlp => least::mlp(sizes.batch),
        }
    }

    fn name(self) -> &'static str {
        match self {
            TrainCase::Bert => "bert",
            TrainCase::Gpt => "gpt",
            TrainCase::GptSmall => "gpt-small",
            TrainCase::Mlp => "mlp",
        }
    }

    /// The row's name, with the sizes that differ from the model's own.
    pub fn row(self, sizes: &Sizes) -> String {
        if self == TrainCase::Mlp {
            return format!("train mlp {}", sizes.batch);
        }
        let own = self.own();
        let mut name = format!("train {} {}x{}", self.name(), sizes.batch, sizes.seq);
        if sizes.dtype != DType::F32 {
            name += &format!(" {} mixed", sizes.dtype);
        }
        if sizes.layers != own.layers {
            name += &format!(", layers {}", sizes.layers);
        }
        if sizes.vocabulary != own.vocabulary {
            name += &format!(", vocab {}", sizes.vocabulary);
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_lists_every_size_that_differs_from_the_models_own() {
        let name = |case: TrainCase, change| case.row(&case.sizes(change).unwrap());
        let own = Overrides::default();
        assert_eq!(name(TrainCase::Bert, own), "train bert 16x64");
        assert_eq!(name(TrainCase::Mlp, own), "train mlp 128");
        let few = Overrides {
            layers: Some(1),
            vocab: Some(50),
            ..own
        };
        let found = name(TrainCase::GptSmall, few);
        assert_eq!(found, "train gpt-small 8x1024, layers 1, vocab 50");
        let half = Sizes {
            dtype: DType::F16,
            ..Sizes::BERT
        };
        assert_eq!(TrainCase::Bert.row(&half), "train bert 16x64 f16 mixed");
    }

    #[test]
    fn options_without_effect_are_refused() {
        let own = Overrides::default();
        let few = Overrides {
            layers: Some(3),
            ..own
        };
        let refused = |cases: &[TrainCase], dtypes: &[Dtype], change| {
            let checked = TrainCase::check(cases, dtypes, change);
            checked.err().map(|error| error.to_string())
        };
        let mlp = [TrainCase::Mlp];
        let line = refused(&mlp, &[Dtype::F32], few).unwrap();
        assert!(line.starts_with("mlp has no --layers 3"), "{line}");
        assert!(
            refused(&mlp, &[Dtype::F16], own)
                .unwrap()
                .contains("f32 only")
        );
        let both = [TrainCase::Mlp, TrainCase::Bert];
        assert_eq!(refused(&both, &[Dtype::F32], few), None);
    }
}
