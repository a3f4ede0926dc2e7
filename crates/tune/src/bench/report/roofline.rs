//! The roofline (Williams, Waterman and Patterson, CACM 52(4), 2009): operations a second over operations
//! a byte, both in powers of ten.

use std::fmt::Write;

use super::super::format::digits;
use super::super::results::Results;
use super::super::row::{Row, Unit};
use super::escape;

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 560.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 52.0;
/// Dots with a name beside them, at most: more could not be read.
const LABELS: usize = 40;
/// Size of a label's letters, and the width of one on average.
const LETTER: (f64, f64) = (13.0, 7.2);

/// A dot: a row that computes something.
struct Dot<'a> {
    number: usize,
    row: &'a Row,
    intensity: f64,
    gflops: f64,
}

/// Decades of both axes.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn x_at(&self, value: f64) -> f64 {
        let share = (value.log10() - self.x.0) / (self.x.1 - self.x.0);
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn y_at(&self, value: f64) -> f64 {
        let share = (value.log10() - self.y.0) / (self.y.1 - self.y.0);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }
}

/// The section, or none where no row computes anything.
pub fn section(results: &Results) -> Option<String> {
    let dots: Vec<Dot> = results
        .rows
        .iter()
        .enumerate()
        .filter_map(|(i, row)| {
            Some(Dot {
                number: i + 1,
                row,
                intensity: row.work.operations / row.work.bytes,
                gflops: row.gflops()?,
            })
        })
        .filter(|dot| dot.intensity.is_finite() && dot.intensity > 0.0 && dot.gflops > 0.0)
        .collect();
    if dots.is_empty() {
        return None;
    }
    let measured = results.rows.iter().filter(|r| r.measurement().is_some());
    let left_out = measured.count() - dots.len();
    let mut html = String::from(
        "<section><h2>Roofline</h2><p class=\"note\">Nothing can be above the line: on the left the memory's speed is \
         the limit, on the right the arithmetic's. What caches hold is faster than memory.",
    );
    if left_out > 0 {
        let _ = write!(
            html,
            " Numbers are those of the table below; {left_out} rows without arithmetic or without memory are there only."
        );
    }
    html += "</p><div class=\"card scroll\">";
    html += &svg(results, &dots);
    html += "</div></section>\n";
    Some(html)
}

fn svg(results: &Results, dots: &[Dot]) -> String {
    let roof = &results.roof;
    let ridge = roof.gflops(Unit::F16) / roof.copy_gbps;
    let low = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::INFINITY, f64::min);
    let high = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let x_low = low(&mut dots.iter().map(|d| d.intensity)).min(ridge / 10.0);
    let x_high = high(&mut dots.iter().map(|d| d.intensity)).max(ridge * 10.0);
    let y_low = low(&mut dots.iter().map(|d| d.gflops)).min(roof.fma_gflops / 100.0);
    let y_high = high(&mut dots.iter().map(|d| d.gflops)).max(roof.gflops(Unit::F16) * 1.5);
    let decades = |low: f64, high: f64| (low.log10().floor(), high.log10().ceil());
    let frame = Frame {
        x: decades(x_low, x_high),
        y: decades(y_low, y_high),
    };
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" class=\"roofline\" role=\"img\" aria-label=\"roofline of {}: {} GFLOP/s, {} GB/s\">",
        escape(&results.adapter),
        digits(roof.fma_gflops),
        digits(roof.copy_gbps)
    );
    axes(&frame, &mut svg);
    let mut taken = Vec::new();
    limits(results, &frame, &mut svg, &mut taken);
    for dot in dots {
        let (x, y) = (frame.x_at(dot.intensity), frame.y_at(dot.gflops));
        taken.push([x - 6.0, y - 6.0, x + 6.0, y + 6.0]);
    }
    // The fastest are named first: where there is no room, the slow lose their labels.
    let mut order: Vec<&Dot> = dots.iter().collect();
    order.sort_by(|a, b| b.gflops.total_cmp(&a.gflops));
    let mut named = 0;
    for dot in order {
        let (x, y) = (frame.x_at(dot.intensity), frame.y_at(dot.gflops));
        let share = dot.row.share(roof).unwrap_or(0.0);
        let class = match dot.row.work.unit {
            Unit::F16 => " class=\"half\"",
            Unit::F32 => "",
        };
        let _ = write!(
            svg,
            "<circle{class} cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"><title>{}: {}, {} GFLOP/s, {} operations a byte, {:.1}% of the roofline</title></circle>",
            dot.number,
            escape(&dot.row.name),
            digits(dot.gflops),
            digits(dot.intensity),
            share * 100.0
        );
        if named < LABELS {
            named += usize::from(label(dot, x, y, &mut svg, &mut taken));
        }
    }
    svg += "</svg>";
    svg
}

