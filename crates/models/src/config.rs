//! `config.json` of BERT and its relatives, as `transformers` writes it.
//!
//! Keys that are absent (or null) take the defaults of the `transformers` configuration class of the
//! same `model_type`. The parsed JSON is kept, so that what is written back holds every
//! key that this crate does not know, unchanged.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Map, Value, json};
use wgrad_nn::Activation;

mod family;
mod keys;
mod labels;
mod problem;
#[cfg(test)]
mod tests;

pub use family::Family;
pub(crate) use keys::Keys;
pub(crate) use keys::read_json;
pub use wgrad_train::data::ProblemType;

/// The settings of a BERT-like encoder and its classification head.
///
/// Names are those of `transformers.BertConfig`, whatever the file calls them (DistilBERT's `dim`
/// is `hidden_size` here). Every size is positive and bounded, so that products of two
/// of them fit 64 bits, and the whole encoder has at most 2^36 parameters.
#[derive(Clone, Debug)]
pub struct BertConfig {
    /// Which parameter names and mathematics apply.
    pub family: Family,
    /// `model_type` as found, or as concluded from `architectures`.
    pub model_type: String,
    /// Class names as found; empty where the file has none.
    pub architectures: Vec<String>,
    /// Rows of the word embedding.
    pub vocab_size: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Encoder layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width between the feed-forward part's two dense layers.
    pub intermediate_size: usize,
    /// The feed-forward part's activation.
    pub hidden_act: Activation,
    /// Dropout on embeddings and on each sublayer's output, in [0, 1).
    pub hidden_dropout_prob: f64,
    /// Dropout on attention probabilities, in [0, 1).
    pub attention_probs_dropout_prob: f64,
    /// Rows of the position embedding; see [`BertConfig::max_tokens`] for the longest input.
    pub max_position_embeddings: usize,
    /// Rows of the token type embedding; 0 for DistilBERT, which has none.
    pub type_vocab_size: usize,
    /// Added to the variance in every layer norm.
    pub layer_norm_eps: f64,
    /// The token that fills a batch; PyTorch gives its word embedding no gradient.
    pub pad_token_id: u32,
    /// Standard deviation of the normal distribution that new weights are drawn from.
    pub initializer_range: f64,
    /// Dropout in the classification head: `classifier_dropout`, else `hidden_dropout_prob`;
    /// `seq_classif_dropout` for DistilBERT.
    pub classifier_dropout: f64,
    /// The name of each label, by its index; `LABEL_0`, `LABEL_1` where the file has none.
    pub id2label: Vec<String>,
    /// What the head's logits mean.
    pub problem_type: ProblemType,
    /// What is wrong with the label map, where something is. It matters to a head only.
    pub(crate) label_problem: Option<String>,
    raw: Value,
}

