//! The model and its examples as the training loop sees them. What the frozen layers make of an example
//! is computed once and kept on the host.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use wgrad_nn::{Mode, Parameters};
use wgrad_tensor::ops::cross_entropy::CrossEntropy;
use wgrad_tensor::{Device, Tensor, no_grad};
use wgrad_train::data::TextDataset;
use wgrad_train::metrics::{ClassificationMetrics, classification_metrics};
use wgrad_train::trainer::{Evaluation, Task};

use crate::bert::BertModel;
use crate::classifier::{
    PAD_TO_MULTIPLE_OF, SequenceClassifier, argmax, batches_by_length, in_batches_by_length,
    padded_batch, picked, softmax,
};
use crate::folder::{ModelFolder, Pooling};
use crate::tokenizer::TextTokenizer;

/// The part of the encoder that stays as it is. Its dropout is off, so its features do not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frozen {
    Nothing,
    /// The embeddings and this many layers.
    Layers(usize),
    /// All but the head.
    Encoder,
}

/// Tokenized texts with their labels.
#[derive(Default)]
pub struct Examples {
    ids: Vec<Vec<u32>>,
    lengths: Vec<usize>,
    labels: Vec<u32>,
    /// What the frozen part gives for each text, once it was asked for: (tokens, C) row-major, or (C) of
    /// the first token.
    features: Vec<Option<Vec<f32>>>,
    /// The batches in which they are computed. They depend on the texts alone: what comes first must not matter,
    /// or a resumed run, which asks in another order, would get other bits.
    batches: Vec<Vec<usize>>,
    /// Which of them holds a text.
    batch_of: Vec<usize>,
}

impl Examples {
    pub fn new(set: &TextDataset, tokenizer: &TextTokenizer, max_length: usize) -> Result<Self> {
        let texts: Vec<&str> = set.texts.iter().map(String::as_str).collect();
        let ids = tokenizer.encode_batch(&texts, max_length)?;
        let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
        let batches = batches_by_length(&lengths);
        let mut batch_of = vec![0; ids.len()];
        for (number, batch) in batches.iter().enumerate() {
            for text in batch {
                batch_of[*text] = number;
            }
        }
        Ok(Self {
            lengths,
            batches,
            batch_of,
            features: vec![None; ids.len()],
            ids,
            labels: set.labels.clone(),
        })
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Metrics of these logits against the labels.
    pub fn metrics(&self, logits: &[Vec<f32>], classes: usize) -> Result<ClassificationMetrics> {
        let predictions: Vec<u32> = logits.iter().map(|row| argmax(row) as u32).collect();
        classification_metrics(&predictions, &self.labels, classes)
    }
}

pub struct FineTuneTask<'a> {
    device: &'a Device,
    model: SequenceClassifier,
    source: PathBuf,
    train: Examples,
    validation: Option<Examples>,
    frozen: Frozen,
    /// The metrics of every evaluation so far.
    evaluated: Vec<ClassificationMetrics>,
}