/// Tick texts: powers of ten as numbers while they are short.
fn power(exponent: f64) -> String {
    match exponent as i32 {
        e @ -3..0 => format!("{:.*}", -e as usize, 10f64.powi(e)),
        e @ 0..=4 => format!("{:.0}", 10f64.powi(e)),
        e => format!("1e{e}"),
    }
}

fn axes(frame: &Frame, svg: &mut String) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    // Whole numbers: adding 1 to a large float changes nothing.
    let ticks =
        |(low, high): (f64, f64)| (low.max(-400.0) as i32..=high.min(400.0) as i32).map(f64::from);
    for exponent in ticks(frame.x) {
        let x = frame.x_at(10f64.powf(exponent));
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/><text class=\"x\" x=\"{x:.1}\" y=\"{}\">{}</text>",
            bottom + 8.0,
            power(exponent)
        );
    }
    for exponent in ticks(frame.y) {
        let y = frame.y_at(10f64.powf(exponent));
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text class=\"y\" x=\"{}\" y=\"{y:.1}\">{}</text>",
            LEFT - 8.0,
            power(exponent)
        );
    }
    let _ = write!(
        svg,
        "<path class=\"axis\" d=\"M{LEFT} {bottom}H{right}\"/><text class=\"x\" x=\"{}\" y=\"{}\">operations a byte</text>\
         <text x=\"0\" y=\"14\">GFLOP/s</text>",
        (LEFT + right) / 2.0,
        HEIGHT - 22.0
    );
}

/// The roof of f32, and of f16 where it is higher.
fn limits(results: &Results, frame: &Frame, svg: &mut String, taken: &mut Vec<[f64; 4]>) {
    let roof = &results.roof;
    let mut roofs = vec![(Unit::F32, "roof", "f32")];
    if roof.gflops(Unit::F16) > 1.05 * roof.fma_gflops {
        roofs.push((Unit::F16, "roof half", "f16"));
    }
    for (unit, class, name) in roofs {
        let top = roof.gflops(unit);
        let ridge = top / roof.copy_gbps;
        let bottom = 10f64.powf(frame.y.0);
        // From the left edge, or from where the line of the bandwidth comes in at the bottom.
        let start = (10f64.powf(frame.x.0)).max(bottom / roof.copy_gbps);
        let (x0, y0) = (frame.x_at(start), frame.y_at(start * roof.copy_gbps));
        let (x1, y1) = (frame.x_at(ridge), frame.y_at(top));
        let right = WIDTH - RIGHT;
        let text = format!("{name}: {} GFLOP/s", digits(top));
        let _ = write!(
            svg,
            "<path class=\"{class}\" d=\"M{x0:.1} {y0:.1}L{x1:.1} {y1:.1}H{right}\"/>\
             <text class=\"end\" x=\"{right}\" y=\"{:.1}\">{text}</text>",
            y1 - 7.0
        );
        taken.push([x1, y1 - 3.0, right, y1 + 3.0]);
        // Labels keep off the sloping line too: it is taken in small squares.
        for i in 0..=60 {
            let (x, y) = (
                x0 + f64::from(i) / 60.0 * (x1 - x0),
                y0 + f64::from(i) / 60.0 * (y1 - y0),
            );
            taken.push([x - 5.0, y - 5.0, x + 5.0, y + 5.0]);
        }
        taken.push([right - LETTER.1 * text.len() as f64, y1 - 22.0, right, y1]);
        if unit == Unit::F32 {
            let angle = (y1 - y0).atan2(x1 - x0).to_degrees();
            let (x, y) = (x0 + 0.3 * (x1 - x0), y0 + 0.3 * (y1 - y0));
            let _ = write!(
                svg,
                "<text transform=\"translate({x:.1} {y:.1}) rotate({angle:.1})\" dy=\"-7\">memory: {} GB/s</text>",
                digits(roof.copy_gbps)
            );
        }
    }
}