impl BertConfig {
    /// Reads a `config.json`. Errors name the file, the key, what was found and what is expected.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let raw = read_json(path)?;
        Self::from_json(raw).map_err(|error| anyhow!("{}: {error:#}", path.display()))
    }

    /// Reads the settings from parsed JSON, which is kept (see [`BertConfig::raw`]).
    pub fn from_json(raw: Value) -> Result<Self> {
        let Some(object) = raw.as_object() else {
            bail!("expected a JSON object with the model's settings");
        };
        let keys = Keys(object);
        let architectures = keys.strings("architectures")?;
        let (model_type, family) = family::detect(keys.string("model_type")?, &architectures)?;
        let distil = family == Family::DistilBert;
        let roberta = family == Family::Roberta;

        // Settings that change the mathematics into something this crate does not compute.
        let positions = keys
            .string("position_embedding_type")?
            .unwrap_or("absolute");
        ensure!(
            positions == "absolute",
            "position_embedding_type is {positions:?}; only \"absolute\" is supported"
        );
        for key in ["is_decoder", "add_cross_attention"] {
            ensure!(
                !keys.flag(key)?,
                "{key} is true; only encoders are supported"
            );
        }

        let hidden_dropout_prob = keys.probability(
            if distil {
                "dropout"
            } else {
                "hidden_dropout_prob"
            },
            0.1,
        )?;
        // `transformers` reads both spellings of DistilBERT's keys (its attribute_map).
        let hidden_size: &[&str] = if distil {
            &["dim", "hidden_size"]
        } else {
            &["hidden_size"]
        };
        let layers: &[&str] = if distil {
            &["n_layers", "num_hidden_layers"]
        } else {
            &["num_hidden_layers"]
        };
        let heads: &[&str] = if distil {
            &["n_heads", "num_attention_heads"]
        } else {
            &["num_attention_heads"]
        };
        let intermediate = if distil {
            "hidden_dim"
        } else {
            "intermediate_size"
        };
        let attention_dropout = if distil {
            "attention_dropout"
        } else {
            "attention_probs_dropout_prob"
        };
        let classifier_dropout = if distil {
            keys.probability("seq_classif_dropout", 0.2)?
        } else {
            keys.probability("classifier_dropout", hidden_dropout_prob)?
        };
        let default_vocab = if model_type == "roberta" {
            50_265
        } else {
            30_522
        };
        let (id2label, label_problem) = labels::labels(&keys)?;
        let config = Self {
            family,
            problem_type: problem::problem_type(keys.string("problem_type")?, id2label.len())?,
            vocab_size: keys.size(&["vocab_size"], default_vocab, 1 << 24)?,
            hidden_size: keys.size(hidden_size, 768, 1 << 16)?,
            num_hidden_layers: keys.size(layers, if distil { 6 } else { 12 }, 1 << 10)?,
            num_attention_heads: keys.size(heads, 12, 1 << 12)?,
            intermediate_size: keys.size(&[intermediate], 3072, 1 << 20)?,
            hidden_act: keys.activation(if distil { "activation" } else { "hidden_act" })?,
            hidden_dropout_prob,
            attention_probs_dropout_prob: keys.probability(attention_dropout, 0.1)?,
            max_position_embeddings: keys.size(&["max_position_embeddings"], 512, 1 << 20)?,
            type_vocab_size: match distil {
                true => 0,
                false => keys.size(&["type_vocab_size"], 2, 1 << 16)?,
            },
            // DistilBERT's layer norms have this value written into the code.
            layer_norm_eps: match distil {
                true => 1e-12,
                false => keys.number("layer_norm_eps", 1e-12, f64::MIN_POSITIVE, 1.0)?,
            },
            pad_token_id: keys.index("pad_token_id", if roberta { 1 } else { 0 })?,
            initializer_range: keys.number("initializer_range", 0.02, 0.0, 1e3)?,
            classifier_dropout,
            id2label,
            label_problem,
            model_type,
            architectures,
            raw,
        };
        config.check()?;
        Ok(config)
    }

    /// The JSON as read, every key included.
    pub fn raw(&self) -> &Value {
        &self.raw
    }

    /// How many labels the classification head tells apart.
    pub fn num_labels(&self) -> usize {
        self.id2label.len()
    }

    /// The longest input in tokens, special tokens included. RoBERTa's positions start at
    /// `pad_token_id + 1`, so its table holds fewer tokens than it has rows.
    pub fn max_tokens(&self) -> usize {
        match self.family {
            Family::Roberta => self.max_position_embeddings - self.pad_token_id as usize - 1,
            Family::Bert | Family::DistilBert => self.max_position_embeddings,
        }
    }

    /// The `config.json` of this model with a head for `labels` (all different; two or more where one of them
    /// holds) whose logits mean what `problem` says, as `transformers` writes it; every other key stays as it
    /// was read.
    ///
    /// `dtype` (once `torch_dtype`) becomes `float32` where it is present, because weights are
    /// written so and `transformers` would round them on loading to the type named there.
    /// `num_labels` is left out, as `transformers` does: it counts `id2label`.
    pub fn to_json_for_classification(
        &self,
        labels: &[String],
        problem: ProblemType,
    ) -> Result<Value> {
        let least = match problem {
            ProblemType::SingleLabel => 2,
            ProblemType::MultiLabel | ProblemType::Regression => 1,
        };
        ensure!(
            labels.len() >= least,
            "a head for {problem} needs at least {least} labels, got {labels:?}"
        );
        let mut seen = BTreeSet::new();
        if let Some(label) = labels.iter().find(|label| !seen.insert(label.as_str())) {
            bail!("label {label:?} is there twice among {labels:?}");
        }
        let class = family::class_prefix(&self.model_type)
            .with_context(|| format!("model_type {:?} has no classifier", self.model_type))?;
        let mut object = self.raw.as_object().cloned().unwrap_or_default();
        // The code that auto_map and custom_pipelines name is not copied, and not needed.
        for stale in ["num_labels", "_num_labels", "auto_map", "custom_pipelines"] {
            object.remove(stale);
        }
        for dtype in ["dtype", "torch_dtype"] {
            if let Some(value) = object.get_mut(dtype) {
                *value = json!("float32");
            }
        }
        let ids = || labels.iter().enumerate();
        let id2label: Map<String, Value> = ids().map(|(i, l)| (i.to_string(), json!(l))).collect();
        let label2id: Map<String, Value> = ids().map(|(i, l)| (l.clone(), json!(i))).collect();
        object.insert("id2label".into(), Value::Object(id2label));
        object.insert("label2id".into(), Value::Object(label2id));
        object.insert("model_type".into(), json!(self.model_type));
        object.insert(
            "architectures".into(),
            json!([format!("{class}ForSequenceClassification")]),
        );
        object.insert("problem_type".into(), json!(problem.name()));
        Ok(Value::Object(object))
    }

    /// What the bounds on single keys cannot see.
    fn check(&self) -> Result<()> {
        let (hidden, heads) = (self.hidden_size, self.num_attention_heads);
        ensure!(
            hidden.is_multiple_of(heads),
            "num_attention_heads {heads} does not divide hidden_size {hidden}"
        );
        ensure!(
            (self.pad_token_id as usize) < self.vocab_size,
            "pad_token_id {} is outside vocab_size {}",
            self.pad_token_id,
            self.vocab_size
        );
        ensure!(
            self.family != Family::Roberta
                || self.max_position_embeddings > self.pad_token_id as usize + 1,
            "max_position_embeddings {} leaves no room above pad_token_id {}",
            self.max_position_embeddings,
            self.pad_token_id
        );
        let parameters = self.encoder_parameters();
        ensure!(
            parameters.is_some_and(|count| count <= MAX_PARAMETERS),
            "these sizes make more than {MAX_PARAMETERS} parameters: vocab_size {}, \
             hidden_size {hidden}, num_hidden_layers {}, intermediate_size {}",
            self.vocab_size,
            self.num_hidden_layers,
            self.intermediate_size
        );
        Ok(())
    }

    /// The encoder's matrices, without biases and norms; `None` where the count overflows.
    fn encoder_parameters(&self) -> Option<u64> {
        let hidden = self.hidden_size as u64;
        let rows = (self.vocab_size as u64)
            .checked_add(self.max_position_embeddings as u64)?
            .checked_add(self.type_vocab_size as u64)?;
        let feed_forward = 2u64.checked_mul(self.intermediate_size as u64)?;
        let layer = 4u64.checked_mul(hidden)?.checked_add(feed_forward)?;
        let columns = rows.checked_add(layer.checked_mul(self.num_hidden_layers as u64)?)?;
        columns.checked_mul(hidden)
    }
}

const MAX_PARAMETERS: u64 = 1 << 36;
