//! Line charts as inline SVG.

use std::fmt::Write;

use super::curve::{Point, drawable, thin};
use super::html::escape;
use super::scale::{Format, Scale, format_tick};

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 280.0;
/// Margins around the plot: left, right, top, bottom.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 32.0;
const BOTTOM: f64 = 48.0;
/// More points than this cannot be told apart at the width of a chart.
const MOST_POINTS: usize = 800;
/// Up to this many points each is marked.
const MOST_MARKS: usize = 60;

/// A curve of a chart.
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Class in the style sheet that gives colour and weight: `raw`, `train` or `validation`.
    pub class: &'static str,
    /// Points by rising step.
    pub points: Vec<Point>,
}

/// A chart of curves over training steps.
pub struct Chart {
    /// Heading.
    pub title: String,
    /// The title of the vertical axis, with its unit.
    pub y_label: String,
    /// How its values are written.
    pub format: Format,
    /// A value the vertical axis reaches down to.
    pub y_min: Option<f64>,
    /// A value its round end must not go beyond.
    pub y_max: Option<f64>,
    /// Last step of the run; all charts of a report share it, so that they can be read one under the other.
    pub last_step: f64,
    /// A sentence under the heading; may be empty.
    pub note: String,
    /// The curves, later ones on top.
    pub series: Vec<Series>,
}

impl Chart {
    /// The chart as a `figure` element.
    pub fn to_html(&self) -> String {
        let mut html = format!(
            "<figure class=\"card\"><figcaption><h3>{}</h3>",
            escape(&self.title)
        );
        if !self.note.is_empty() {
            let _ = write!(html, "<p class=\"note\">{}</p>", escape(&self.note));
        }
        html += "<p class=\"legend\">";
        for series in self.series.iter().filter(|s| !s.points.is_empty()) {
            let missing = series.points.iter().filter(|p| !drawable(p.1)).count();
            let missing = match missing {
                0 => String::new(),
                count => format!(" ({count} not finite)"),
            };
            let _ = write!(
                html,
                "<span class=\"{}\"><i></i>{}{missing}</span>",
                series.class,
                escape(&series.name)
            );
        }
        html += "</p></figcaption>";
        html += &self
            .svg()
            .unwrap_or_else(|| "<p class=\"empty\">No points were recorded.</p>".to_string());
        html += "</figure>\n";
        html
    }

    fn svg(&self) -> Option<String> {
        let drawn = || {
            self.series
                .iter()
                .flat_map(|s| &s.points)
                .filter(|p| drawable(p.1))
        };
        let range = |value: fn(&Point) -> f64| {
            drawn()
                .map(value)
                .fold(None, |range: Option<(f64, f64)>, v| {
                    let (low, high) = range.unwrap_or((v, v));
                    Some((low.min(v), high.max(v)))
                })
        };
        let (low, high) = range(|p| p.1)?;
        let x = Scale::new(0.0, self.last_step, 7, false);
        let y = Scale::new(self.y_min.map_or(low, |min| min.min(low)), high, 6, true);
        // Rounding outwards must not make room for an accuracy beyond 100 %.
        let y = match self.y_max {
            Some(limit) if y.max > limit && high <= limit => Scale {
                max: limit,
                ticks: y.ticks.iter().copied().filter(|&t| t <= limit).collect(),
                ..y
            },
            _ => y,
        };
        let frame = Frame { x, y };
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}: {} to {}, by step {}\">",
            escape(&self.title),
            format_tick(low, frame.y.step / 10.0, self.format),
            format_tick(high, frame.y.step / 10.0, self.format),
            self.last_step,
        );
        self.draw_axes(&frame, &mut svg);
        for series in &self.series {
            draw_series(series, &frame, self.format, &mut svg);
        }
        svg += "</svg>";
        Some(svg)
    }

    fn draw_axes(&self, frame: &Frame, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for &tick in &frame.y.ticks {
            let y = frame.y_at(tick);
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text class=\"y\" x=\"{}\" y=\"{y:.1}\">{}</text>",
                LEFT - 8.0,
                format_tick(tick, frame.y.step, self.format)
            );
        }
        for &tick in &frame.x.ticks {
            // Steps are whole numbers; a short run would have ticks between them.
            if (tick - tick.round()).abs() > 1e-6 {
                continue;
            }
            let x = frame.x_at(tick);
            let _ = write!(
                svg,
                "<path class=\"axis\" d=\"M{x:.1} {bottom}v5\"/><text class=\"x\" x=\"{x:.1}\" y=\"{}\">{}</text>",
                bottom + 8.0,
                format_tick(tick.round(), frame.x.step.max(1.0), Format::Number)
            );
        }
        let _ = write!(
            svg,
            "<path class=\"axis\" d=\"M{LEFT} {bottom}H{right}\"/><text class=\"x\" x=\"{}\" y=\"{}\">step</text>\
             <text x=\"0\" y=\"14\">{}</text>",
            (LEFT + right) / 2.0,
            HEIGHT - 19.0,
            escape(&self.y_label)
        );
    }
}

