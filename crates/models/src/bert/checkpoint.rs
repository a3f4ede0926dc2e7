//! The tensors of a checkpoint under canonical names, whatever a wrapper put in front of them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};
use wgrad_nn::TensorSource;

use super::names::{is_head, rename_for};
use crate::config::{BertConfig, Family};
use crate::io::safetensors::Weights;

/// What every encoder has, so that its name tells what stands before the names.
const ROOT: &str = "embeddings.word_embeddings.weight";

/// Components that wrappers of PyTorch put anywhere into a name: `torch.compile`, FSDP, activation checkpointing.
const TRANSPARENT: [&str; 3] = [
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
];

/// The weights of a folder under canonical names.
#[derive(Debug)]
pub(crate) struct CanonicalWeights<'a> {
    weights: &'a Weights,
    names: BTreeMap<String, String>,
    /// Tensors that are no parameter of an encoder or of its head.
    foreign: Vec<String>,
}

impl<'a> CanonicalWeights<'a> {
    /// Errors: two of the weights are one parameter; there are several encoders; another family's names.
    pub(crate) fn new(config: &BertConfig, weights: &'a Weights) -> Result<Self> {
        let (names, foreign) =
            canonical_names(config.family, &weights.names().collect::<Vec<_>>())?;
        Ok(Self {
            weights,
            names,
            foreign,
        })
    }

    /// The names, as the file has them, of the tensors that a model with the parameters `used` leaves alone.
    pub(crate) fn unused(&self, used: &BTreeSet<String>) -> Vec<String> {
        let known = self
            .names
            .iter()
            .filter(|(canonical, _)| !used.contains(*canonical))
            .map(|(_, name)| name);
        let mut unused: Vec<String> = self.foreign.iter().chain(known).cloned().collect();
        unused.sort_unstable();
        unused
    }
}

impl TensorSource for CanonicalWeights<'_> {
    fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let shape = self.weights.shape(self.names.get(name)?).ok()?;
        Some(shape.to_vec())
    }

    fn read(&self, name: &str) -> wgrad_tensor::Result<Vec<f32>> {
        let key = self.names.get(name).map_or(name, String::as_str);
        let values = self.weights.to_f32(key);
        values.map_err(|error| wgrad_tensor::Error::op("load", format!("{error:#}")))
    }
}

/// Names that users are told of: quoted, and the many cut to a few.
pub(crate) fn few_names(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut list: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect();
    if names.len() > SHOWN {
        list.push(format!("{} more", names.len() - SHOWN));
    }
    list.join(", ")
}

/// For a checkpoint's names: which one holds each canonical parameter, and the names that are no parameters
/// (buffers that `transformers` computes anew aside). Two names for one parameter are an error.
fn canonical_names(
    family: Family,
    names: &[&str],
) -> Result<(BTreeMap<String, String>, Vec<String>)> {
    let wrapper = wrapper(family, names)?;
    let mut by_canonical: BTreeMap<String, String> = BTreeMap::new();
    let mut foreign = Vec::new();
    for &name in names {
        let Some(canonical) = canonical_name(family, &wrapper, &without_transparent(name)) else {
            if !name.ends_with(".position_ids") && !name.ends_with(".token_type_ids") {
                foreign.push(name.to_owned());
            }
            continue;
        };
        if let Some(other) = by_canonical.insert(canonical.clone(), name.to_owned()) {
            bail!("the checkpoint holds {canonical} twice, as {other:?} and as {name:?}");
        }
    }
    Ok((by_canonical, foreign))
}

fn without_transparent(name: &str) -> String {
    let parts: Vec<&str> = name
        .split('.')
        .filter(|part| !TRANSPARENT.contains(part))
        .collect();
    parts.join(".")
}

/// What a wrapper left before the names of the encoder, up to the family's own prefix: `module.`,
/// `model.`, `0.auto_model.`; usually nothing.
fn wrapper(family: Family, names: &[&str]) -> Result<String> {
    let own = format!("{}.", family.prefix());
    let mut found = BTreeSet::new();
    for name in names {
        let name = without_transparent(name);
        let Some(before) = name.strip_suffix(ROOT) else {
            continue;
        };
        if before.is_empty() || before.ends_with('.') {
            let wrapper = before.strip_suffix(own.as_str()).unwrap_or(before);
            // "my_bert." does not end in the component "bert".
            let whole = wrapper.is_empty() || wrapper.ends_with('.');
            found.insert(if whole { wrapper } else { before }.to_owned());
        }
    }
    if found.is_empty() || found.contains("") {
        return Ok(String::new());
    }
    ensure!(
        found.len() == 1,
        "the checkpoint holds several encoders, under {}; save the one that is meant alone",
        few_names(&found.into_iter().collect::<Vec<_>>())
    );
    let wrapper = found.pop_first().unwrap_or_default();
    let last = wrapper.trim_end_matches('.').rsplit('.').next();
    let other = Family::ALL
        .into_iter()
        .find(|other| *other != family && last == Some(other.prefix()));
    if let Some(other) = other {
        bail!(
            "the checkpoint's names begin with `{wrapper}`, those of a {}, but model_type says {}; correct config.json",
            other.prefix(),
            family.prefix()
        );
    }
    Ok(wrapper)
}

