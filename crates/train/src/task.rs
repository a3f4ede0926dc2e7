//! The trait between the loop and a training task: the loss of a list of examples, an evaluation, saving and loading.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use wgrad_nn::Mode;
use wgrad_tensor::Tensor;

use crate::fact::Fact;

/// A training task. The loop does not depend on a model: the task computes the loss of a list of examples, evaluates,
/// and saves and loads the model.
///
/// `examples/own_task.rs` implements one.
pub trait Task {
    /// The length of every training example in tokens: for batches of like length, and for throughput. 1 each
    /// where examples have no length.
    fn lengths(&self) -> &[usize];

    /// The mean loss of these training examples, and how many items it is a mean over.
    fn loss(&mut self, examples: &[usize], mode: &Mode) -> Result<Loss>;

    /// Loss and metrics on the validation data, or nothing if there is none.
    fn evaluate(&mut self) -> Result<Option<Evaluation>>;

    /// The metric that decides which checkpoint is the best and when to stop early, unless
    /// `metric_for_best_model` names another.
    fn metric_for_best_model(&self) -> &str {
        "loss"
    }

    /// What a resumed run is compared with, beside the training arguments: data, model, settings. By default nothing.
    fn facts(&self) -> Vec<Fact> {
        Vec::new()
    }

    /// Writes the model into an existing folder.
    fn save(&self, dir: &Path) -> Result<()>;

    /// Reads back what [`Task::save`] wrote.
    fn load(&mut self, dir: &Path) -> Result<()>;
}

/// The loss of a list of examples. An optimizer step minimises the mean over the items of all its
/// micro-batches, so a micro-batch of two items weighs half as much as one of four.
#[derive(Debug, Clone)]
pub struct Loss {
    /// The mean over the items, a tensor of one value.
    pub mean: Tensor,
    /// The number of items: examples, or the tokens that have a target. 0 leaves the batch out.
    pub count: usize,
}

impl Loss {
    /// A mean over `count` examples or tokens.
    pub fn new(mean: Tensor, count: usize) -> Self {
        Self { mean, count }
    }

    /// From a sum over `count` examples or tokens.
    ///
    /// # Errors
    /// A failed device.
    pub fn from_sum(sum: &Tensor, count: usize) -> Result<Self> {
        let mean = sum.mul_scalar(1.0 / count.max(1) as f32)?;
        Ok(Self { mean, count })
    }
}

/// The result of an evaluation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evaluation {
    /// The mean loss over the validation data.
    pub loss: f64,
    /// Further metrics by name (`accuracy`, `f1`, `mae`, ...). The log calls them `eval_<name>`.
    pub metrics: BTreeMap<String, f64>,
}

impl Evaluation {
    /// An evaluation without metrics.
    pub fn new(loss: f64) -> Self {
        Self {
            loss,
            metrics: BTreeMap::new(),
        }
    }

    /// With one more metric.
    pub fn with(mut self, name: impl Into<String>, value: f64) -> Self {
        self.metrics.insert(name.into(), value);
        self
    }

    /// A metric by name, `loss` included. As in `transformers`, `eval_` may stand in front.
    pub fn get(&self, name: &str) -> Option<f64> {
        let name = name.strip_prefix("eval_").unwrap_or(name);
        match name {
            "loss" => Some(self.loss),
            name => self.metrics.get(name).copied(),
        }
    }
}
