//! A training run as one self-contained HTML file: inline style and hand-made SVG, no script, nothing loaded.

mod chart;
mod curve;
mod html;
mod scale;
mod tables;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::early_stopping::BestMetric;
use crate::fs::write_atomic;

/// Everything the report shows, in the order it is to appear. Parts left empty are left out, curves aside.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// The page's heading: the model and task.
    pub title: String,
    /// The adapter it ran on, as text.
    pub adapter: String,
    /// Metrics of the finished model, by name; shown large at the top.
    pub final_metrics: Vec<(String, f64)>,
    /// The training curve.
    pub train: Vec<TrainPoint>,
    /// The validation curves.
    pub validation: Vec<ValidationPoint>,
    /// The validation metric that decided the best checkpoint.
    pub best_metric: Option<BestMetric>,
    /// The confusion matrix.
    pub confusion: Option<ConfusionMatrix>,
    /// The wrong predictions the model was surest of.
    pub worst_mistakes: Vec<Prediction>,
    /// Further texts and the model's answers.
    pub samples: Vec<Prediction>,
    /// Settings by name.
    pub settings: Vec<(String, String)>,
    /// Parts of the run and the seconds they took.
    pub timings: Vec<(String, f64)>,
}

/// A logged training step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct TrainPoint {
    /// Steps done, the first being 1.
    pub step: u64,
    /// Loss before the step.
    pub loss: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
}

/// An evaluation on the validation data.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ValidationPoint {
    /// Steps done by then.
    pub step: u64,
    /// Mean loss.
    pub loss: f64,
    /// Metrics by name; each has a chart.
    pub metrics: BTreeMap<String, f64>,
}

/// Counts of true against predicted classes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ConfusionMatrix {
    /// Name of each class.
    pub label_names: Vec<String>,
    /// Counts as `counts[true][predicted]`, a square as large as there are names.
    pub counts: Vec<Vec<u64>>,
}

/// A text and the model's answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Prediction {
    /// The text.
    pub text: String,
    /// Its true label, where known.
    pub label: Option<String>,
    /// The label the model gives.
    pub predicted: String,
    /// The probability the model gives that label, 0 to 1, where it gives one.
    pub probability: Option<f64>,
}

impl Report {
    /// The whole page.
    pub fn to_html(&self) -> String {
        html::page(self)
    }

    /// Writes the page to `path`, replacing what is there as a whole.
    ///
    /// # Errors
    /// As [`write_atomic`].
    pub fn write_html(&self, path: impl AsRef<Path>) -> Result<()> {
        write_atomic(path, self.to_html().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::tests::test_dir;

    /// Invented data, the same every time.
    fn example() -> Report {
        let wave = |step: u64, k: f64| ((step as f64 * k).sin() * 43_758.547).fract();
        let train = (1..=300)
            .map(|step| TrainPoint {
                step,
                loss: 0.28 + 0.42 * (-(step as f64) / 80.0).exp() + 0.09 * wave(step, 12.9898),
                learning_rate: 5e-5 * (step as f64 / 30.0).min((300 - step) as f64 / 270.0),
                grad_norm: 1.6
                    + 1.2 * wave(step, 78.233).abs()
                    + 3.0 * (-(step as f64) / 40.0).exp(),
            })
            .collect();
        let validation = (1..=10)
            .map(|i| ValidationPoint {
                step: i * 30,
                loss: 0.36 + 0.3 * (-(i as f64) / 2.0).exp() + 0.002 * (i as f64).powi(2) / 3.0,
                metrics: BTreeMap::from([
                    (
                        "accuracy".to_string(),
                        0.845 - 0.3 * (-(i as f64) / 1.7).exp() + 0.004 * wave(i, 3.1),
                    ),
                    ("mae".to_string(), 0.5 / i as f64),
                ]),
            })
            .collect();
        let prediction =
            |text: &str, label: Option<&str>, predicted: &str, probability| Prediction {
                text: text.to_string(),
                label: label.map(str::to_string),
                predicted: predicted.to_string(),
                probability: Some(probability),
            };
        Report {
            title: "Sentiment of movie reviews".to_string(),
            adapter: "llvmpipe (LLVM 15.0.6, 256 bits) · Vulkan · CPU".to_string(),
            final_metrics: [
                ("test accuracy", 0.8412),
                ("test loss", 0.3655),
                ("macro F1", 0.8409),
                ("Matthews correlation", 0.6824),
                ("test examples", 1054.0),
                ("peak memory, MiB", 612.4),
            ]
            .map(|(name, value)| (name.to_string(), value))
            .to_vec(),
            train,
            validation,
            best_metric: Some(BestMetric {
                name: "mae".to_string(),
                greater_is_better: false,
            }),
            confusion: Some(ConfusionMatrix {
                label_names: vec!["negative".to_string(), "positive".to_string()],
                counts: vec![vec![421, 92], vec![75, 466]],
            }),
            worst_mistakes: vec![
                prediction(
                    "It's the kind of movie that, aside from Robert Altman, Spike Lee, the Coen brothers and a few \
                     others, our moviemakers don't make often enough.",
                    Some("positive"),
                    "negative",
                    0.991,
                ),
                prediction(
                    "An <b>instantly</b> forgettable \"snow-and-stuntwork\" extravaganza & more.",
                    Some("negative"),
                    "positive",
                    0.973,
                ),
                prediction("…", Some("negative"), "positive", 0.92),
            ],
            samples: vec![
                prediction(
                    "A warm, funny and thoroughly human film.",
                    None,
                    "positive",
                    0.997,
                ),
                prediction("Two hours I will never get back.", None, "negative", 0.942),
            ],
            settings: [
                ("model", "MiniLM-L6-H384-uncased"),
                ("train file", "train.tsv (8,430 rows)"),
                ("learning rate", "5e-5"),
                ("schedule", "linear, warm-up 0.1"),
                ("batch size", "32"),
                ("epochs", "1"),
                ("max length", "64"),
                ("optimizer", "AdamW, weight decay 0.01"),
                ("dropout", "0.1"),
                ("seed", "42"),
            ]
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .to_vec(),
            timings: vec![
                ("load model".to_string(), 0.412),
                ("training".to_string(), 184.2),
                ("validation".to_string(), 31.7),
                ("test".to_string(), 9.4),
            ],
        }
    }

    /// Every element that is opened is closed, in order.
    fn assert_balanced(html: &str) {
        let mut open: Vec<&str> = Vec::new();
        for tag in html.split('<').skip(1) {
            let (tag, _) = tag.split_once('>').expect("a tag that never ends");
            let name = tag.split([' ', '/']).next().unwrap_or("");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "closed out of order");
            } else if !tag.ends_with('/') && !["meta", "!doctype", "br"].contains(&name) {
                open.push(name);
            }
        }
        assert_eq!(open, Vec::<&str>::new());
    }