/// A name without its wrapper. The head may stand beside the encoder instead of under the same wrapper.
fn canonical_name(family: Family, wrapper: &str, name: &str) -> Option<String> {
    if let Some(rest) = name.strip_prefix(wrapper) {
        return rename_for(family, rest);
    }
    let mut outer = wrapper;
    while let Some(cut) = outer.trim_end_matches('.').rfind('.').map(|at| at + 1) {
        outer = &outer[..cut];
        if let Some(rest) = name.strip_prefix(outer) {
            return rename_for(family, rest).filter(|name| is_head(name));
        }
    }
    rename_for(family, name).filter(|name| is_head(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::error_line;

    fn names(family: Family, list: &[&str]) -> Result<(BTreeMap<String, String>, Vec<String>)> {
        canonical_names(family, list)
    }

    #[test]
    fn two_names_for_one_parameter_are_an_error() {
        let (map, foreign) = names(
            Family::Bert,
            &[
                "bert.pooler.dense.bias",
                "embeddings.position_ids",
                "classifier.bias",
                "x.y",
            ],
        )
        .unwrap();
        assert_eq!(map["pooler.dense.bias"], "bert.pooler.dense.bias");
        assert_eq!((map.len(), foreign), (2, vec!["x.y".to_owned()]));
        let twice = ["bert.pooler.dense.bias", "pooler.dense.bias"];
        let line = error_line(names(Family::Bert, &twice));
        assert!(line.contains("\"pooler.dense.bias\""), "{line}");
    }

    #[test]
    fn wrappers_are_taken_off() {
        for before in [
            "",
            "bert.",
            "module.",
            "module.bert.",
            "_orig_mod.bert.",
            "bert._orig_mod.",
            "module._orig_mod.model.bert.",
            "model.",
            "encoder.",
            "0.auto_model.",
            "my_bert.",
        ] {
            let encoder = [
                format!("{before}embeddings.word_embeddings.weight"),
                format!("{before}encoder.layer.0.output.dense.bias"),
                format!("{before}pooler.dense.bias"),
            ];
            // A head stands beside the encoder, under what is around both.
            let outer = before.strip_suffix("bert.").unwrap_or(before);
            let outer = outer.strip_suffix("bert._orig_mod.").unwrap_or(outer);
            let outer = if before == "my_bert." { "" } else { outer };
            let list: Vec<String> = encoder
                .into_iter()
                .chain([format!("{outer}classifier.bias")])
                .collect();
            let views: Vec<&str> = list.iter().map(String::as_str).collect();
            let (map, foreign) = names(Family::Bert, &views).unwrap();
            assert_eq!(
                map["embeddings.word_embeddings.weight"], list[0],
                "{before}"
            );
            assert_eq!(map["encoder.layer.0.output.dense.bias"], list[1]);
            assert_eq!(map["pooler.dense.bias"], list[2]);
            assert_eq!(map.get("classifier.bias"), Some(&list[3]), "{before}");
            assert_eq!(foreign, Vec::<String>::new());
        }
        // Also beside a wrapper of the encoder alone.
        let (map, _) = names(
            Family::Roberta,
            &[
                "net.model.roberta.embeddings.word_embeddings.weight",
                "net.classifier.dense.bias",
                "net.pooler.dense.bias",
            ],
        )
        .unwrap();
        assert_eq!(map["classifier.dense.bias"], "net.classifier.dense.bias");
        assert_eq!(map.get("pooler.dense.bias"), None);
    }

    #[test]
    fn several_encoders_and_other_families_are_refused() {
        let two = [
            "query.embeddings.word_embeddings.weight",
            "passage.embeddings.word_embeddings.weight",
        ];
        let line = error_line(names(Family::Bert, &two));
        assert!(line.contains("`passage.`, `query.`"), "{line}");
        // The encoder itself, beside a copy of it.
        let copy = [
            "bert.embeddings.word_embeddings.weight",
            "teacher.bert.embeddings.word_embeddings.weight",
        ];
        let (map, foreign) = names(Family::Bert, &copy).unwrap();
        assert_eq!((map.len(), foreign.len()), (1, 1));
        let other = ["module.roberta.embeddings.word_embeddings.weight"];
        let line = error_line(names(Family::Bert, &other));
        assert!(
            line.contains("roberta") && line.contains("model_type"),
            "{line}"
        );
    }
}
