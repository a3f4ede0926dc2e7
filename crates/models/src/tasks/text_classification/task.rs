//! The model and its examples as the training loop sees them.

use std::path::{Path, PathBuf};

use anyhow::Result;
use wgrad_nn::{Mode, Parameters};
use wgrad_tensor::{Device, Tensor, no_grad};
use wgrad_train::{ContentHash, Evaluation, Fact, Loss, Task, setting};

use super::TextClassificationArguments;
use super::examples::{Examples, Frozen};
use super::scores::{Scores, default_metric, host_losses, loss};
use crate::batches::{EvalBatchSize, PAD_TO_MULTIPLE_OF, in_batches_by_length, token_batch};
use crate::bert::BertModel;
use crate::classifier::SequenceClassifier;
use crate::folder::{ModelFolder, Pooling};
use crate::tasks::facts::facts;

/// A classifier with its training and validation data.
pub struct ClassificationTask<'a> {
    device: &'a Device,
    model: SequenceClassifier,
    source: PathBuf,
    train: Examples,
    validation: Option<Examples>,
    frozen: Frozen,
    eval_batch: EvalBatchSize,
    label_smoothing: f64,
    /// What the arguments say of the run.
    facts: Vec<Fact>,
    /// The metrics of every evaluation so far.
    evaluated: Vec<Scores>,
}

impl<'a> ClassificationTask<'a> {
    pub fn new(
        device: &'a Device,
        model: SequenceClassifier,
        folder: &ModelFolder,
        (train, validation): (Examples, Option<Examples>),
        frozen: Frozen,
        eval_batch: EvalBatchSize,
    ) -> Self {
        Self {
            device,
            model,
            source: folder.dir.clone(),
            train,
            validation,
            frozen,
            eval_batch,
            label_smoothing: 0.0,
            facts: Vec::new(),
            evaluated: Vec::new(),
        }
    }

    /// With a part of each label spread over all classes, in training and in the loss of evaluations.
    pub fn label_smoothing(self, part: f64) -> Self {
        Self {
            label_smoothing: part,
            ..self
        }
    }

    /// With the facts that the arguments say of the run.
    pub fn arguments(self, arguments: &TextClassificationArguments, cache: Fact) -> Self {
        let none = || ContentHash::new();
        let validation = self.validation.as_ref();
        let validation = validation.map_or_else(none, |set| {
            let hashes = [set.hash_tokens(), set.hash_labels()];
            none().with(format!("{hashes:?}").as_bytes())
        });
        let parameters = self.model.exported_parameters();
        let tokens = self.train.hash_tokens();
        let mut facts = facts(tokens, validation, &parameters, &arguments.freeze);
        let dropout = setting(&arguments.dropout);
        let labels = self.labels();
        // Names of classes are said where a line holds them.
        let names = match labels.len() {
            0..=8 => labels.join(", "),
            many => format!("{many} labels {:?}", none().with_all(labels)),
        };
        facts.extend([
            cache,
            Fact::fixed("labels", names),
            Fact::data(
                "training labels",
                self.train.hash_labels(),
                "train_file: the labels of the texts are other ones",
            ),
            Fact::fixed("problem_type", self.train.labels.problem_type()),
            Fact::fixed("freeze_encoder", arguments.freeze_encoder),
            Fact::fixed("freeze_layers", arguments.freeze_layers),
            Fact::setting("max_seq_length", arguments.max_seq_length),
            Fact::setting("dropout", dropout),
        ]);
        Self { facts, ..self }
    }

    pub fn labels(&self) -> &[String] {
        self.model.labels()
    }

    /// Parameters under the names that `transformers` saves.
    pub fn exported_parameters(&self) -> Parameters {
        self.model.exported_parameters()
    }

    /// Logits of examples, outside the graph, in their order.
    pub fn logits(&self, set: &mut Examples) -> Result<Vec<Vec<f32>>> {
        let lengths = set.lengths.clone();
        in_batches_by_length(&lengths, &self.eval_batch, |examples| {
            let logits = no_grad(|| self.forward(set, examples, &Mode::eval()))?;
            let classes = self.labels().len();
            Ok(logits
                .to_vec::<f32>()?
                .chunks(classes)
                .map(<[f32]>::to_vec)
                .collect())
        })
    }

