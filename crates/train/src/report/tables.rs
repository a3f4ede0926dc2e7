//! The report's tables, each a section of the page; an empty table gives an empty text.

use std::fmt::Write;

use super::html::escape;
use super::scale::group_thousands;
use super::{ConfusionMatrix, Prediction};
use crate::metrics::metrics_of_confusion;
use crate::progress::format_duration;

/// With more classes than this a table of all pairs is too wide to read.
const MOST_CLASSES: usize = 24;
/// Rows of the list of confused pairs that replaces it.
const MOST_PAIRS: usize = 30;
/// Up to this many classes the matrix leaves room for the table of scores beside it.
const CLASSES_BESIDE: usize = 4;

/// The confusion matrix, and each class's scores.
pub fn confusion_section(confusion: &ConfusionMatrix) -> String {
    let names = &confusion.label_names;
    // Checks the shape too; a matrix without examples, or one that does not fit its names, is left out.
    let Ok(metrics) = metrics_of_confusion(confusion.counts.clone()) else {
        return String::new();
    };
    if names.len() != confusion.counts.len() {
        return String::new();
    }
    let (note, beside) = if names.len() > MOST_CLASSES {
        ("The labels confused most often.", "")
    } else {
        let beside = if names.len() > CLASSES_BESIDE {
            ""
        } else {
            "pair"
        };
        ("Counts, and shares of the true label's examples.", beside)
    };
    let mut html = format!(
        "<section><h2>Confusion matrix</h2><p class=\"note\">{note}</p><div class=\"{beside}\">"
    );
    if names.len() > MOST_CLASSES {
        html += &confused_pairs(confusion);
    } else {
        html += "<div class=\"card scroll\"><table class=\"confusion\"><thead><tr><th>true ↓ predicted →</th>";
        for name in names {
            let _ = write!(html, "<th scope=\"col\">{}</th>", escape(name));
        }
        html += "</tr></thead><tbody>";
        for (truth, row) in confusion.counts.iter().enumerate() {
            let _ = write!(html, "<tr><th scope=\"row\">{}</th>", escape(&names[truth]));
            let total: u64 = row.iter().sum();
            for (predicted, count) in row.iter().enumerate() {
                let share = *count as f64 / total.max(1) as f64;
                let class = if truth == predicted { "right" } else { "wrong" };
                let _ = write!(
                    html,
                    "<td class=\"{class}\" style=\"--share:{share:.3}\"><b>{}</b><small>{:.0}%</small></td>",
                    group_thousands(&count.to_string()),
                    share * 100.0
                );
            }
            html += "</tr>";
        }
        html += "</tbody></table></div>";
    }
    html += "<div class=\"card scroll\"><table class=\"numbers\"><thead><tr><th>label</th>";
    for column in ["precision", "recall", "F1", "examples"] {
        let _ = write!(html, "<th class=\"number\">{column}</th>");
    }
    html += "</tr></thead><tbody>";
    for (class, name) in names.iter().enumerate() {
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{:.3}</td><td>{:.3}</td><td>{:.3}</td><td>{}</td></tr>",
            escape(name),
            metrics.precision[class],
            metrics.recall[class],
            metrics.f1[class],
            group_thousands(&confusion.counts[class].iter().sum::<u64>().to_string())
        );
    }
    html += "</tbody></table></div></div></section>\n";
    html
}

