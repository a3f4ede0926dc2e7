//! The layers behind the encoder: which of a folder's tensors they take, and what starts anew.

use anyhow::{Context, Result, ensure};
use wgrad_nn::{Init, Linear, Module, TensorSource, VarBuilder};
use wgrad_tensor::{Device, Generator};
use wgrad_train::data::match_labels;

use crate::bert::{BertModel, CanonicalWeights, few_names};
use crate::config::{BertConfig, Family, ProblemType};

/// What gives the logits, as each family has it.
#[derive(Debug, Module)]
pub(super) enum Head {
    /// BERT goes through its pooler first.
    Bert { classifier: Linear },
    Roberta {
        #[module(rename = "classifier.dense")]
        dense: Linear,
        #[module(rename = "classifier.out_proj")]
        output: Linear,
    },
    DistilBert {
        pre_classifier: Linear,
        classifier: Linear,
    },
}

impl Head {
    /// The layer that gives the logits.
    pub(super) fn output(&self) -> &Linear {
        match self {
            Head::Bert { classifier } | Head::DistilBert { classifier, .. } => classifier,
            Head::Roberta { output, .. } => output,
        }
    }
}

/// The layers between the encoder and the logits, the last one last.
fn layers(family: Family) -> [&'static str; 2] {
    match family {
        Family::Bert => ["pooler.dense", "classifier"],
        Family::Roberta => ["classifier.dense", "classifier.out_proj"],
        Family::DistilBert => ["pre_classifier", "classifier"],
    }
}

fn has(source: &CanonicalWeights, layer: &str) -> bool {
    source.shape(&format!("{layer}.weight")).is_some()
}

/// Whether the head among the weights, if there is one, classifies texts. Other tasks have layers of the same names:
/// the `classifier` of `BertForTokenClassification` and of `BertForMultipleChoice`.
pub(super) fn classifies(config: &BertConfig, source: &CanonicalWeights) -> bool {
    let architectures = &config.architectures;
    let whole = || layers(config.family).iter().all(|layer| has(source, layer));
    architectures
        .iter()
        .any(|name| name.ends_with("ForSequenceClassification"))
        || (architectures.is_empty() && whole())
}

/// Whether the weights hold a head whose outputs are those that `id2label` names.
pub(super) fn has_labelled_head(config: &BertConfig, source: &CanonicalWeights) -> bool {
    let [_, output] = layers(config.family);
    let rows = source.shape(&format!("{output}.weight"));
    let rows = rows.and_then(|shape| shape.first().copied());
    classifies(config, source)
        && config.label_problem.is_none()
        && rows == Some(config.id2label.len())
}

/// A single output without a `problem_type` may be a value: `transformers` trains it as one.
fn outputs_are_values(config: &BertConfig) -> bool {
    config.problem_type == ProblemType::Regression || config.id2label.len() == 1
}

/// A head, and how it came about.
pub(super) struct Built {
    pub head: Head,
    /// Layers of the head, BERT's pooler included, without a tensor of the folder.
    pub new: Vec<&'static str>,
    /// Lines for the user.
    pub notes: Vec<String>,
}

