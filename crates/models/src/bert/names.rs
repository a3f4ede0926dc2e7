//! The parameter names of each family, and the one set of names used in this crate.
//!
//! Canonical names are those of `transformers`' `BertModel`, without prefix:
//! `embeddings.word_embeddings.weight`, `encoder.layer.0.attention.self.query.weight`,
//! `pooler.dense.bias`, … The head keeps its family's names: `classifier.*` for BERT,
//! `classifier.dense.*` and `classifier.out_proj.*` for RoBERTa, `pre_classifier.*` and
//! `classifier.*` for DistilBERT.

use crate::config::Family;

/// The modules of an encoder layer: canonical name, DistilBERT's name.
const LAYER: [(&str, &str); 8] = [
    ("attention.self.query", "attention.q_lin"),
    ("attention.self.key", "attention.k_lin"),
    ("attention.self.value", "attention.v_lin"),
    ("attention.output.dense", "attention.out_lin"),
    ("attention.output.LayerNorm", "sa_layer_norm"),
    ("intermediate.dense", "ffn.lin1"),
    ("output.dense", "ffn.lin2"),
    ("output.LayerNorm", "output_layer_norm"),
];

/// The canonical name of a checkpoint's parameter, or `None` for what is no parameter of the
/// encoder or its classification head (the `position_ids` buffer, a masked-language-model head).
///
/// Understands names with and without the family's prefix, and the `gamma` and `beta` of
/// checkpoints converted from TensorFlow.
pub fn rename_for(family: Family, name: &str) -> Option<String> {
    let (inside, name) = match name.strip_prefix(family.prefix()) {
        Some(rest) if rest.starts_with('.') => (true, &rest[1..]),
        _ => (false, name),
    };
    let (module, parameter) = name.rsplit_once('.')?;
    let parameter = match parameter {
        "gamma" if module.ends_with("LayerNorm") => "weight",
        "beta" if module.ends_with("LayerNorm") => "bias",
        other => other,
    };
    let part = Part::parse(family, module, parameter)?;
    if inside && part == Part::Head {
        return None;
    }
    Some(match part {
        Part::Layer { number, module } => {
            format!("encoder.layer.{number}.{}.{parameter}", LAYER[module].0)
        }
        Part::Embeddings | Part::Pooler | Part::Head => format!("{module}.{parameter}"),
    })
}

/// The inverse of [`rename_for`]: the name under which `transformers` saves this parameter, in the
/// family's base model, or (`with_head`) in its sequence classification model, where the
/// encoder's names have the family's prefix.
///
/// `None` for what that model does not hold: a head's parameter without `with_head`, the pooler of
/// RoBERTa with it, any name that is not canonical.
pub fn export_name(family: Family, canonical: &str, with_head: bool) -> Option<String> {
    let (module, parameter) = canonical.rsplit_once('.')?;
    let name = match Part::parse_canonical(family, module, parameter)? {
        Part::Head => return with_head.then(|| canonical.to_owned()),
        Part::Pooler if with_head && family == Family::Roberta => return None,
        Part::Layer { number, module } if family == Family::DistilBert => {
            format!("transformer.layer.{number}.{}.{parameter}", LAYER[module].1)
        }
        Part::Layer { .. } | Part::Embeddings | Part::Pooler => canonical.to_owned(),
    };
    Some(match with_head {
        true => format!("{}.{name}", family.prefix()),
        false => name,
    })
}

/// Whether a canonical name is that of a head's parameter.
pub fn is_head(canonical: &str) -> bool {
    canonical.starts_with("classifier.") || canonical.starts_with("pre_classifier.")
}

#[derive(PartialEq)]
enum Part {
    Embeddings,
    /// `module` is a row of [`LAYER`].
    Layer {
        number: usize,
        module: usize,
    },
    Pooler,
    Head,
}

impl Part {
    /// A module by its family's name.
    fn parse(family: Family, module: &str, parameter: &str) -> Option<Self> {
        if family == Family::DistilBert {
            if let Some(rest) = module.strip_prefix("transformer.layer.") {
                return Self::layer(rest, parameter, |(_, distil)| distil);
            }
            if module.starts_with("encoder.") {
                return None;
            }
        }
        Self::parse_canonical(family, module, parameter)
    }

    fn parse_canonical(family: Family, module: &str, parameter: &str) -> Option<Self> {
        let distil = family == Family::DistilBert;
        if let Some(rest) = module.strip_prefix("encoder.layer.") {
            return Self::layer(rest, parameter, |(canonical, _)| canonical);
        }
        match (module, parameter) {
            ("embeddings.word_embeddings" | "embeddings.position_embeddings", "weight")
            | ("embeddings.LayerNorm", "weight" | "bias") => Some(Self::Embeddings),
            ("embeddings.token_type_embeddings", "weight") if !distil => Some(Self::Embeddings),
            ("pooler.dense", "weight" | "bias") if !distil => Some(Self::Pooler),
            (_, "weight" | "bias") => {
                let head: &[&str] = match family {
                    Family::Bert => &["classifier"],
                    Family::Roberta => &["classifier.dense", "classifier.out_proj"],
                    Family::DistilBert => &["pre_classifier", "classifier"],
                };
                head.contains(&module).then_some(Self::Head)
            }
            _ => None,
        }
    }