impl<'a> FineTuneTask<'a> {
    pub fn new(
        device: &'a Device,
        model: SequenceClassifier,
        folder: &ModelFolder,
        train: Examples,
        validation: Option<Examples>,
        frozen: Frozen,
    ) -> Self {
        Self {
            device,
            model,
            source: folder.dir.clone(),
            train,
            validation,
            frozen,
            evaluated: Vec::new(),
        }
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
        in_batches_by_length(&lengths, |examples| {
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
        let channels = self.model.encoder.config.hidden_size;
        if self.frozen == Frozen::Nothing {
            let ids = picked(&set.ids, examples);
            return self
                .model
                .forward(&self.model.batch(self.device, &ids)?, mode);
        }
        self.fill_features(set, examples)?;
        let known = |i: &usize| set.features[*i].as_deref().unwrap_or(&[]);
        let Frozen::Layers(layers) = self.frozen else {
            let rows: Vec<f32> = examples.iter().flat_map(known).copied().collect();
            let first = Tensor::from_slice(self.device, &rows, &[examples.len(), channels])?;
            return self.model.head(&first, mode);
        };
        let longest = examples.iter().map(|i| set.lengths[*i]).max().unwrap_or(1);
        let tokens = longest
            .next_multiple_of(PAD_TO_MULTIPLE_OF)
            .min(self.model.encoder.config.max_tokens());
        let mut rows = vec![0f32; examples.len() * tokens * channels];
        let mut keep = vec![0u32; examples.len() * tokens];
        for (at, i) in examples.iter().enumerate() {
            let values = known(i);
            rows[at * tokens * channels..][..values.len()].copy_from_slice(values);
            keep[at * tokens..][..set.lengths[*i]].fill(1);
        }
        let hidden = Tensor::from_slice(self.device, &rows, &[examples.len(), tokens, channels])?;
        let mask = Tensor::from_slice(self.device, &keep, &[examples.len(), tokens])?;
        let hidden = self
            .model
            .encoder
            .layers_from(layers, &hidden, &mask, mode)?;
        self.model
            .head(&BertModel::pool(&hidden, &mask, Pooling::Cls)?, mode)
    }

    /// Runs the frozen part over the batches of `examples` that it has not seen.
    fn fill_features(&self, set: &mut Examples, examples: &[usize]) -> Result<()> {
        for example in examples {
            if set.features[*example].is_some() {
                continue;
            }
            let batch = &set.batches[set.batch_of[*example]];
            let ids = picked(&set.ids, batch);
            let rows = features(self.device, &self.model.encoder, self.frozen, &ids)?;
            for (i, row) in batch.iter().zip(rows) {
                set.features[*i] = Some(row);
            }
        }
        Ok(())
    }

    /// Metrics on the validation data, if there is any, at the evaluation numbered `known` or anew.
    pub fn metrics_of_validation(
        &mut self,
        known: Option<usize>,
    ) -> Result<Option<ClassificationMetrics>> {
        if let Some(metrics) = known.and_then(|at| self.evaluated.get(at)) {
            return Ok(Some(metrics.clone()));
        }
        Ok(self.validate()?.map(|(metrics, _)| metrics))
    }

    fn validate(&mut self) -> Result<Option<(ClassificationMetrics, Vec<Vec<f32>>)>> {
        let Some(mut set) = self.validation.take() else {
            return Ok(None);
        };
        let logits = self.logits(&mut set);
        let metrics =
            logits.and_then(|logits| Ok((set.metrics(&logits, self.labels().len())?, logits)));
        self.validation = Some(set);
        metrics.map(Some)
    }
}

/// What the frozen part makes of token sequences: their hidden states without padding, or the first
/// token's.
fn features(
    device: &Device,
    encoder: &BertModel,
    frozen: Frozen,
    ids: &[Vec<u32>],
) -> Result<Vec<Vec<f32>>> {
    let batch = padded_batch(device, encoder, ids)?;
    let channels = encoder.config.hidden_size;
    let layers = match frozen {
        Frozen::Layers(n) => n,
        _ => encoder.num_layers(),
    };
    let hidden = no_grad(|| encoder.layers_to(layers, &batch, &Mode::eval()))?;
    if frozen == Frozen::Encoder {
        let first = BertModel::pool(&hidden, &batch.attention_mask, Pooling::Cls)?;
        return Ok(first
            .to_vec::<f32>()?
            .chunks(channels)
            .map(<[f32]>::to_vec)
            .collect());
    }
    let tokens = hidden.shape()[1];
    let values = hidden.to_vec::<f32>()?;
    Ok(ids
        .iter()
        .zip(values.chunks(tokens * channels))
        .map(|(ids, row)| row[..ids.len() * channels].to_vec())
        .collect())
}

impl Task for FineTuneTask<'_> {
    fn lengths(&self) -> &[usize] {
        &self.train.lengths
    }

    fn loss(&mut self, examples: &[usize], mode: &Mode) -> Result<Tensor> {
        let mut set = std::mem::take(&mut self.train);
        let logits = self.forward(&mut set, examples, mode);
        let labels: Vec<u32> = examples.iter().map(|i| set.labels[*i]).collect();
        self.train = set;
        let targets = Tensor::from_slice(self.device, &labels, &[labels.len()])?;
        Ok(logits?.cross_entropy(&targets, &CrossEntropy::default())?)
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation>> {
        let Some((metrics, logits)) = self.validate()? else {
            return Ok(None);
        };
        let labels = self.validation.iter().flat_map(|set| &set.labels);
        let mut loss = 0.0;
        for (row, label) in logits.iter().zip(labels) {
            let p = softmax(row)
                .get(*label as usize)
                .copied()
                .context("a label without a logit")?;
            // The bound keeps a probability of 0 finite; NaN passes.
            loss -= p.clamp(f64::MIN_POSITIVE, 1.0).ln() / logits.len() as f64;
        }
        let accuracy = metrics.accuracy;
        self.evaluated.push(metrics);
        Ok(Some(Evaluation { loss, accuracy }))
    }

    fn save(&self, dir: &Path) -> Result<()> {
        self.model.save(dir, &self.source)
    }

    fn load(&mut self, dir: &Path) -> Result<()> {
        self.model.load_parameters(dir)
    }
}
