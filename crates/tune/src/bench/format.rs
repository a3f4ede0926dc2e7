//! Rows as text, CSV and Markdown.

use super::compare::Compared;
use super::results::Results;
use super::row::{Outcome, Roof, Row, Unit};
use super::stats::Interval;

/// A time with three or four digits and its unit.
pub fn seconds(value: f64) -> String {
    let (scaled, unit) = match value {
        v if v.is_nan() => return "-".to_owned(),
        v if v < 1e-6 => (v * 1e9, "ns"),
        v if v < 1e-3 => (v * 1e6, "us"),
        v if v < 1.0 => (v * 1e3, "ms"),
        v => (v, "s"),
    };
    format!("{} {unit}", digits(scaled))
}

/// A number with three significant digits, or all digits of its whole part.
pub fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn or_dash(value: Option<f64>, write: impl Fn(f64) -> String) -> String {
    value.map_or("-".to_owned(), write)
}

fn percent(share: f64) -> String {
    format!("{}%", digits(share * 100.0))
}

/// Half of the interval's width over the median; `None` of a single sample.
pub fn uncertainty(row: &Row) -> Option<f64> {
    let measurement = row.measurement().filter(|m| m.count > 1)?;
    Some(measurement.time.uncertainty())
}

/// The heads of the columns that [`cells`] fills.
const HEADS: [&str; 6] = ["time", "+-", "GFLOP/s", "GB/s", "roofline", "row"];

/// Warnings about a row's time, such as that it is shorter than its launch.
pub fn remarks(row: &Row, roof: &Roof) -> Vec<String> {
    let Some(m) = row.measurement() else {
        return Vec::new();
    };
    let mut all = Vec::new();
    if m.overhead > m.time.median {
        all.push("shorter than its launch".to_owned());
    }
    if m.discarded > 0 {
        all.push(format!("{} samples thrown away", m.discarded));
    } else if !m.steady {
        all.push("the machine was unsteady".to_owned());
    }
    // Bandwidth may exceed the roof where caches hold the data; arithmetic may not.
    let most = roof.gflops(row.work.unit);
    if row.gflops().is_some_and(|rate| rate > ABOVE * most) {
        all.push("above the measured roof".to_owned());
    }
    all
}

/// A rate above the roof by more than this factor is not a rounding error.
const ABOVE: f64 = 1.02;

/// The roofline in words.
pub fn roofline(roof: &Roof) -> String {
    let [copy, single, half] =
        [roof.copy_gbps, roof.fma_gflops, roof.gflops(Unit::F16)].map(digits);
    let half = match roof.half_gflops {
        Some(own) if own < roof.fma_gflops => {
            format!(
                ", f16 multiply-adds {} (f16 rows are held against f32's)",
                digits(own)
            )
        }
        Some(_) => format!(", f16 {half} GFLOP/s"),
        None => String::new(),
    };
    format!("copy {copy} GB/s, f32 {single} GFLOP/s{half}")
}

fn cells(row: &Row, roof: &Roof) -> [String; 6] {
    let time = row.measurement().map(|m| m.time);
    let mut name = row.name.clone();
    if let Outcome::Skipped { skipped } = &row.outcome {
        name += &format!(": not run: {skipped}");
    }
    for remark in remarks(row, roof) {
        name += &format!(" ({remark})");
    }
    [
        or_dash(time.map(|t| t.median), seconds),
        or_dash(uncertainty(row), percent),
        or_dash(row.gflops(), digits),
        or_dash(row.gbps(), digits),
        or_dash(row.share(roof), percent),
        name,
    ]
}

/// The heads of a table of text.
pub fn text_head() -> String {
    text_line(&HEADS.map(str::to_owned))
}

/// One line of a table of text, and one for its further figures.
pub fn text_row(row: &Row, roof: &Roof) -> String {
    let mut line = text_line(&cells(row, roof));
    for note in notes(row) {
        line += &format!("\n{:>51}{note}", "");
    }
    line
}

