//! Sequence classification: an encoder and its family's head, loaded from and saved to a folder that
//! `AutoModelForSequenceClassification` reads.

mod head;

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use wgrad_nn::{Dropout, LinearCall, Mode, Module, Parameters, VarBuilder, load_from};
use wgrad_tensor::{DType, Device, Generator, Tensor, no_grad};
use wgrad_train::fs::write_atomic;

use crate::batches::{EvalBatchSize, in_batches_by_length, token_batch};
use crate::bert::names::{export_name, is_head};
use crate::bert::{BertModel, CanonicalWeights, TokenBatch, few_names};
use crate::config::ProblemType;
use crate::folder::{ModelFolder, Pooling, copy_tokenizer_files};
use crate::io::safetensors::{SafeFile, SafeWriter, Weights, check_finite};
use crate::tokenizer::Sequences;

use head::Head;

/// An encoder with a classification head: the encoder's parameters under `BertModel`'s names, the head's
/// under its family's.
#[derive(Debug, Module)]
pub struct SequenceClassifier {
    /// The encoder, with BERT's pooler where it has one.
    #[module(flatten)]
    pub encoder: BertModel,
    #[module(flatten)]
    head: Head,
    dropout: Dropout,
    #[module(skip)]
    labels: Vec<String>,
    /// Layers that no tensor of the folder went into.
    #[module(skip)]
    new: Vec<&'static str>,
    #[module(skip)]
    notes: Vec<String>,
}

impl SequenceClassifier {
    /// Loads a fine-tuned folder. Errors if it has no head that classifies texts, or not all of it.
    pub fn load(device: &Device, folder: &ModelFolder) -> Result<Self> {
        let config = &folder.config;
        let architectures = &config.architectures;
        let known = |name: &String| name.ends_with("ForSequenceClassification");
        let dir = folder.dir.display();
        ensure!(
            architectures.is_empty() || architectures.iter().any(known),
            "{dir}: config.json says {}, which does not classify texts; fine-tune it first (wgrad finetune)",
            architectures.join(", ")
        );
        if let Some(problem) = &config.label_problem {
            bail!("{dir}: config.json: {problem}");
        }
        let generator = Generator::new(device, 0)?;
        let (model, complete) = Self::build(device, folder, None, &generator)
            .with_context(|| folder.dir.display().to_string())?;
        ensure!(
            complete,
            "{dir} has no classification head, or not all of it; fine-tune it first (wgrad finetune)"
        );
        Ok(model)
    }

    /// Loads a folder to be fine-tuned on `labels`, which mean what `problem` says. Of a head that classifies texts, the row of each label that the
    /// model knows by name is kept; the rest starts anew, normal with the configuration's `initializer_range`, drawn
    /// from `generator`. [`SequenceClassifier::notes`] says what.
    pub fn for_training(
        device: &Device,
        folder: &ModelFolder,
        labels: Vec<String>,
        problem: ProblemType,
        generator: &Generator,
    ) -> Result<Self> {
        let (mut model, _) = Self::build(device, folder, Some((labels, problem)), generator)
            .with_context(|| folder.dir.display().to_string())?;
        model.encoder.config.problem_type = problem;
        Ok(model)
    }

    /// Whether the folder holds a head that classifies texts into the labels of its configuration.
    pub fn has_head(folder: &ModelFolder) -> Result<bool> {
        let source = CanonicalWeights::new(&folder.config, &folder.weights)
            .with_context(|| folder.dir.display().to_string())?;
        Ok(head::has_labelled_head(&folder.config, &source))
    }

    fn build(
        device: &Device,
        folder: &ModelFolder,
        labels: Option<(Vec<String>, ProblemType)>,
        generator: &Generator,
    ) -> Result<(Self, bool)> {
        let config = &folder.config;
        let source = CanonicalWeights::new(config, &folder.weights)?;
        let strict = VarBuilder::from_source(device, Box::new(&source));
        let mut encoder = BertModel::new(config, &strict)?;
        let given = labels
            .as_ref()
            .map(|(labels, problem)| (labels.as_slice(), *problem));
        let built = head::build(device, config, &source, &mut encoder, given, generator)?;
        let mut model = Self {
            encoder,
            head: built.head,
            dropout: Dropout::new(config.classifier_dropout as f32)?,
            labels: labels.map_or_else(|| config.id2label.clone(), |(labels, _)| labels),
            new: built.new,
            notes: built.notes,
        };
        let used = model.named_parameters().into_iter().map(|(name, _)| name);
        let used = used.filter(|name| !model.is_new(name)).collect();
        let unused = source.unused(&used);
        if !unused.is_empty() {
            let names = few_names(&unused);
            model
                .notes
                .push(format!("not part of this model, and ignored: {names}"));
        }
        let complete = model.new.is_empty();
        Ok((model, complete))
    }

    /// What a user should know of how the model came about: layers that start anew, tensors that are ignored.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether a parameter started anew.
    fn is_new(&self, name: &str) -> bool {
        let layer = name.rsplit_once('.').map_or(name, |(layer, _)| layer);
        self.new.contains(&layer)
    }

    /// The labels' names, by class.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Sets every dropout of encoder and head.
    pub fn set_dropout(&mut self, p: f32) -> Result<()> {
        self.dropout = Dropout::new(p)?;
        self.encoder.set_dropout(p)
    }

