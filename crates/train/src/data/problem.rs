//! The meaning of a table's labels and of a classification head's logits.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, bail};

/// `problem_type` of `transformers`: what labels and logits mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemType {
    /// One of the labels holds: softmax and cross-entropy.
    SingleLabel,
    /// Each label holds or not: a sigmoid and a binary cross-entropy each.
    MultiLabel,
    /// The labels are numbers and the logits their predictions: mean squared error.
    Regression,
}

impl ProblemType {
    /// As `config.json` spells it.
    pub fn name(self) -> &'static str {
        match self {
            ProblemType::SingleLabel => "single_label_classification",
            ProblemType::MultiLabel => "multi_label_classification",
            ProblemType::Regression => "regression",
        }
    }
}

impl fmt::Display for ProblemType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ProblemType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let all = [
            ProblemType::SingleLabel,
            ProblemType::MultiLabel,
            ProblemType::Regression,
        ];
        match all.into_iter().find(|problem| problem.name() == name) {
            Some(problem) => Ok(problem),
            None => bail!(
                "problem_type is {name:?}; known are single_label_classification, multi_label_classification and regression"
            ),
        }
    }
}