/// Further facts about a row: its ratio to another row, and its figures.
pub fn notes(row: &Row) -> Vec<String> {
    let against = row.against.as_ref().map(|a| {
        let Interval { median, low, high } = a.times_as_fast;
        format!(
            "{} ({} to {}) times as fast as {}",
            digits(median),
            digits(low),
            digits(high),
            a.name
        )
    });
    let figures: Vec<String> = row
        .figures
        .iter()
        .map(|(name, value)| match value.fract() == 0.0 {
            true => format!("{name} {value:.0}"),
            false => format!("{name} {}", digits(*value)),
        })
        .collect();
    let figures = (!figures.is_empty()).then(|| figures.join(", "));
    against.into_iter().chain(figures).collect()
}

fn text_line([time, error, gflops, gbps, share, name]: &[String; 6]) -> String {
    format!("{time:>9} {error:>7} {gflops:>9} {gbps:>9} {share:>9}   {name}")
}

/// Why there is no verdict, in parentheses; nothing where there is one.
pub fn because(compared: &Compared) -> String {
    let why = compared.why.as_ref();
    why.map_or(String::new(), |why| format!(" ({why})"))
}

/// A comparison as lines of text.
pub fn text_compared(compared: &[Compared]) -> String {
    let mut out = format!(
        "{:>9} {:>9} {:>8} {:>17}  {:<8} row\n",
        "baseline", "now", "now/base", "interval", "verdict"
    );
    for c in compared {
        let interval = format!("{:.3} to {:.3}", c.ratio.low, c.ratio.high);
        out += &format!(
            "{:>9} {:>9} {:>8.3} {interval:>17}  {:<8} {}{}\n",
            seconds(c.old),
            seconds(c.new),
            c.ratio.median,
            c.verdict.name(),
            c.name,
            because(c)
        );
    }
    out
}