    /// Replaces the last layer by `classifier.weight` (labels, hidden) and `classifier.bias` (labels) of
    /// a safetensors file.
    pub fn init_classifier(&mut self, path: &Path) -> Result<()> {
        let file = SafeFile::open(path)?;
        for (name, target) in [
            ("classifier.weight", Some(self.head.output().weight())),
            ("classifier.bias", self.head.output().bias()),
        ] {
            let Some(target) = target else { continue };
            let shape = file.shape(name)?;
            ensure!(
                shape == target.shape(),
                "{}: {name} has shape {shape:?}, the model needs {:?}",
                path.display(),
                target.shape()
            );
            let values = file.to_f32(name)?;
            check_finite(name, &values).with_context(|| path.display().to_string())?;
            target.copy_from_slice(&values)?;
        }
        Ok(())
    }

    /// Logits (B, labels) of token batches.
    pub fn forward(&self, batch: &TokenBatch, mode: &Mode) -> Result<Tensor> {
        let hidden = self.encoder.forward(batch, mode)?;
        self.head(
            &BertModel::pool(&hidden, &batch.attention_mask, Pooling::Cls)?,
            mode,
        )
    }

    /// Logits f32 (B, labels) from the last hidden state of the first token (B, C). The head is small and
    /// computes in f32, whatever the encoder does.
    pub fn head(&self, first: &Tensor, mode: &Mode) -> Result<Tensor> {
        let first = &first.cast(DType::F32)?;
        let call = LinearCall {
            mode: Some(mode),
            ..LinearCall::default()
        };
        let x = match &self.head {
            Head::Bert { .. } => {
                let pooler = self.encoder.pooler().context("the model has no pooler")?;
                pooler.forward_with(first, &call)?.tanh()?
            }
            Head::Roberta { dense, .. } => {
                let first = self.dropout.forward(first, mode)?;
                dense.forward_with(&first, &call)?.tanh()?
            }
            Head::DistilBert { pre_classifier, .. } => {
                pre_classifier.forward_with(first, &call)?.relu()?
            }
        };
        let output = self.head.output();
        Ok(output.forward_with(&self.dropout.forward(&x, mode)?, &call)?)
    }

    /// Logits of token sequences, in their order, computed in batches of like length.
    pub fn logits(&self, sequences: &Sequences) -> Result<Vec<Vec<f32>>> {
        let device = self.head.output().weight().device().clone();
        let config = &self.encoder.config;
        let size = EvalBatchSize::new(&device, config, None);
        in_batches_by_length(&sequences.lengths(), &size, |which| {
            let batch = token_batch(&device, config, &sequences.pick(which))?;
            let logits = no_grad(|| self.forward(&batch, &Mode::eval()))?;
            Ok(logits
                .to_vec::<f32>()?
                .chunks(self.labels.len())
                .map(<[f32]>::to_vec)
                .collect())
        })
    }

    /// Parameters under the names that `transformers` saves.
    pub fn exported_parameters(&self) -> Parameters {
        let family = self.encoder.config.family;
        self.named_parameters()
            .into_iter()
            .filter_map(|(name, tensor)| Some((export_name(family, &name, true)?, tensor)))
            .collect()
    }

    /// Whether a parameter belongs to the head. A pooler that starts anew does too: frozen it would hand on noise.
    pub fn is_head(&self, name: &str) -> bool {
        is_head(name) || self.is_new(name)
    }

    /// Writes `config.json`, `model.safetensors` and, from `source`, the tokenizer's files into an
    /// existing folder, each under its name only when it is whole. Errors where a parameter is not finite.
    pub fn save(&self, dir: &Path, source: &Path) -> Result<()> {
        let config = &self.encoder.config;
        let named = self.exported_parameters();
        let layout: Vec<(&str, &[usize])> = named
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor.shape()))
            .collect();
        let mut writer = SafeWriter::create(dir.join("model.safetensors"), &layout, &[])?;
        for (name, tensor) in &named {
            let values = tensor.to_vec::<f32>()?;
            check_finite(name, &values).context("the model is not written")?;
            writer.push(&values)?;
        }
        writer.finish()?;
        let copied = copy_tokenizer_files(source, dir)?;
        ensure!(
            !copied.is_empty(),
            "{}: the tokenizer's files are gone; put them back, the model cannot be saved without",
            source.display()
        );
        let json = config.to_json_for_classification(&self.labels, config.problem_type)?;
        write_atomic(dir.join("config.json"), format!("{json:#}\n").as_bytes())
    }

    /// Reads back the parameters that [`SequenceClassifier::save`] wrote.
    pub fn load_parameters(&self, dir: &Path) -> Result<()> {
        let weights = Weights::open(dir)?;
        let source = CanonicalWeights::new(&self.encoder.config, &weights)?;
        let report = load_from(self, &source).with_context(|| dir.display().to_string())?;
        ensure!(report.missing.is_empty(), "{}: {report}", dir.display());
        Ok(())
    }
}

/// The labels' probabilities; nothing where the logits are values of their own.
pub fn probabilities(problem: ProblemType, logits: &[f32]) -> Option<Vec<f64>> {
    match problem {
        ProblemType::SingleLabel => Some(softmax(logits)),
        ProblemType::MultiLabel => {
            let sigmoid = |x: &f32| 1.0 / (1.0 + (-f64::from(*x)).exp());
            Some(logits.iter().map(sigmoid).collect())
        }
        ProblemType::Regression => None,
    }
}

/// Probabilities of logits, in float64.
pub fn softmax(logits: &[f32]) -> Vec<f64> {
    let top = logits.iter().fold(f32::MIN, |m, v| m.max(*v));
    let e: Vec<f64> = logits.iter().map(|v| f64::from(v - top).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|v| v / sum).collect()
}

/// The class with the largest logit; the first of equals.
pub fn argmax(logits: &[f32]) -> usize {
    let mut best = 0;
    for (i, v) in logits.iter().enumerate() {
        if *v > logits[best] {
            best = i;
        }
    }
    best
}
