//! The model and its texts as the training loop sees them.

use std::path::Path;

use anyhow::{Result, ensure};
use wgrad_nn::{Mode, load};
use wgrad_tensor::ops::cross_entropy::CrossEntropy;
use wgrad_tensor::{Device, Tensor, no_grad};
use wgrad_train::fs::write_atomic;
use wgrad_train::{ContentHash, Evaluation, Fact, Loss, Task};

use super::blocks::{NO_TARGET, TokenBlocks};
use crate::generate::{CausalLM, LanguageModel, save_weights};
use crate::tasks::facts::{facts, hash_tokens};

/// The logits of an evaluation's batch are to be at most this large, in bytes.
const LOGITS_BYTES: usize = 64 << 20;

/// A causal language model with the texts that it is trained and evaluated on. It borrows the model, which any
/// type that implements [`CausalLM`] can be; training changes the model's parameters in place.
pub struct CausalLMTask<'a> {
    device: Device,
    model: &'a dyn CausalLM,
    source: Option<&'a LanguageModel>,
    train: TokenBlocks,
    validation: Option<TokenBlocks>,
    lengths: Vec<usize>,
    eval_batch_size: usize,
    label_smoothing: f64,
    freeze: Vec<String>,
}

impl<'a> CausalLMTask<'a> {
    /// A task for `model`, which lies on `device`.
    ///
    /// # Errors
    /// Blocks are longer than the model has positions; a token lies beyond the model's vocabulary.
    pub fn new(
        device: &Device,
        model: &'a dyn CausalLM,
        train: TokenBlocks,
        validation: Option<TokenBlocks>,
    ) -> Result<Self> {
        let vocabulary = model.vocab_size();
        for blocks in std::iter::once(&train).chain(&validation) {
            ensure!(
                blocks.block_size() <= model.max_tokens(),
                "blocks of {} tokens are longer than the model's {} positions",
                blocks.block_size(),
                model.max_tokens()
            );
            let largest = blocks.largest();
            ensure!(
                (largest as usize) < vocabulary,
                "token id {largest} is beyond the model's vocabulary of {vocabulary}; does the tokenizer belong to this model?"
            );
        }
        let tokens = train.block_size().max(1) * vocabulary.max(1) * size_of::<f32>();
        Ok(Self {
            device: device.clone(),
            model,
            source: None,
            lengths: vec![train.block_size(); train.len()],
            train,
            validation,
            eval_batch_size: (LOGITS_BYTES / tokens).clamp(1, 8),
            label_smoothing: 0.0,
            freeze: Vec::new(),
        })
    }

    /// A task for a model that was loaded with its tokenizer: both are saved.
    ///
    /// # Errors
    /// Those of [`CausalLMTask::new`].
    pub fn with_tokenizer(
        device: &Device,
        source: &'a LanguageModel,
        train: TokenBlocks,
        validation: Option<TokenBlocks>,
    ) -> Result<Self> {
        let task = Self::new(device, source.model(), train, validation)?;
        Ok(Self {
            source: Some(source),
            ..task
        })
    }

    /// With this many blocks in a batch of an evaluation, instead of as many as fit into 64 MiB of logits.
    pub fn eval_batch_size(self, blocks: Option<usize>) -> Self {
        Self {
            eval_batch_size: blocks.unwrap_or(self.eval_batch_size).max(1),
            ..self
        }
    }

    /// With a part of each target spread over the vocabulary, in training and in evaluations.
    pub fn label_smoothing(self, part: f64) -> Self {
        Self {
            label_smoothing: part,
            ..self
        }
    }

    /// With the patterns by which parameters were frozen, which a resumed run must share.
    pub fn frozen(self, patterns: &[String]) -> Self {
        Self {
            freeze: patterns.to_vec(),
            ..self
        }
    }

    /// The mean loss over the tokens of some blocks that have a target. `in_place`: the backward pass may write
    /// over the logits.
    fn mean_loss(
        &self,
        set: &TokenBlocks,
        blocks: &[usize],
        mode: &Mode,
        in_place: bool,
    ) -> Result<Tensor> {
        let (ids, targets) = set.batch(&self.device, blocks)?;
        let logits = self.model.logits(&ids, mode)?;
        let rows = logits.reshape(&[targets.numel(), self.model.vocab_size()])?;
        drop(logits);
        let options = CrossEntropy {
            ignore_index: Some(NO_TARGET),
            label_smoothing: self.label_smoothing as f32,
            in_place,
            ..CrossEntropy::default()
        };
        Ok(rows.cross_entropy(&targets, &options)?)
    }
}

impl Task for CausalLMTask<'_> {
    fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    fn loss(&mut self, examples: &[usize], mode: &Mode) -> Result<Loss> {
        let mean = self.mean_loss(&self.train, examples, mode, true)?;
        Ok(Loss::new(mean, examples.len() * self.train.targets()))
    }

    /// The mean loss over all tokens of the validation text that have a target, and `perplexity`, its exponential.
    fn evaluate(&mut self) -> Result<Option<Evaluation>> {
        let Some(set) = &self.validation else {
            return Ok(None);
        };
        let all: Vec<usize> = (0..set.len()).collect();
        let mut sum = 0.0;
        for blocks in all.chunks(self.eval_batch_size) {
            let mean = no_grad(|| self.mean_loss(set, blocks, &Mode::eval(), false))?;
            sum += f64::from(mean.item()?) * blocks.len() as f64;
        }
        let loss = sum / all.len().max(1) as f64;
        Ok(Some(Evaluation::new(loss).with("perplexity", loss.exp())))
    }

    fn facts(&self) -> Vec<Fact> {
        let hash = |set: &TokenBlocks| hash_tokens(ContentHash::new(), [set.tokens()]);
        let validation = self.validation.as_ref().map(hash).unwrap_or_default();
        let parameters = self.model.named_parameters();
        let mut facts = facts(hash(&self.train), validation, &parameters, &self.freeze);
        facts.push(Fact::fixed("block_size", self.train.block_size()));
        facts
    }

    /// A model with a tokenizer becomes a folder that `transformers` and `wgrad generate` load. Of another model
    /// the weights are written, and its `config.json` if it has one.
    fn save(&self, dir: &Path) -> Result<()> {
        if let Some(source) = self.source {
            return source.save(dir);
        }
        if let Some(config) = self.model.config_json() {
            let json = serde_json::to_vec_pretty(&config)?;
            write_atomic(dir.join("config.json"), &json)?;
        }
        save_weights(self.model, &dir.join("model.safetensors"))
    }

    fn load(&mut self, dir: &Path) -> Result<()> {
        let report = load(self.model, dir.join("model.safetensors"))?;
        Ok(report.strict()?)
    }
}

impl std::fmt::Debug for CausalLMTask<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("CausalLMTask")
            .field("blocks", &self.train.len())
            .field("block_size", &self.train.block_size())
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}