/// Writes a dot's number and name beside it, or the number alone, where nothing else is; false where there
/// is no such place.
fn label(dot: &Dot, x: f64, y: f64, svg: &mut String, taken: &mut Vec<[f64; 4]>) -> bool {
    let number = dot.number.to_string();
    let mut name: String = format!("{number} {}", dot.row.name)
        .chars()
        .take(44)
        .collect();
    if name.chars().count() < number.len() + 1 + dot.row.name.chars().count() {
        name.push('…');
    }
    let own = [x - 6.0, y - 6.0, x + 6.0, y + 6.0];
    for text in [name, number] {
        let width = LETTER.1 * text.chars().count() as f64;
        for dy in [0.0, -9.0, 9.0, -14.0, 14.0] {
            for (left, class) in [(x + 9.0, "start"), (x - 9.0 - width, "end")] {
                let middle = y + dy;
                let half = LETTER.0 / 2.0;
                let area = [left, middle - half, left + width, middle + half];
                let inside = area[0] >= LEFT
                    && area[2] <= WIDTH - RIGHT
                    && area[1] >= TOP
                    && area[3] <= HEIGHT - BOTTOM;
                if inside && taken.iter().all(|t| *t == own || !overlap(t, &area)) {
                    let anchor = if class == "end" { area[2] } else { left };
                    let _ = write!(
                        svg,
                        "<text class=\"{class} label\" x=\"{anchor:.1}\" y=\"{middle:.1}\">{}</text>",
                        escape(&text)
                    );
                    taken.push(area);
                    return true;
                }
            }
        }
    }
    false
}

fn overlap(a: &[f64; 4], b: &[f64; 4]) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

#[cfg(test)]
mod tests {
    use super::super::super::results::tests::results;
    use super::super::super::row::Work;
    use super::super::super::row::tests::row;
    use super::*;

    fn numbers(svg: &str, element: &str, name: &str) -> Vec<f64> {
        svg.split(&format!("<{element}"))
            .skip(1)
            .map(|part| {
                let (_, rest) = part.split_once(&format!(" {name}=\"")).unwrap();
                rest.split('"').next().unwrap().parse().unwrap()
            })
            .collect()
    }

    #[test]
    fn dots_are_inside_and_under_the_roof() {
        // ROOF: 10 GB/s, 100 GFLOP/s; shares of 50 % left of the ridge, at it and right of it.
        let rows = [0.1, 10.0, 1000.0]
            .iter()
            .map(|intensity| {
                let work = Work::new(1e9 * intensity, 1e9);
                let least = super::super::super::row::tests::ROOF.seconds(&work);
                row(&format!("i{intensity}"), work, 2.0 * least, 0.01)
            })
            .collect();
        let svg = section(&results(rows)).unwrap();
        let (xs, ys) = (numbers(&svg, "circle", "cx"), numbers(&svg, "circle", "cy"));
        assert_eq!(xs.len(), 3);
        assert!(xs.iter().all(|x| (LEFT..=WIDTH - RIGHT).contains(x)));
        assert!(ys.iter().all(|y| (TOP..=HEIGHT - BOTTOM).contains(y)));
        // The two right of the ridge reach 50 GFLOP/s, the other 0.5: two decades lower. The fastest stand first.
        assert_eq!(ys[0], ys[1]);
        assert!(ys[2] > ys[0] + 100.0, "{ys:?}");
        for name in ["i0.1", "i10", "i1000"] {
            assert!(svg.contains(&format!(" {name}</text>")), "{name}");
        }
        assert!(svg.contains("50.0% of the roofline"));
    }

    #[test]
    fn labels_do_not_cover_each_other() {
        let work = Work::new(1e9, 1e8);
        let rows = (0..60)
            .map(|i| row(&format!("kernel {i}"), work, 0.1, 0.01))
            .collect();
        let svg = section(&results(rows)).unwrap();
        let labels = svg.matches(" label\"").count();
        // All dots lie on one spot, which has few places around it.
        assert!((2..=10).contains(&labels), "{labels}");
        assert_eq!(svg.matches("<circle").count(), 60);
    }

    #[test]
    fn rows_that_did_not_run_are_not_counted() {
        let rows = vec![
            row("x", Work::new(1e9, 1e8), 0.1, 0.01),
            row("copy", Work::new(0.0, 1e9), 1.0, 0.1),
            Row::skipped("y", "no"),
        ];
        let html = section(&results(rows)).unwrap();
        assert!(html.contains("below; 1 rows without arithmetic"), "{html}");
    }

    #[test]
    fn without_arithmetic_there_is_no_chart() {
        let rows = vec![row("copy", Work::new(0.0, 1e9), 1.0, 0.1)];
        assert!(section(&results(rows)).is_none());
    }
}
