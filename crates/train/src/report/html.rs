//! The page and its curves.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::chart::{Chart, Series};
use super::curve::{Point, smooth, smoothing_factor};
use super::scale::{Format, group_thousands};
use super::tables::{confusion_section, predictions_section, settings_section, timings_section};
use super::{Report, TrainPoint, ValidationPoint};
use crate::metrics::is_share;

const STYLE: &str = include_str!("style.css");

/// Text made safe inside elements and quoted attributes. Control characters, which HTML forbids, are replaced.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The whole page. The policy in its head forbids the browser to load anything at all.
pub fn page(report: &Report) -> String {
    let title = escape(&report.title);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>{title}</title><style>\n{STYLE}</style></head>\n<body><main>\n<header><h1>{title}</h1>"
    );
    if !report.adapter.is_empty() {
        let _ = write!(
            html,
            "<p class=\"adapter\" dir=\"auto\">{}</p>",
            escape(&report.adapter)
        );
    }
    html += "</header>\n";
    if !report.final_metrics.is_empty() {
        html += "<section class=\"tiles\">";
        for (name, value) in &report.final_metrics {
            let _ = write!(
                html,
                "<div class=\"card tile\"><b>{}</b><span>{}</span></div>",
                format_value(*value),
                escape(name)
            );
        }
        html += "</section>\n";
    }
    html += "<section><h2>Curves</h2><div class=\"charts\">\n";
    for chart in charts(report) {
        html += &chart.to_html();
    }
    html += "</div></section>\n";
    if let Some(confusion) = &report.confusion {
        html += &confusion_section(confusion);
    }
    html += &predictions_section("Samples", "", &report.samples);
    html += &predictions_section(
        "Worst mistakes",
        "Wrong predictions, the surest first.",
        &report.worst_mistakes,
    );
    html += "<div class=\"pair\">\n";
    html += &settings_section(&report.settings);
    html += &timings_section(&report.timings);
    html += "</div>\n</main></body></html>\n";
    html
}

fn charts(report: &Report) -> Vec<Chart> {
    let train = |value: fn(&TrainPoint) -> f64| -> Vec<Point> {
        report
            .train
            .iter()
            .map(|p| (p.step as f64, value(p)))
            .collect()
    };
    let validation = |value: &dyn Fn(&ValidationPoint) -> Option<f64>| -> Vec<Point> {
        let points = report.validation.iter();
        points
            .filter_map(|p| Some((p.step as f64, value(p)?)))
            .collect()
    };
    let series = |name: &str, class, points| Series {
        name: name.to_string(),
        class,
        points,
    };
    let factor = smoothing_factor(report.train.len());
    let smoothed = |name: &str, points: Vec<Point>| {
        vec![
            series(name, "raw", points.clone()),
            series(
                &format!("smoothed (moving average, factor {factor:.2})"),
                "train",
                smooth(&points, factor),
            ),
        ]
    };
    let mut losses = smoothed("training", train(|p| p.loss));
    losses.push(series(
        "validation",
        "validation",
        validation(&|p| Some(p.loss)),
    ));
    let steps = report.train.iter().map(|p| p.step);
    let steps = steps.chain(report.validation.iter().map(|p| p.step));
    let last_step = steps.max().unwrap_or(0) as f64;
    let chart = |title: &str, y_label: &str, series| Chart {
        last_step,
        title: title.to_string(),
        y_label: y_label.to_string(),
        format: Format::Number,
        y_min: None,
        y_max: None,
        note: String::new(),
        series,
    };
    let names: BTreeSet<&String> = report
        .validation
        .iter()
        .flat_map(|p| p.metrics.keys())
        .collect();
    let mut charts = vec![Chart {
        note: best_note(report, "loss", &validation(&|p| Some(p.loss))),
        ..chart("Loss", "loss", losses)
    }];
    for name in names {
        let points = validation(&|p| p.metrics.get(name).copied());
        let share = is_share(name);
        charts.push(Chart {
            format: if share {
                Format::Percent
            } else {
                Format::Number
            },
            y_max: share.then_some(1.0),
            note: best_note(report, name, &points),
            ..chart(
                &format!("Validation {name}"),
                name,
                vec![series("validation", "validation", points)],
            )
        });
    }
    charts.push(Chart {
        y_min: Some(0.0),
        ..chart(
            "Learning rate",
            "learning rate",
            vec![series("learning rate", "train", train(|p| p.learning_rate))],
        )
    });
    charts.push(Chart {
        y_min: Some(0.0),
        ..chart(
            "Gradient norm",
            "norm before clipping",
            smoothed("each step", train(|p| p.grad_norm)),
        )
    });
    charts
}

/// The best of the points and its step, where `name` is the metric that decides what is best; of equals the earliest.
fn best_note(report: &Report, name: &str, points: &[Point]) -> String {
    let Some(metric) = report.best_metric.as_ref().filter(|m| m.name == name) else {
        return String::new();
    };
    let better = |a: f64, b: f64| {
        if metric.greater_is_better {
            a > b
        } else {
            a < b
        }
    };
    let finite = points.iter().filter(|p| p.1.is_finite());
    let best = finite.fold(None, |best: Option<&Point>, p| match best {
        Some(b) if !better(p.1, b.1) => best,
        _ => Some(p),
    });
    best.map_or(String::new(), |(step, value)| {
        let value = match is_share(name) {
            true => format!("{:.1}%", value * 100.0),
            false => format_value(*value),
        };
        format!(
            "Best: {value} at step {}",
            group_thousands(&format!("{step:.0}"))
        )
    })
}

/// A metric with four decimals, or none where it is a whole number, as a count is.
fn format_value(value: f64) -> String {
    if !value.is_finite() {
        return "not finite".to_string();
    }
    if value.fract() == 0.0 && value.abs() >= 2.0 {
        return group_thousands(&format!("{value:.0}"));
    }
    let digits = if value.abs() < 10.0 { 4 } else { 1 };
    group_thousands(&format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaping_leaves_nothing_active() {
        assert_eq!(
            escape("<a href=\"x\" id='y'>&\n\u{1b}\u{85}é"),
            "&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;&amp;\n\u{fffd}\u{fffd}é"
        );
    }

    #[test]
    fn values() {
        for (value, text) in [
            (0.84123, "0.8412"),
            (1.0, "1.0000"),
            (1054.0, "1,054"),
            (612.44, "612.4"),
            (-0.5, "-0.5000"),
            (f64::NAN, "not finite"),
        ] {
            assert_eq!(format_value(value), text);
        }
    }
}