    /// `rest` is what follows `layer.`: the number and the module.
    fn layer(
        rest: &str,
        parameter: &str,
        name: impl Fn((&'static str, &'static str)) -> &'static str,
    ) -> Option<Self> {
        let (digits, module) = rest.split_once('.')?;
        let number: usize = digits.parse().ok()?;
        // "+1" and "01" parse too, but name no layer.
        let plain = digits == number.to_string();
        let module = LAYER.iter().position(|&names| name(names) == module)?;
        (plain && matches!(parameter, "weight" | "bias")).then_some(Self::Layer { number, module })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every canonical parameter of a model with two layers and a head.
    fn canonical(family: Family) -> Vec<String> {
        let mut modules = vec!["embeddings.LayerNorm".to_owned()];
        for layer in [0, 11] {
            modules.extend(LAYER.map(|(name, _)| format!("encoder.layer.{layer}.{name}")));
        }
        let (more, mut names) = match family {
            Family::Bert => (
                vec!["pooler.dense", "classifier"],
                vec!["token_type_embeddings"],
            ),
            Family::Roberta => (
                vec!["pooler.dense", "classifier.dense", "classifier.out_proj"],
                vec!["token_type_embeddings"],
            ),
            Family::DistilBert => (vec!["pre_classifier", "classifier"], vec![]),
        };
        modules.extend(more.into_iter().map(String::from));
        names.extend(["word_embeddings", "position_embeddings"]);
        let mut names: Vec<String> = names
            .iter()
            .map(|name| format!("embeddings.{name}.weight"))
            .collect();
        for module in modules {
            names.extend([format!("{module}.weight"), format!("{module}.bias")]);
        }
        names
    }

    #[test]
    fn names_survive_the_round_trip() {
        for family in [Family::Bert, Family::Roberta, Family::DistilBert] {
            for name in canonical(family) {
                let head = name.contains("classifier");
                let pooler = name.starts_with("pooler");
                let base = export_name(family, &name, false);
                assert_eq!(base.is_none(), head, "{name}");
                let full = export_name(family, &name, true);
                assert_eq!(
                    full.is_none(),
                    pooler && family == Family::Roberta,
                    "{name}"
                );
                for exported in base.iter().chain(&full) {
                    assert_eq!(
                        rename_for(family, exported),
                        Some(name.clone()),
                        "{exported}"
                    );
                }
                let prefixed = full.is_some_and(|full| full.starts_with(family.prefix()));
                assert!(head || pooler || prefixed, "{name}");
            }
        }
    }

    #[test]
    fn knows_the_variants() {
        let renamed = |family, name| rename_for(family, name);
        let to = |name: &str| Some(name.to_owned());
        assert_eq!(
            renamed(Family::Bert, "bert.embeddings.LayerNorm.gamma"),
            to("embeddings.LayerNorm.weight")
        );
        assert_eq!(
            renamed(Family::Bert, "encoder.layer.3.output.LayerNorm.beta"),
            to("encoder.layer.3.output.LayerNorm.bias")
        );
        assert_eq!(
            renamed(
                Family::DistilBert,
                "distilbert.transformer.layer.5.attention.out_lin.bias"
            ),
            to("encoder.layer.5.attention.output.dense.bias")
        );
        assert_eq!(
            renamed(
                Family::Roberta,
                "roberta.encoder.layer.10.attention.self.key.weight"
            ),
            to("encoder.layer.10.attention.self.key.weight")
        );
        assert_eq!(
            export_name(
                Family::DistilBert,
                "encoder.layer.0.output.dense.bias",
                true
            ),
            to("distilbert.transformer.layer.0.ffn.lin2.bias")
        );
    }

    #[test]
    fn ignores_names_that_are_not_parameters() {
        for (family, name) in [
            (Family::Bert, "embeddings.position_ids"),
            (Family::Bert, "bert.embeddings.position_ids"),
            (Family::Bert, "cls.predictions.transform.LayerNorm.gamma"),
            (Family::Bert, "cls.seq_relationship.weight"),
            (Family::Bert, "classifier.dense.weight"),
            (Family::Bert, "bert.classifier.weight"),
            (Family::Bert, "bertembeddings.LayerNorm.weight"),
            (Family::Bert, "encoder.layer.01.output.dense.weight"),
            (Family::Bert, "encoder.layer.+1.output.dense.weight"),
            (Family::Bert, "encoder.layer.x.output.dense.weight"),
            (Family::Bert, "encoder.layer.0.output.dense.gamma"),
            (Family::Bert, "encoder.layer.0.output"),
            (Family::Bert, "embeddings.word_embeddings.bias"),
            (Family::Bert, "roberta.embeddings.word_embeddings.weight"),
            (Family::Roberta, "lm_head.dense.weight"),
            (Family::Roberta, "classifier.weight"),
            (Family::DistilBert, "vocab_transform.weight"),
            (Family::DistilBert, "pooler.dense.weight"),
            (
                Family::DistilBert,
                "embeddings.token_type_embeddings.weight",
            ),
            (Family::DistilBert, "encoder.layer.0.output.dense.weight"),
            (Family::Bert, "weight"),
            (Family::Bert, ""),
        ] {
            assert_eq!(rename_for(family, name), None, "{family:?} {name}");
        }
    }
}