    #[test]
    fn the_page_is_whole_self_contained_and_free_of_script() {
        let html = example().to_html();
        assert_balanced(&html);
        for banned in [
            "<script", "http://", "https://", "src=", "href=", "url(", "@import", "NaN", "inf",
        ] {
            // The name of the SVG namespace is not needed in HTML, so not even that is there.
            assert!(!html.contains(banned), "{banned} in the page");
        }
        assert!(html.contains("prefers-color-scheme: dark") && html.contains("name=\"viewport\""));
        for part in [
            "Sentiment of movie reviews",
            "llvmpipe",
            "0.8412",
            "Validation accuracy",
            "Validation mae",
            "Best: 0.0500 at step 300",
            "466",
            "86%",
            "3m04s",
            "5e-5",
        ] {
            assert!(html.contains(part), "{part} is missing");
        }
    }

    #[test]
    fn everything_is_escaped() {
        let evil = "<script>alert('1')</script>&\"\u{0}";
        let mut report = example();
        report.title = evil.to_string();
        report.adapter = evil.to_string();
        report.settings = vec![(evil.to_string(), evil.to_string())];
        report.timings = vec![(evil.to_string(), 1.0)];
        report.final_metrics = vec![(evil.to_string(), 1.0)];
        let prediction = Prediction {
            text: evil.to_string(),
            label: Some(evil.to_string()),
            predicted: evil.to_string(),
            probability: Some(0.5),
        };
        report.worst_mistakes = vec![prediction.clone()];
        report.samples = vec![prediction];
        report.confusion = Some(ConfusionMatrix {
            label_names: vec![evil.to_string(), "b".to_string()],
            counts: vec![vec![1, 2], vec![3, 4]],
        });
        let html = report.to_html();
        assert_balanced(&html);
        assert!(!html.contains("<script") && !html.contains("alert('") && !html.contains('\u{0}'));
        assert!(
            html.matches("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;\u{fffd}")
                .count()
                >= 12
        );
    }

    #[test]
    fn empty_single_and_broken_series_are_shown() {
        let empty = Report::default().to_html();
        assert_balanced(&empty);
        assert!(empty.contains("No points"));
        let report = Report {
            train: vec![TrainPoint {
                step: 1,
                loss: 0.7,
                ..TrainPoint::default()
            }],
            validation: vec![ValidationPoint {
                step: 1,
                loss: f64::NAN,
                metrics: BTreeMap::from([("accuracy".to_string(), 0.5)]),
            }],
            final_metrics: vec![("loss".to_string(), f64::NAN)],
            timings: vec![
                ("nothing".to_string(), 0.0),
                ("odd".to_string(), f64::INFINITY),
            ],
            ..Report::default()
        };
        let html = report.to_html();
        assert_balanced(&html);
        assert!(html.contains("<circle") && !html.contains("NaN,") && !html.contains("=\"NaN"));
        assert!(html.contains("1 not finite"));
    }

    #[test]
    fn many_classes_become_a_list_of_pairs() {
        let classes = 60;
        let mut counts = vec![vec![0; classes]; classes];
        counts[7][8] = 41;
        counts[9][2] = 43;
        counts[3][3] = 500;
        let report = Report {
            confusion: Some(ConfusionMatrix {
                label_names: (0..classes).map(|i| format!("class {i}")).collect(),
                counts,
            }),
            ..Report::default()
        };
        let html = report.to_html();
        assert_balanced(&html);
        assert!(html.find(">43<").unwrap() < html.find(">41<").unwrap());
        // Right predictions are no pair; they count only among the class's examples.
        assert_eq!(html.matches(">500<").count(), 1);
        // Counts that do not fit the names are not half shown.
        let odd = Report {
            confusion: Some(ConfusionMatrix {
                label_names: vec!["a".to_string()],
                counts: vec![vec![1, 2], vec![3]],
            }),
            ..Report::default()
        };
        assert_balanced(&odd.to_html());
    }

    #[test]
    fn a_long_run_stays_a_small_file() {
        let mut report = example();
        let points = report.train.clone();
        report.train = (0..200_000)
            .map(|i| TrainPoint {
                step: i as u64,
                ..points[i % points.len()]
            })
            .collect();
        assert!(report.to_html().len() < 300_000);
    }

    #[test]
    fn the_report_is_written_and_serialises_in_order() {
        let dir = test_dir("report");
        let path = dir.path().join("report.html");
        example().write_html(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), example().to_html());
        let json = serde_json::to_string(&example()).unwrap();
        assert!(json.find("learning rate").unwrap() < json.find("batch size").unwrap());
    }
}
