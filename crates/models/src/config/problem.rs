//! What the logits of a classification head mean.

use anyhow::{Result, bail};

/// `problem_type` of a `config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemType {
    /// One of the labels holds: softmax.
    SingleLabel,
    /// Each label holds or not: a sigmoid each. Also a head of one label, as in `transformers`' pipeline.
    MultiLabel,
    /// The logits are the values.
    Regression,
}

impl ProblemType {
    /// From the key, if there is one, and the number of labels.
    pub(super) fn new(key: Option<&str>, labels: usize) -> Result<Self> {
        Ok(match key {
            Some("regression") => ProblemType::Regression,
            Some("multi_label_classification") => ProblemType::MultiLabel,
            None | Some("single_label_classification") if labels == 1 => ProblemType::MultiLabel,
            None | Some("single_label_classification") => ProblemType::SingleLabel,
            Some(other) => bail!(
                "problem_type is {other:?}; known are single_label_classification, multi_label_classification and regression"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_pipeline_of_transformers_does() {
        let new = |key, labels| ProblemType::new(key, labels).unwrap();
        assert_eq!(new(None, 2), ProblemType::SingleLabel);
        assert_eq!(new(None, 1), ProblemType::MultiLabel);
        assert_eq!(
            new(Some("single_label_classification"), 3),
            ProblemType::SingleLabel
        );
        assert_eq!(
            new(Some("multi_label_classification"), 3),
            ProblemType::MultiLabel
        );
        assert_eq!(new(Some("regression"), 1), ProblemType::Regression);
        let refused = ProblemType::new(Some("ranking"), 1).unwrap_err();
        assert!(refused.to_string().contains("ranking"));
    }
}
