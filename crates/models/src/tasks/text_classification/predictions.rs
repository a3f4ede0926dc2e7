//! `predict_results.txt`: a prediction for each row of the test file, as `run_glue.py` of `transformers` writes it.

use std::path::Path;

use anyhow::Result;
use wgrad_train::data::ProblemType;
use wgrad_train::fs::write_atomic;

use crate::classifier::argmax;

/// What the logits of a row say: a label, several of them by comma, or a number.
pub fn prediction(logits: &[f32], problem: ProblemType, labels: &[String]) -> String {
    let name = |class: usize| labels.get(class).map_or("", String::as_str);
    match problem {
        ProblemType::SingleLabel => name(argmax(logits)).to_owned(),
        ProblemType::MultiLabel => {
            let held = (0..logits.len()).filter(|class| logits[*class] > 0.0);
            held.map(name).collect::<Vec<_>>().join(",")
        }
        ProblemType::Regression => logits.first().map_or(String::new(), f32::to_string),
    }
}

/// Writes the file to `output_dir`.
pub fn write(
    output_dir: &Path,
    logits: &[Vec<f32>],
    problem: ProblemType,
    labels: &[String],
) -> Result<()> {
    let mut text = "index\tprediction\n".to_owned();
    for (row, logits) in logits.iter().enumerate() {
        text += &format!("{row}\t{}\n", prediction(logits, problem, labels));
    }
    write_atomic(output_dir.join("predict_results.txt"), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_its_label_its_labels_or_its_number() {
        let labels = ["a".to_owned(), "b".to_owned()];
        let of = |problem| prediction(&[0.5, 2.0], problem, &labels);
        assert_eq!(of(ProblemType::SingleLabel), "b");
        assert_eq!(of(ProblemType::MultiLabel), "a,b");
        assert_eq!(of(ProblemType::Regression), "0.5");
    }
}