/// The head for `labels`, and the pooler of `encoder` where it belongs to the head. Without `labels` it is the
/// folder's own head. What the folder does not have starts anew, normal with the configuration's
/// `initializer_range`, drawn from `generator`; of the last layer each label's row that the folder has, by name.
pub(super) fn build(
    device: &Device,
    config: &BertConfig,
    source: &CanonicalWeights,
    encoder: &mut BertModel,
    labels: Option<(&[String], ProblemType)>,
    generator: &Generator,
) -> Result<Built> {
    let adopted = classifies(config, source);
    // The head may be missing, all of it or a part, and starts anew then.
    let kept = VarBuilder::from_source_or_fresh(device, Box::new(source), generator);
    let fresh = VarBuilder::fresh(device, generator);
    let mut new = Vec::new();
    let normal = Init::Normal {
        mean: 0.0,
        std: config.initializer_range as f32,
    };
    let hidden = config.hidden_size;
    let mut layer = |keep: bool, name: &'static str, outputs: usize| {
        if !keep || !has(source, name) {
            new.push(name);
        }
        let vb = if keep { &kept } else { &fresh };
        Linear::with_init(hidden, outputs, normal, Some(Init::Zeros), &vb.pp(name))
    };
    let [first, last] = layers(config.family);
    // The row of a class says nothing of a number, nor a number's of a class.
    let same_kind = |problem: ProblemType| match problem {
        ProblemType::Regression => outputs_are_values(config),
        _ => config.problem_type != ProblemType::Regression,
    };
    let (labels, comparable) = match labels {
        Some((labels, problem)) => (Some(labels), same_kind(problem)),
        None => (None, true),
    };
    let outputs = labels.map_or(config.id2label.len(), <[String]>::len);
    let rows = match labels {
        Some(labels) if comparable && has_labelled_head(config, source) => {
            match_labels(&config.id2label, labels)
        }
        Some(labels) => vec![None; labels.len()],
        None => (0..outputs).map(Some).collect(),
    };
    let unchanged = labels.is_none()
        || (rows.len() == config.id2label.len()
            && rows.iter().enumerate().all(|(i, row)| *row == Some(i)));
    let keep_output = adopted && unchanged;
    let head = match config.family {
        Family::Bert => {
            if encoder.pooler().is_none() {
                encoder.set_pooler(Some(layer(true, first, hidden)?));
            }
            Head::Bert {
                classifier: layer(keep_output, last, outputs)?,
            }
        }
        Family::Roberta => {
            // Its pooler is no part of the classifier.
            encoder.set_pooler(None);
            Head::Roberta {
                dense: layer(adopted, first, hidden)?,
                output: layer(keep_output, last, outputs)?,
            }
        }
        Family::DistilBert => Head::DistilBert {
            pre_classifier: layer(adopted, first, hidden)?,
            classifier: layer(keep_output, last, outputs)?,
        },
    };
    let mut notes = Vec::new();
    if !adopted && has(source, last) {
        notes.push(format!(
            "the head among the weights is not one that classifies texts (config.json says {}); it is not used",
            match config.architectures.is_empty() {
                true => "nothing of it".to_owned(),
                false => config.architectures.join(", "),
            }
        ));
    }
    if let (Some(labels), true) = (labels, adopted && !unchanged && has(source, last)) {
        if rows.iter().any(Option::is_some) {
            keep_rows(head.output(), source, last, &rows)?;
            new.retain(|name| *name != last);
        }
        notes.push(match comparable {
            true => matched(config, labels, &rows),
            false => "the model's head and the data's labels are classes and numbers; the last layer starts anew".into(),
        });
    }
    if !new.is_empty() && labels.is_some() {
        let names: Vec<String> = new.iter().map(|name| (*name).to_owned()).collect();
        notes.push(format!("made anew and trained: {}", few_names(&names)));
    }
    Ok(Built { head, new, notes })
}

/// Takes over the rows of the last layer whose labels are in the folder.
fn keep_rows(
    output: &Linear,
    source: &CanonicalWeights,
    name: &str,
    rows: &[Option<usize>],
) -> Result<()> {
    let weight = format!("{name}.weight");
    let bias = format!("{name}.bias");
    for (name, tensor) in [(weight, Some(output.weight())), (bias, output.bias())] {
        let (Some(tensor), Some(shape)) = (tensor, source.shape(&name)) else {
            continue;
        };
        let width = tensor.shape().get(1).copied().unwrap_or(1);
        ensure!(
            shape.get(1..) == tensor.shape().get(1..),
            "`{name}` has shape {shape:?}, the model has hidden_size {width}"
        );
        let stored = source.read(&name)?;
        let mut values = tensor.to_vec::<f32>()?;
        for (row, from) in values.chunks_mut(width).zip(rows) {
            let Some(from) = from else { continue };
            let from = stored.get(from * width..(from + 1) * width);
            row.copy_from_slice(from.with_context(|| format!("`{name}` has too few rows"))?);
        }
        tensor.copy_from_slice(&values)?;
    }
    Ok(())
}

/// Which labels of the data the model knows.
fn matched(config: &BertConfig, labels: &[String], rows: &[Option<usize>]) -> String {
    if let Some(problem) = &config.label_problem {
        return format!("{problem}; the last layer starts anew");
    }
    let of = |known: bool| -> Vec<String> {
        let labels = labels.iter().zip(rows);
        let labels = labels.filter(|(_, row)| row.is_some() == known);
        labels.map(|(label, _)| label.clone()).collect()
    };
    let gone: Vec<String> = (config.id2label.iter().enumerate())
        .filter(|(i, _)| !rows.contains(&Some(*i)))
        .map(|(_, label)| label.clone())
        .collect();
    if of(true).is_empty() {
        return format!(
            "the model's labels ({}) are not those of the data ({}); the last layer starts anew",
            few_names(&config.id2label),
            few_names(labels)
        );
    }
    let mut line = format!(
        "labels are matched by name: {} go on from the model",
        few_names(&of(true))
    );
    if !of(false).is_empty() {
        line += &format!("; {} start anew", few_names(&of(false)));
    }
    if !gone.is_empty() {
        line += &format!("; the model's {} are dropped", few_names(&gone));
    }
    line
}
