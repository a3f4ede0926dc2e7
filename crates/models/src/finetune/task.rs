//! The model and its examples as the training loop sees them. What the frozen layers make of an example
//! is computed once and kept on the host.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use wgrad_nn::{Mode, Parameters};
use wgrad_tensor::{Device, Tensor, no_grad};
use wgrad_train::data::TextDataset;
use wgrad_train::metrics::{ClassificationMetrics, classification_metrics};
use wgrad_train::trainer::{Evaluation, Task};

use crate::bert::BertModel;
use crate::classifier::{
    PAD_TO_MULTIPLE_OF, SequenceClassifier, argmax, in_batches_by_length, padded_batch, softmax,
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
pub struct Examples {
    ids: Vec<Vec<u32>>,
    lengths: Vec<usize>,
    labels: Vec<u32>,
    /// What the frozen part gives: (tokens, C) row-major, or (C) of the first token.
    features: Option<Vec<Vec<f32>>>,
}

impl Examples {
    pub fn new(set: &TextDataset, tokenizer: &TextTokenizer, max_length: usize) -> Result<Self> {
        let texts: Vec<&str> = set.texts.iter().map(String::as_str).collect();
        let ids = tokenizer.encode_batch(&texts, max_length)?;
        Ok(Self {
            lengths: ids.iter().map(Vec::len).collect(),
            ids,
            labels: set.labels.clone(),
            features: None,
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
        }
    }

    pub fn labels(&self) -> &[String] {
        self.model.labels()
    }

    /// Parameters under the names that `transformers` saves.
    pub fn exported_parameters(&self) -> Parameters {
        self.model.exported_parameters()
    }

    /// Runs the frozen layers over all examples, once.
    pub fn cache_features(&mut self, say: &dyn Fn(&str)) -> Result<()> {
        let (device, model, frozen) = (self.device, &self.model, self.frozen);
        say("computing what the frozen layers make of each text, once");
        for set in [Some(&mut self.train), self.validation.as_mut()]
            .into_iter()
            .flatten()
        {
            let features = in_batches_by_length(&set.ids, |rows| {
                features(device, &model.encoder, frozen, rows)
            })?;
            set.features = Some(features);
        }
        Ok(())
    }

    /// Logits of examples, outside the graph, in their order.
    pub fn logits(&self, set: &Examples) -> Result<Vec<Vec<f32>>> {
        let Some(features) = &set.features else {
            return self.model.logits(&set.ids);
        };
        // Indices travel through the length-sorting as one-token sequences do: by position.
        let order: Vec<Vec<u32>> = set
            .ids
            .iter()
            .enumerate()
            .map(|(i, ids)| vec![i as u32; ids.len()])
            .collect();
        in_batches_by_length(&order, |rows| {
            let examples: Vec<usize> = rows.iter().map(|row| row[0] as usize).collect();
            let mode = Mode::eval();
            let logits = no_grad(|| self.from_features(set, features, &examples, &mode))?;
            let classes = self.labels().len();
            Ok(logits
                .to_vec::<f32>()?
                .chunks(classes)
                .map(<[f32]>::to_vec)
                .collect())
        })
    }

    fn from_features(
        &self,
        set: &Examples,
        features: &[Vec<f32>],
        examples: &[usize],
        mode: &Mode,
    ) -> Result<Tensor> {
        let channels = self.model.encoder.config.hidden_size;
        let Frozen::Layers(layers) = self.frozen else {
            let rows: Vec<f32> = examples
                .iter()
                .flat_map(|i| features[*i].iter().copied())
                .collect();
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
            let values = &features[*i];
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

    pub fn metrics_of_validation(&self) -> Result<Option<ClassificationMetrics>> {
        self.validation
            .as_ref()
            .map(|set| set.metrics(&self.logits(set)?, self.labels().len()))
            .transpose()
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
        let set = &self.train;
        let logits = match &set.features {
            Some(features) => self.from_features(set, features, examples, mode)?,
            None => {
                let ids: Vec<Vec<u32>> = examples.iter().map(|i| set.ids[*i].clone()).collect();
                self.model
                    .forward(&self.model.batch(self.device, &ids)?, mode)?
            }
        };
        let labels: Vec<u32> = examples.iter().map(|i| set.labels[*i]).collect();
        let targets = Tensor::from_slice(self.device, &labels, &[labels.len()])?;
        let rows = targets.reshape(&[labels.len(), 1])?;
        Ok(logits.log_softmax(-1)?.gather(1, &rows)?.mean_all()?.neg()?)
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation>> {
        let Some(set) = &self.validation else {
            return Ok(None);
        };
        let logits = self.logits(set)?;
        let mut loss = 0.0;
        for (row, label) in logits.iter().zip(&set.labels) {
            let p = softmax(row)
                .get(*label as usize)
                .copied()
                .context("a label without a logit")?;
            loss -= p.max(f64::MIN_POSITIVE).ln() / logits.len() as f64;
        }
        Ok(Some(Evaluation {
            loss,
            accuracy: set.metrics(&logits, self.labels().len())?.accuracy,
        }))
    }

    fn save(&self, dir: &Path) -> Result<()> {
        self.model.save(dir, &self.source)
    }

    fn load(&mut self, dir: &Path) -> Result<()> {
        self.model.load_parameters(dir)
    }
}