    /// Logits (examples, labels), on the device.
    fn forward(&self, set: &mut Examples, examples: &[usize], mode: &Mode) -> Result<Tensor> {
        let encoder = &self.model.encoder;
        let channels = encoder.config.hidden_size;
        if self.frozen == Frozen::Nothing {
            let sequences = set.sequences.pick(examples);
            let batch = token_batch(self.device, &encoder.config, &sequences)?;
            return self.model.forward(&batch, mode);
        }
        let features = set.features(self.device, encoder, self.frozen, examples)?;
        let Frozen::Layers(layers) = self.frozen else {
            let shape = [examples.len(), channels];
            let first = Tensor::from_slice(self.device, &features.concat(), &shape)?;
            return self.model.head(&first, mode);
        };
        let longest = examples.iter().map(|i| set.lengths[*i]).max().unwrap_or(1);
        let tokens = longest
            .next_multiple_of(PAD_TO_MULTIPLE_OF)
            .min(encoder.config.max_tokens());
        let mut rows = vec![0f32; examples.len() * tokens * channels];
        let mut mask = vec![0u32; examples.len() * tokens];
        for (at, (i, values)) in examples.iter().zip(&features).enumerate() {
            rows[at * tokens * channels..][..values.len()].copy_from_slice(values);
            mask[at * tokens..][..set.lengths[*i]].fill(1);
        }
        let hidden = Tensor::from_slice(self.device, &rows, &[examples.len(), tokens, channels])?;
        let mask = Tensor::from_slice(self.device, &mask, &[examples.len(), tokens])?;
        let hidden = encoder.layers_from(layers, &hidden, &mask, mode)?;
        self.model
            .head(&BertModel::pool(&hidden, &mask, Pooling::Cls)?, mode)
    }

    /// Metrics on the validation data, if there is any, at the evaluation numbered `known` or anew.
    pub fn validation_scores(&mut self, known: Option<usize>) -> Result<Option<Scores>> {
        if let Some(scores) = known.and_then(|at| self.evaluated.get(at)) {
            return Ok(Some(scores.clone()));
        }
        Ok(self.validate()?.map(|(scores, _)| scores))
    }

    /// Metrics and mean loss on the validation data.
    fn validate(&mut self) -> Result<Option<(Scores, f64)>> {
        let Some(mut set) = self.validation.take() else {
            return Ok(None);
        };
        let logits = self.logits(&mut set);
        let labels = set.labels.clone();
        self.validation = Some(set);
        let logits = logits?;
        let losses = host_losses(&logits, &labels, self.label_smoothing)?;
        let mean = losses.iter().sum::<f64>() / losses.len().max(1) as f64;
        Ok(Some((Scores::new(&logits, &labels)?, mean)))
    }
}

impl Task for ClassificationTask<'_> {
    fn lengths(&self) -> &[usize] {
        &self.train.lengths
    }

    fn loss(&mut self, examples: &[usize], mode: &Mode) -> Result<Loss> {
        let labels = self.train.labels.pick(examples);
        let mut set = std::mem::take(&mut self.train);
        let logits = self.forward(&mut set, examples, mode);
        self.train = set;
        let mean = loss(self.device, &logits?, &labels, self.label_smoothing)?;
        Ok(Loss::new(mean, examples.len()))
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation>> {
        let Some((scores, loss)) = self.validate()? else {
            return Ok(None);
        };
        let metrics = scores.named();
        self.evaluated.push(scores);
        Ok(Some(Evaluation { loss, metrics }))
    }

    fn metric_for_best_model(&self) -> &str {
        default_metric(self.train.labels.problem_type())
    }

    fn facts(&self) -> Vec<Fact> {
        self.facts.clone()
    }

    fn save(&self, dir: &Path) -> Result<()> {
        self.model.save(dir, &self.source)
    }

    fn load(&mut self, dir: &Path) -> Result<()> {
        self.model.load_parameters(dir)
    }
}
