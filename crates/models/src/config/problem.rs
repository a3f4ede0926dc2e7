//! What the logits of a classification head mean.

use anyhow::Result;
use wgrad_train::data::ProblemType;

/// From the key `problem_type`, if there is one, and the number of labels. A head of one label without the key
/// gives one probability, as in `transformers`' pipeline.
pub(super) fn problem_type(key: Option<&str>, labels: usize) -> Result<ProblemType> {
    let problem = key.map(str::parse).transpose()?;
    Ok(match problem.unwrap_or(ProblemType::SingleLabel) {
        ProblemType::SingleLabel if labels == 1 => ProblemType::MultiLabel,
        problem => problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_pipeline_of_transformers_does() {
        let new = |key, labels| problem_type(key, labels).unwrap();
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
        let refused = problem_type(Some("ranking"), 1).unwrap_err();
        assert!(refused.to_string().contains("ranking"));
    }
}
