//! Parameter groups: parts of a model that are trained with their own rate and weight decay.

use crate::Parameters;

/// Named parameters that share a learning rate and a weight decay.
#[derive(Debug, Clone)]
pub struct ParamGroup {
    /// The parameters.
    pub params: Parameters,
    /// The factor of the optimizer's learning rate for these parameters.
    pub lr_scale: f64,
    /// Weight decay of these; the optimizer's own if not given.
    pub weight_decay: Option<f64>,
}

impl ParamGroup {
    /// The optimizer's own rate and weight decay.
    pub fn new(params: Parameters) -> Self {
        Self {
            params,
            lr_scale: 1.0,
            weight_decay: None,
        }
    }

    /// With this weight decay.
    pub fn weight_decay(mut self, weight_decay: f64) -> Self {
        self.weight_decay = Some(weight_decay);
        self
    }

    /// With this multiple of the optimizer's learning rate.
    pub fn lr_scale(mut self, lr_scale: f64) -> Self {
        self.lr_scale = lr_scale;
        self
    }
}

/// The parameters of an optimizer, in groups: made from one list of parameters, from a group, or from several.
#[derive(Debug, Clone)]
pub struct ParamGroups(pub(super) Vec<ParamGroup>);

impl From<Parameters> for ParamGroups {
    fn from(params: Parameters) -> Self {
        Self(vec![ParamGroup::new(params)])
    }
}

impl From<ParamGroup> for ParamGroups {
    fn from(group: ParamGroup) -> Self {
        Self(vec![group])
    }
}

impl From<Vec<ParamGroup>> for ParamGroups {
    fn from(groups: Vec<ParamGroup>) -> Self {
        Self(groups)
    }
}

/// Two groups: biases and parameters of norms without weight decay, all others with it. Which those are
/// is told by [`takes_no_decay`]. An empty group is left out.
pub fn no_decay(params: Parameters, weight_decay: f64) -> Vec<ParamGroup> {
    let (without, with): (Parameters, Parameters) = params
        .into_iter()
        .partition(|(name, _)| takes_no_decay(name));
    [
        ParamGroup::new(with).weight_decay(weight_decay),
        ParamGroup::new(without).weight_decay(0.0),
    ]
    .into_iter()
    .filter(|group| !group.params.is_empty())
    .collect()
}

/// Whether `transformers`' Trainer would spare this parameter the weight decay: names with `bias`,
/// `layernorm` or `rmsnorm` in any case, and parts of the name that are `norm`, end in `_norm`, or begin
/// with `ln_` (GPT-2's layer norms).
pub fn takes_no_decay(name: &str) -> bool {
    let name = name.to_lowercase();
    ["bias", "layernorm", "rmsnorm"]
        .iter()
        .any(|part| name.contains(part))
        || name
            .split('.')
            .any(|part| part == "norm" || part.ends_with("_norm") || part.starts_with("ln_"))
}

#[cfg(test)]
mod tests {
    use super::takes_no_decay;

    #[test]
    fn names_as_the_trainer_sorts_them() {
        for (name, spared) in [
            ("bert.embeddings.LayerNorm.weight", true),
            ("bert.encoder.layer.0.output.dense.bias", true),
            ("bert.encoder.layer.0.output.dense.weight", false),
            ("bert.embeddings.word_embeddings.weight", false),
            ("model.layers.0.input_layernorm.weight", true),
            ("model.norm.weight", true),
            ("decoder.final_norm.weight", true),
            ("transformer.h.0.ln_1.weight", true),
            ("normalizer.weight", false),
            ("classifier.weight", false),
        ] {
            assert_eq!(takes_no_decay(name), spared, "{name}");
        }
    }
}
