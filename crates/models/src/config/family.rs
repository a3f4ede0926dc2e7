//! Which network a `config.json` describes.

use anyhow::{Result, bail};

/// The parameter names and the details of the mathematics a checkpoint follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Devlin et al. 2018, <https://arxiv.org/abs/1810.04805>.
    Bert,
    /// Liu et al. 2019, <https://arxiv.org/abs/1907.11692>: BERT's encoder whose position ids start at
    /// `pad_token_id + 1`; the head is dense, tanh, out_proj on token 0.
    /// XLM-RoBERTa and CamemBERT are the same network.
    Roberta,
    /// Sanh et al. 2019, <https://arxiv.org/abs/1910.01108>: BERT's encoder without token types and
    /// pooler; the head is pre_classifier, ReLU, classifier on token 0.
    DistilBert,
}

impl Family {
    /// Every family.
    pub const ALL: [Family; 3] = [Family::Bert, Family::Roberta, Family::DistilBert];

    /// `base_model_prefix` of `transformers`: what stands before the encoder's parameter names
    /// in a checkpoint that also holds a head.
    pub fn prefix(self) -> &'static str {
        match self {
            Family::Bert => "bert",
            Family::Roberta => "roberta",
            Family::DistilBert => "distilbert",
        }
    }
}

/// `model_type`, the family it belongs to, and how its `transformers` classes begin.
const MODEL_TYPES: [(&str, Family, &str); 5] = [
    ("bert", Family::Bert, "Bert"),
    ("roberta", Family::Roberta, "Roberta"),
    ("xlm-roberta", Family::Roberta, "XLMRoberta"),
    ("camembert", Family::Roberta, "Camembert"),
    ("distilbert", Family::DistilBert, "DistilBert"),
];

/// How the classes of a `model_type` begin.
pub(super) fn class_prefix(model_type: &str) -> Option<&'static str> {
    MODEL_TYPES
        .iter()
        .find_map(|&(name, _, class)| (name == model_type).then_some(class))
}

/// The `model_type` and its family. As in `transformers`, `model_type` decides, whatever the class in
/// `architectures` is called (`HF_ColBERT`, `BertLMHeadModel`, the class of somebody's own program); only where it
/// is absent does the class tell.
pub(super) fn detect(
    model_type: Option<&str>,
    architectures: &[String],
) -> Result<(String, Family)> {
    let by_class = |class: &str| {
        MODEL_TYPES.into_iter().find(|(_, _, prefix)| {
            class.strip_prefix(prefix).is_some_and(|rest| {
                // "BertModel", "BertForMaskedLM", "BertLMHeadModel"; "BertGenerationEncoder" is another network.
                ["Model", "For", "LMHead"]
                    .iter()
                    .any(|part| rest.starts_with(part))
            })
        })
    };
    let supported = || {
        let names =
            MODEL_TYPES.map(|(name, _, class)| format!("{name} ({class}Model, {class}For…)"));
        names.join(", ")
    };
    let found = match (model_type, architectures.first()) {
        (Some(name), _) => MODEL_TYPES.into_iter().find(|(known, _, _)| *known == name),
        (None, Some(class)) => by_class(class),
        (None, None) => bail!(
            "neither model_type nor architectures is given; supported are {}",
            supported()
        ),
    };
    let Some((name, family, _)) = found else {
        bail!(
            "model_type {:?}, architectures {architectures:?} is not supported; supported are {}",
            model_type.unwrap_or("(none)"),
            supported()
        );
    };
    Ok((name.to_owned(), family))
}