/// The pairs of different labels confused most often.
fn confused_pairs(confusion: &ConfusionMatrix) -> String {
    let mut pairs: Vec<(u64, usize, usize)> = Vec::new();
    for (truth, row) in confusion.counts.iter().enumerate() {
        let wrong = row
            .iter()
            .enumerate()
            .filter(|&(p, &count)| p != truth && count > 0);
        pairs.extend(wrong.map(|(predicted, &count)| (count, truth, predicted)));
    }
    pairs.sort_by_key(|&(count, truth, predicted)| (std::cmp::Reverse(count), truth, predicted));
    let mut html = "<div class=\"card scroll\"><table class=\"numbers\"><thead><tr><th>true</th>\
                    <th>predicted</th><th class=\"number\">count</th></tr></thead><tbody>"
        .to_string();
    for (count, truth, predicted) in pairs.into_iter().take(MOST_PAIRS) {
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{}</th><th>{}</th><td>{}</td></tr>",
            escape(&confusion.label_names[truth]),
            escape(&confusion.label_names[predicted]),
            group_thousands(&count.to_string())
        );
    }
    html += "</tbody></table></div>";
    html
}

/// Texts with the model's answers, and the true label if it is known.
pub fn predictions_section(title: &str, note: &str, predictions: &[Prediction]) -> String {
    if predictions.is_empty() {
        return String::new();
    }
    let truth_known = predictions.iter().any(|p| p.label.is_some());
    let probability_known = predictions.iter().any(|p| p.probability.is_some());
    let mut html = format!("<section><h2>{title}</h2>");
    if !note.is_empty() {
        let _ = write!(html, "<p class=\"note\">{note}</p>");
    }
    html += "<div class=\"card\"><table class=\"predictions\"><thead><tr><th>text</th>";
    if truth_known {
        html += "<th>true</th>";
    }
    html += "<th>predicted</th>";
    if probability_known {
        html += "<th class=\"number\">probability</th>";
    }
    html += "</tr></thead><tbody>";
    for p in predictions {
        let _ = write!(
            html,
            "<tr><td class=\"text\" dir=\"auto\">{}</td>",
            escape(&p.text)
        );
        if truth_known {
            let _ = write!(
                html,
                "<td data-name=\"true\"><span class=\"chip\">{}</span></td>",
                escape(p.label.as_deref().unwrap_or("unknown"))
            );
        }
        let right = p.label.as_ref().is_none_or(|label| *label == p.predicted);
        let _ = write!(
            html,
            "<td data-name=\"predicted\"><span class=\"chip {}\">{}</span></td>",
            if right { "right" } else { "wrong" },
            escape(&p.predicted)
        );
        if probability_known {
            let probability = p.probability.filter(|p| p.is_finite());
            let _ = write!(
                html,
                "<td class=\"number\" data-name=\"probability\">{}</td>",
                probability.map_or("unknown".to_string(), |p| format!("{:.1}%", p * 100.0))
            );
        }
        html += "</tr>";
    }
    html += "</tbody></table></div></section>\n";
    html
}

/// Names and values.
pub fn settings_section(settings: &[(String, String)]) -> String {
    if settings.is_empty() {
        return String::new();
    }
    let mut html =
        "<section><h2>Settings</h2><div class=\"card\"><table class=\"settings\"><tbody>"
            .to_string();
    for (name, value) in settings {
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{}</th><td dir=\"auto\">{}</td></tr>",
            escape(name),
            escape(value)
        );
    }
    html += "</tbody></table></div></section>\n";
    html
}

/// Parts of the run with a bar for the time each took.
pub fn timings_section(timings: &[(String, f64)]) -> String {
    if timings.is_empty() {
        return String::new();
    }
    let longest = timings
        .iter()
        .map(|t| t.1)
        .filter(|s| s.is_finite())
        .fold(0.0, f64::max);
    let mut html =
        "<section><h2>Timings</h2><div class=\"card\"><table class=\"timings\"><tbody>".to_string();
    for (name, seconds) in timings {
        let share = if seconds.is_finite() && longest > 0.0 {
            (seconds / longest).max(0.0)
        } else {
            0.0
        };
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{}</th><td class=\"bar\"><i style=\"--share:{share:.3}\"></i></td><td \
             class=\"number\">{}</td></tr>",
            escape(name),
            format_duration(*seconds)
        );
    }
    html += "</tbody></table></div></section>\n";
    html
}