/// All rows as comma-separated values with a head; times in seconds.
pub fn csv(results: &Results, compared: &[Compared]) -> String {
    let mut out = String::from(
        "name,median_s,low_s,high_s,best_s,samples_discarded,operations,bytes,gflops,gbps,roofline,ratio,ratio_low,ratio_high,verdict,skipped,note\n",
    );
    for row in &results.rows {
        let number = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:e}"));
        let m = row.measurement();
        let c = compared.iter().find(|c| c.name == row.name);
        let skipped = match &row.outcome {
            Outcome::Skipped { skipped } => skipped.as_str(),
            Outcome::Measured(_) => "",
        };
        let mut note = remarks(row, &results.roof);
        note.extend(c.and_then(|c| c.why.clone()));
        let fields = [
            quoted(&row.name),
            number(m.map(|m| m.time.median)),
            number(m.map(|m| m.time.low)),
            number(m.map(|m| m.time.high)),
            number(m.map(|m| m.best)),
            m.map_or(String::new(), |m| m.discarded.to_string()),
            number(m.map(|_| row.work.operations)),
            number(m.map(|_| row.work.bytes)),
            number(row.gflops()),
            number(row.gbps()),
            number(row.share(&results.roof)),
            number(c.map(|c| c.ratio.median)),
            number(c.map(|c| c.ratio.low)),
            number(c.map(|c| c.ratio.high)),
            c.map_or(String::new(), |c| c.verdict.name().to_owned()),
            quoted(skipped),
            quoted(&note.join("; ")),
        ];
        out += &fields.join(",");
        out.push('\n');
    }
    out
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// All rows as a Markdown table under the adapter's name.
pub fn markdown(results: &Results, compared: &[Compared]) -> String {
    let mut out = format!(
        "{}, {}: {}\n\n",
        results.adapter,
        results.driver,
        roofline(&results.roof)
    );
    let mut heads = vec!["row", "time", "+-", "GFLOP/s", "GB/s", "roofline"];
    if !compared.is_empty() {
        heads.extend(["now / baseline", "verdict"]);
    }
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    out += &line(heads.iter().map(|h| (*h).to_owned()).collect());
    out += &line(vec!["---".to_owned(); heads.len()]);
    for row in &results.rows {
        let [time, error, gflops, gbps, share, name] = cells(row, &results.roof);
        let name = name.replace('|', "\\|");
        let mut fields = vec![name, time, error, gflops, gbps, share];
        if !compared.is_empty() {
            let found = compared.iter().find(|c| c.name == row.name);
            fields.push(found.map_or(String::new(), |c| {
                format!(
                    "{:.2} ({:.2} to {:.2})",
                    c.ratio.median, c.ratio.low, c.ratio.high
                )
            }));
            fields.push(found.map_or(String::new(), |c| {
                format!("{}{}", c.verdict.name(), because(c))
            }));
        }
        out += &line(fields);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::results;
    use super::super::row::Work;
    use super::super::row::tests::{ROOF, row};
    use super::*;

    #[test]
    fn times() {
        let texts = [2.5e-9, 1.234e-5, 0.0999, 1.0, 250.0].map(seconds);
        assert_eq!(texts, ["2.50 ns", "12.3 us", "99.9 ms", "1.00 s", "250 s"]);
    }

    #[test]
    fn a_line_of_text() {
        let one = row("matmul 4x4", Work::new(1e9, 1e8), 0.02, 0.05);
        let line = text_row(&one, &ROOF);
        let words: Vec<&str> = line.split_whitespace().collect();
        // 1e9 operations in 20 ms are 50 of 100 GFLOP/s; 1e8 bytes are 5 of 10 GB/s.
        let expected = [
            "20.0", "ms", "5.00%", "50.0", "5.00", "50.0%", "matmul", "4x4",
        ];
        assert_eq!(words[..8], expected);
        assert!(line.ends_with("(1 samples thrown away)"), "{line}");
        let none = text_row(&Row::skipped("f16", "no shader-f16"), &ROOF);
        assert!(none.ends_with("f16: not run: no shader-f16"), "{none}");
    }

    #[test]
    fn rows_give_their_share_of_the_roofline() {
        assert_eq!(roofline(&ROOF), "copy 10.0 GB/s, f32 100 GFLOP/s");
        let slow = Roof {
            half_gflops: Some(13.3),
            ..ROOF
        };
        assert!(
            roofline(&slow).ends_with(", f16 multiply-adds 13.3 (f16 rows are held against f32's)"),
            "{}",
            roofline(&slow)
        );
        let fast = Roof {
            half_gflops: Some(200.0),
            ..ROOF
        };
        assert!(roofline(&fast).ends_with(", f16 200 GFLOP/s"));
        let row = row("x", Work::new(1e9, 0.0), 0.5e-2, 0.01);
        assert!(remarks(&row, &ROOF).contains(&"above the measured roof".to_owned()));
    }

    #[test]
    fn csv_has_as_many_fields_as_heads() {
        let rows = vec![
            row("a, \"b\"", Work::new(1e9, 1e8), 0.02, 0.05),
            Row::skipped("c", "no"),
        ];
        let all = results(rows);
        let text = csv(&all, &all.compare(&all));
        let lines: Vec<&str> = text.lines().collect();
        let heads = lines[0].split(',').count();
        // The quoted name holds one comma.
        assert_eq!(lines[1].split(',').count(), heads + 1);
        assert!(
            lines[1].starts_with("\"a, \"\"b\"\"\",2e-2,"),
            "{}",
            lines[1]
        );
        assert!(lines[1].contains(",UNCLEAR,"), "{}", lines[1]);
        assert_eq!(lines[2].split(',').count(), heads);
        assert!(lines[2].ends_with(",no,"));
        assert!(lines[1].ends_with(",1 samples thrown away"), "{}", lines[1]);
    }

    #[test]
    fn markdown_is_a_table() {
        let all = results(vec![row("a|b", Work::new(1e9, 1e8), 0.02, 0.01)]);
        let text = markdown(&all, &all.compare(&all));
        let last = text.lines().last().unwrap();
        assert_eq!(
            last,
            "| a\\|b (1 samples thrown away) | 20.0 ms | 1.00% | 50.0 | 5.00 | 50.0% | 1.00 (0.98 to 1.02) | SAME |"
        );
    }
}
