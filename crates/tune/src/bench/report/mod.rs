//! The result as one HTML page that loads nothing: the roofline with a dot a row, the rows as a table,
//! and bars against a baseline.

mod bars;
mod roofline;

use std::fmt::Write;

use super::compare::Compared;
use super::format::{digits, notes, remarks, seconds, uncertainty};
use super::results::Results;
use super::row::{Outcome, Roof, Row, Unit};

const STYLE: &str = include_str!("style.css");

/// Text made safe inside elements and quoted attributes; control characters, which HTML forbids, replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The page. `baseline` names what `compared` compares with, `cautions` is what its reader must know. The policy in the
/// head forbids the browser to load anything at all.
pub fn page(
    results: &Results,
    baseline: &str,
    compared: &[Compared],
    cautions: &[String],
) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>wgrad bench</title><style>\n{STYLE}</style></head>\n<body><main>\n\
         <header><h1>wgrad bench</h1><p class=\"adapter\">{}, {}, {}; wgrad {}</p></header>\n",
        escape(&results.adapter),
        escape(&results.backend),
        escape(&results.driver),
        escape(&results.version)
    );
    html += &tiles(&results.roof);
    if let Some(chart) = roofline::section(results) {
        html += &chart;
    }
    if !compared.is_empty() {
        html += &bars::section(baseline, compared, cautions);
    }
    html += &table(results);
    html += "</main></body></html>\n";
    html
}

/// What rows are held against: f16 rows against f32's rate where that is higher.
fn tiles(roof: &Roof) -> String {
    let half = match roof.half_gflops {
        Some(own) if own < roof.fma_gflops => format!(
            "GFLOP/s for f16, by f32 ({} by f16 multiply-adds)",
            digits(own)
        ),
        _ => "GFLOP/s in f16".to_owned(),
    };
    let mut tiles = vec![
        ("GB/s copied".to_owned(), roof.copy_gbps),
        ("GFLOP/s in f32".to_owned(), roof.fma_gflops),
    ];
    if roof.half_gflops.is_some() {
        tiles.push((half, roof.gflops(Unit::F16)));
    }
    let mut html = String::from("<section class=\"tiles\">");
    for (name, value) in tiles {
        let value = digits(value);
        let _ = write!(
            html,
            "<div class=\"card tile\"><b>{value}</b><span>{name}</span></div>"
        );
    }
    html + "</section>\n"
}

fn table(results: &Results) -> String {
    let mut html = String::from(
        "<section><h2>Rows</h2><p class=\"note\">Medians with half the width of their intervals; GFLOP/s and GB/s of \
         the least work and bytes; the share of the roofline.</p><div class=\"card scroll\"><table><thead><tr>\
         <th class=\"number\">#</th><th>row</th><th class=\"number\">time</th><th class=\"number\">±</th>\
         <th class=\"number\">GFLOP/s</th><th class=\"number\">GB/s</th><th class=\"number\">roofline</th>\
         <th class=\"wide\"></th></tr></thead><tbody>\n",
    );
    for (i, row) in results.rows.iter().enumerate() {
        html += &line(i + 1, row, results);
    }
    html += "</tbody></table></div></section>\n";
    html
}

fn line(number: usize, row: &Row, results: &Results) -> String {
    let name = escape(&row.name);
    if let Outcome::Skipped { skipped } = &row.outcome {
        return format!(
            "<tr><td class=\"number\">{number}</td><td>{name}</td><td class=\"skipped\" colspan=\"6\">not run: {}</td></tr>\n",
            escape(skipped)
        );
    }
    let time = row.measurement().map(|m| m.time);
    let cell = |text: Option<String>| {
        format!(
            "<td class=\"number\">{}</td>",
            text.unwrap_or_else(|| "–".to_owned())
        )
    };
    let share = row.share(&results.roof);
    let bar = share.map_or(String::new(), |share| {
        format!("<i style=\"--share:{:.3}\"></i>", share.clamp(0.0, 1.0))
    });
    let figures: String = remarks(row, &results.roof)
        .iter()
        .chain(&notes(row))
        .map(|note| format!("<small>{}</small>", escape(note)))
        .collect();
    format!(
        "<tr><td class=\"number\">{number}</td><td>{name}{figures}</td>{}{}{}{}{}<td class=\"bar\">{bar}</td></tr>\n",
        cell(time.map(|t| seconds(t.median))),
        cell(uncertainty(row).map(|u| format!("{:.1}%", u * 100.0))),
        cell(row.gflops().map(digits)),
        cell(row.gbps().map(digits)),
        cell(share.map(|s| format!("{:.1}%", s * 100.0))),
    )
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::results;
    use super::super::row::Work;
    use super::super::row::tests::row;
    use super::*;

    #[test]
    fn the_page_holds_every_row_and_loads_nothing() {
        let rows = vec![
            row("gemm <b>", Work::new(1e9, 1e7), 0.02, 0.01),
            row("copy", Work::new(0.0, 1e8), 0.02, 0.01),
            Row::skipped("f16", "no \"f16\""),
        ];
        let all = results(rows);
        let cautions = ["another <driver>".to_owned()];
        let html = page(&all, "before", &all.compare(&all), &cautions);
        assert!(html.contains("another &lt;driver&gt;"));
        assert!(html.contains("<small>1 samples thrown away</small>"));
        assert!(html.contains("gemm &lt;b&gt;") && !html.contains("gemm <b>"));
        assert!(html.contains("not run: no &quot;f16&quot;"));
        assert!(html.contains("<svg") && html.contains("SAME") && html.contains("before"));
        for active in ["<script", "http://", "https://", "url(", "@import", "src="] {
            assert!(!html.contains(active), "{active}");
        }
        let mut slow = all.clone();
        slow.roof.half_gflops = Some(13.3);
        let html_slow = page(&slow, "", &[], &[]);
        assert!(html_slow.contains("<b>100</b><span>GFLOP/s for f16, by f32 (13.3 by"));
        // Two heads, three rows, two of them compared.
        assert_eq!(html.matches("<tr>").count(), 7);
    }
}
