//! Rows against a baseline: how many times as fast, with the interval.

use std::fmt::Write;

use super::super::compare::Compared;
use super::super::format::{because, seconds};
use super::escape;

/// The section. A bar to the right is faster than the baseline.
pub fn section(baseline: &str, compared: &[Compared], cautions: &[String]) -> String {
    // Powers of two on both sides, as many as are needed.
    let speeds = compared
        .iter()
        .flat_map(|c| [1.0 / c.ratio.low, 1.0 / c.ratio.high]);
    let widest = speeds
        .filter(|s| s.is_finite() && *s > 0.0)
        .fold(2.0f64, |m, s| m.max(s).max(1.0 / s))
        .min(64.0);
    let limit = widest.log2().ceil();
    let at = |speed: f64| 50.0 + 50.0 * (speed.log2() / limit).clamp(-1.0, 1.0);
    let mut html = format!(
        "<section><h2>Against {}</h2><p class=\"note\">How many times as fast as there; the line is the interval. The \
         chart ends at {} times and at a {}th.</p>{}<div class=\"card scroll\"><table class=\"bars\"><thead><tr>\
         <th>row</th><th class=\"number\">baseline</th><th class=\"number\">now</th><th class=\"number\">times as fast</th>\
         <th></th><th class=\"wide\"></th></tr></thead><tbody>\n",
        escape(baseline),
        limit.exp2(),
        limit.exp2(),
        cautions
            .iter()
            .map(|text| format!("<p class=\"note\"><b>Note:</b> {}.</p>", escape(text)))
            .collect::<String>()
    );
    for c in compared {
        let (low, middle, high) = (1.0 / c.ratio.high, 1.0 / c.ratio.median, 1.0 / c.ratio.low);
        let class = c.verdict.name().to_lowercase();
        let (from, to) = (at(middle).min(50.0), at(middle).max(50.0));
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{middle:.2} <small>{low:.2} to {high:.2}</small></td>\
             <td><span class=\"chip {class}\">{}</span></td>\
             <td class=\"both\"><i class=\"{class}\" style=\"left:{from:.1}%;width:{:.1}%\"></i>\
             <u style=\"left:{:.1}%;width:{:.1}%\"></u></td></tr>",
            escape(&format!("{}{}", c.name, because(c))),
            seconds(c.old),
            seconds(c.new),
            c.verdict.name(),
            to - from,
            at(low),
            at(high) - at(low)
        );
    }
    html += "</tbody></table></div></section>\n";
    html
}

#[cfg(test)]
mod tests {
    use super::super::super::stats::{Interval, Verdict};
    use super::*;

    #[test]
    fn twice_as_fast_goes_to_the_right() {
        let one = |median: f64| Compared {
            name: "x".to_owned(),
            old: 1.0,
            new: median,
            ratio: Interval {
                median,
                low: median,
                high: median,
            },
            verdict: Verdict::Faster,
            why: None,
        };
        // Two decades of two fit four times: twice as fast ends halfway between the middle and the end.
        let html = section("old", &[one(0.5), one(4.0)], &[]);
        assert!(html.contains("left:50.0%;width:25.0%"), "{html}");
        assert!(html.contains("left:0.0%;width:50.0%"), "{html}");
        assert!(html.contains("2.00 <small>"));
    }
}