/// The scales of both axes.
struct Frame {
    x: Scale,
    y: Scale,
}

impl Frame {
    fn x_at(&self, value: f64) -> f64 {
        LEFT + self.x.position(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y_at(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.position(value) * (HEIGHT - TOP - BOTTOM)
    }
}

fn draw_series(series: &Series, frame: &Frame, format: Format, svg: &mut String) {
    let points = thin(&series.points, MOST_POINTS);
    let mut path = String::new();
    let mut alone = Vec::new();
    // A value that cannot be drawn breaks the line.
    for run in points.split(|p| !drawable(p.1)) {
        if let [point] = run {
            alone.push(*point);
        }
        for (i, &(x, y)) in run.iter().enumerate() {
            let command = if i == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", frame.x_at(x), frame.y_at(y));
        }
    }
    let _ = write!(svg, "<path class=\"line {}\" d=\"{path}\"/>", series.class);
    let marked = series.class == "validation" && points.len() <= MOST_MARKS;
    let marks = if marked { points } else { alone };
    for (x, y) in marks.into_iter().filter(|p| drawable(p.1)) {
        // Shown when the pointer rests on the mark.
        let _ = write!(
            svg,
            "<circle class=\"{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"><title>step {x}: {}</title></circle>",
            series.class,
            frame.x_at(x),
            frame.y_at(y),
            format_tick(y, frame.y.step / 100.0, format)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<Point>) -> Chart {
        Chart {
            title: "Accuracy".to_string(),
            y_label: "accuracy".to_string(),
            format: Format::Percent,
            y_min: None,
            y_max: Some(1.0),
            last_step: points.last().map_or(0.0, |p| p.0),
            note: String::new(),
            series: vec![Series {
                name: "validation".to_string(),
                class: "validation",
                points,
            }],
        }
    }

    #[test]
    fn no_line_leaves_the_frame_and_no_axis_passes_its_limit() {
        let html = chart(vec![(10.0, 0.61), (20.0, 0.99), (30.0, 1.0)]).to_html();
        assert!(html.contains(">100%<") && !html.contains(">110%<") && !html.contains(">105%<"));
        for circle in html.split("<circle").skip(1) {
            let number = |name: &str| -> f64 {
                let (_, rest) = circle.split_once(&format!("{name}=\"")).unwrap();
                rest.split('"').next().unwrap().parse().unwrap()
            };
            assert!((LEFT..=WIDTH - RIGHT).contains(&number("cx")));
            assert!((TOP..=HEIGHT - BOTTOM).contains(&number("cy")));
        }
        assert!(html.contains("<title>step 20: 99"));
    }

    #[test]
    fn a_gap_breaks_the_line() {
        let points = [1.0, 2.0, f64::NAN, 3.0, 4.0, f64::INFINITY, 5.0];
        let points: Vec<Point> = (1u32..).map(f64::from).zip(points).collect();
        let mut chart = chart(points);
        chart.format = Format::Number;
        let html = chart.to_html();
        let (_, path) = html.split_once("class=\"line validation\" d=\"").unwrap();
        let path = path.split('"').next().unwrap();
        assert_eq!(path.matches('M').count(), 3);
        assert_eq!(path.matches('L').count(), 2);
        assert!(html.contains("2 not finite"));
    }

    #[test]
    fn a_run_of_few_steps_has_whole_steps_at_its_axis() {
        let html = chart(vec![(1.0, 0.5), (2.0, 0.6)]).to_html();
        assert!(
            html.contains(">1</text>")
                && html.contains(">2</text>")
                && !html.contains(">1.2</text>")
        );
    }
}
