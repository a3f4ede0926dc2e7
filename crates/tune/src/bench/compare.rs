//! Compares a result with a saved one: is each row the same, faster or slower?

use serde_json::{Value, json};

use super::results::Results;
use super::row::Row;
use super::settings::Measurement;
use super::stats::{ENOUGH, Interval, Verdict};

/// The relative difference of times that is ignored between two runs.
pub const BAND: f64 = 0.05;

/// The largest number of row names in a note.
const NAMED: usize = 4;

/// A row compared with the same row of a baseline. Times in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// The name that both rows have.
    pub name: String,
    /// The median in the baseline.
    pub old: f64,
    /// The median measured now.
    pub new: f64,
    /// new / old. The interval is widened by the change of the reference kernel.
    pub ratio: Interval,
    /// What `ratio` says.
    pub verdict: Verdict,
    /// Why the verdict is UNCLEAR where the ratio alone does not say so.
    pub why: Option<String>,
}

impl Compared {
    pub(super) fn to_json(&self) -> Value {
        let mut value = json!({
            "baseline": self.old,
            "ratio": self.ratio.median,
            "ratio_low": self.ratio.low,
            "ratio_high": self.ratio.high,
            "verdict": self.verdict.name(),
        });
        if let Some(why) = &self.why {
            value["why"] = Value::from(why.as_str());
        }
        value
    }
}

impl Results {
    /// Every row that both have measured, in this one's order.
    pub fn compare(&self, baseline: &Results) -> Vec<Compared> {
        let measured = self.rows.iter().filter_map(|row| {
            let old = baseline.rows.iter().find(|old| old.name == row.name)?;
            Some(self.beside(row, row.measurement()?, baseline, old, old.measurement()?))
        });
        measured.collect()
    }

    fn beside(
        &self,
        row: &Row,
        new: &Measurement,
        baseline: &Results,
        old_row: &Row,
        old: &Measurement,
    ) -> Compared {
        let plain = new.time.over(&old.time);
        let change = match (self.reference_of(new), baseline.reference_of(old)) {
            (Some(new), Some(old)) => furthest(&new.over(&old)),
            _ => 1.0,
        };
        let ratio = Interval {
            median: plain.median,
            low: plain.low / change,
            high: plain.high * change,
        };
        let fewest = new.count.min(old.count);
        let no_verdict = if self.adapter != baseline.adapter {
            Some("another adapter".to_owned())
        } else if !same_work(row, old_row) {
            Some("the baseline's row is other work".to_owned())
        } else if fewest < ENOUGH {
            Some(format!("fewer than {ENOUGH} samples"))
        } else if [new, old].iter().any(|m| m.overhead > m.time.median) {
            Some("shorter than its launch".to_owned())
        } else {
            None
        };
        let without_reference = Verdict::of(&plain, BAND);
        let (verdict, why) = match (no_verdict, Verdict::of(&ratio, BAND)) {
            (Some(why), _) => (Verdict::Unclear, Some(why)),
            (None, Verdict::Unclear) if without_reference != Verdict::Unclear => {
                let by = 100.0 * (change - 1.0);
                let why = format!("the reference kernel moved by up to {by:.0}%");
                (Verdict::Unclear, Some(why))
            }
            (None, Verdict::Slower) if new.best < old.time.median => overlap(),
            (None, Verdict::Faster) if old.best < new.time.median => overlap(),
            (None, verdict) => (verdict, None),
        };
        Compared {
            name: row.name.clone(),
            old: old.time.median,
            new: new.time.median,
            ratio,
            verdict,
            why,
        }
    }

    /// Where a result has no readings for each row, the reading of the whole run is used.
    fn reference_of(&self, row: &Measurement) -> Option<Interval> {
        let whole = self.reference.map(|seconds| Interval::range(&[seconds]));
        row.reference.or(whole)
    }

    /// Warnings for the reader of a comparison: another adapter, a machine that is slower now, rows that only one of
    /// the two results has.
    pub fn cautions(&self, baseline: &Results) -> Vec<String> {
        let mut all: Vec<String> = self.machine(baseline).into_iter().collect();
        let only = |here: &Results, there: &Results| -> Vec<String> {
            let measured = |results: &Results, name: &str| {
                let mut rows = results.rows.iter();
                rows.any(|row| row.name == name && row.measurement().is_some())
            };
            let rows = here.rows.iter().filter(|row| row.measurement().is_some());
            let rows = rows.filter(|row| !measured(there, &row.name));
            rows.map(|row| row.name.clone()).collect()
        };
        for (rows, why) in [
            (only(self, baseline), "measured here only"),
            (only(baseline, self), "measured in the baseline only"),
        ] {
            if let Some(first) = rows.get(..rows.len().min(NAMED)).filter(|r| !r.is_empty()) {
                let more = match rows.len() - first.len() {
                    0 => String::new(),
                    n => format!(" and {n} more"),
                };
                all.push(format!("{why}: {}{more}", first.join("; ")));
            }
        }
        all
    }

    fn machine(&self, baseline: &Results) -> Option<String> {
        let here = (&self.adapter, &self.driver);
        let there = (&baseline.adapter, &baseline.driver);
        if here != there {
            return Some(format!(
                "the baseline was measured on {} ({}), this on {} ({})",
                there.0, there.1, here.0, here.1
            ));
        }
        let ratio = self.reference? / baseline.reference?;
        ((ratio - 1.0).abs() > BAND).then(|| {
            format!(
                "the reference kernel, always the same work, takes {ratio:.2} times as long as in the baseline: clocks or other programs differ"
            )
        })
    }
}

/// Whether the slower side had a sample as fast as the median of the other: then other work on the machine may have
/// slowed down the rest.
fn overlap() -> (Verdict, Option<String>) {
    (Verdict::Unclear, Some("samples of both overlap".to_owned()))
}

/// How far an interval of ratios reaches from 1, as a factor of 1 or more.
fn furthest(ratio: &Interval) -> f64 {
    [ratio.low, ratio.high]
        .map(|end| end.ln().abs())
        .into_iter()
        .fold(0.0, f64::max)
        .exp()
}

fn same_work(a: &Row, b: &Row) -> bool {
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(b.abs());
    near(a.work.operations, b.work.operations)
        && near(a.work.bytes, b.work.bytes)
        && a.work.unit == b.work.unit
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::results;
    use super::super::row::tests::row;
    use super::super::row::{Outcome, Work};
    use super::*;

    const WORK: Work = Work {
        operations: 1e9,
        bytes: 1e8,
        unit: super::super::row::Unit::F32,
    };

    fn point(median: f64) -> Interval {
        Interval {
            median,
            low: median,
            high: median,
        }
    }

    /// A row with the reference kernel's time beside it.
    fn beside(median: f64, reference: Option<f64>) -> Row {
        changed(row("x", WORK, median, 0.01), |m| {
            m.reference = reference.map(point);
        })
    }

    fn changed(mut row: Row, change: impl FnOnce(&mut Measurement)) -> Row {
        if let Outcome::Measured(measurement) = &mut row.outcome {
            change(measurement);
        }
        row
    }

    fn only(new: Row, old: Row) -> Compared {
        let mut found = results(vec![new]).compare(&results(vec![old]));
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    #[test]
    fn results_come_back_and_are_compared() {
        let work = WORK;
        let old = results(vec![
            row("same", work, 1.0, 0.01),
            row("faster", work, 1.0, 0.01),
            row("slower", work, 1.0, 0.01),
            row("unclear", work, 1.0, 0.3),
            row("gone", work, 1.0, 0.01),
            Row::skipped("never", "no"),
        ]);
        let text = old.to_json(&[]).unwrap().to_string();
        let old = Results::parse("old", &text).unwrap();
        let new = results(vec![
            row("new", work, 1.0, 0.01),
            row("unclear", work, 0.8, 0.3),
            row("slower", work, 2.0, 0.01),
            row("same", work, 1.01, 0.01),
            row("faster", work, 0.5, 0.01),
            row("never", work, 0.5, 0.01),
        ]);
        let found = new.compare(&old);
        let verdicts: Vec<(&str, &str)> = found
            .iter()
            .map(|c| (c.name.as_str(), c.verdict.name()))
            .collect();
        let expected = [
            ("unclear", "UNCLEAR"),
            ("slower", "SLOWER"),
            ("same", "SAME"),
            ("faster", "FASTER"),
        ];
        assert_eq!(verdicts, expected);
        let json = new.to_json(&found).unwrap();
        assert_eq!(json["rows"][2]["compared"]["verdict"], "SLOWER");
        assert_eq!(json["rows"][2]["compared"]["ratio"], 2.0);
        assert!(json["rows"][0].get("compared").is_none());
    }

    #[test]
    fn a_slower_machine_gives_no_verdict() {
        let found = only(beside(1.2, Some(1.25e-3)), beside(1.0, Some(1e-3)));
        assert_eq!(found.verdict, Verdict::Unclear);
        assert!(found.why.unwrap().contains("by up to 25%"));
        // Nor does one row at a better moment, whatever the run's median says.
        let found = only(beside(0.889, Some(1e-3)), beside(1.0, Some(1.25e-3)));
        assert_eq!(found.verdict, Verdict::Unclear);
        // More than the machine explains stays.
        let found = only(beside(2.0, Some(1.25e-3)), beside(1.0, Some(1e-3)));
        assert_eq!(found.verdict, Verdict::Slower);
        // A machine that was not quiet in either run could have done it.
        let restless = |m: &mut Measurement| {
            m.reference = Some(Interval {
                low: 0.9e-3,
                median: 1e-3,
                high: 1.2e-3,
            });
        };
        let old = changed(beside(1.0, None), restless);
        let found = only(changed(beside(0.78, None), restless), old.clone());
        assert_eq!(found.verdict, Verdict::Unclear);
        let found = only(changed(beside(0.5, None), restless), old);
        assert_eq!(found.verdict, Verdict::Faster);
        let found = only(beside(1.2, Some(1e-3)), beside(1.0, Some(1e-3)));
        assert_eq!((found.verdict, found.why), (Verdict::Slower, None));
        // What made the kernel slow at times need not show in the reference.
        let slow = changed(beside(1.7, Some(1e-3)), |m| m.best = 0.98);
        let found = only(slow, beside(1.0, Some(1e-3)));
        assert_eq!(found.why.as_deref(), Some("samples of both overlap"));
        // An older result has one reading for all of its rows.
        let mut old = results(vec![beside(1.0, None)]);
        old.reference = Some(0.8e-3);
        let found = results(vec![beside(1.2, Some(1e-3))]).compare(&old);
        assert_eq!(found[0].verdict, Verdict::Unclear);
    }

    #[test]
    fn rows_that_cannot_be_compared_are_unclear() {
        let why = |new: Row, old: Row| {
            let found = only(new, old);
            assert_eq!(found.verdict, Verdict::Unclear);
            found.why.unwrap_or_default()
        };
        let same = || row("x", WORK, 1.0, 0.01);
        let more = row("x", Work::new(2e9, 1e8), 1.0, 0.01);
        assert!(why(same(), more).contains("other work"));
        let half = row("x", WORK.half(), 1.0, 0.01);
        assert!(why(same(), half).contains("other work"));
        let few = changed(row("x", WORK, 0.5, 0.01), |m| m.count = 3);
        assert_eq!(why(few, same()), "fewer than 7 samples");
        let short = changed(row("x", WORK, 0.5, 0.01), |m| m.overhead = 0.6);
        assert_eq!(why(short, same()), "shorter than its launch");
        let old = results(vec![same()]);
        let mut new = old.clone();
        new.adapter = "b".to_owned();
        let found = new.compare(&old);
        assert_eq!(found[0].why.as_deref(), Some("another adapter"));
    }

    #[test]
    fn differences_between_results_are_reported() {
        let old = results(Vec::new());
        let mut new = old.clone();
        assert!(new.cautions(&old).is_empty());
        new.reference = Some(1.3e-3);
        assert!(new.cautions(&old)[0].contains("1.30 times"));
        new.driver = "d 2".to_owned();
        assert!(new.cautions(&old)[0].contains("(d 2)"));
        let rows = |names: &[&str]| {
            let one = |name: &&str| row(name, WORK, 1.0, 0.01);
            results(names.iter().map(one).collect())
        };
        let found = rows(&["a", "b"]).cautions(&rows(&["b", "c", "d", "e", "f", "g"]));
        let expected = [
            "measured here only: a",
            "measured in the baseline only: c; d; e; f and 1 more",
        ];
        assert_eq!(found, expected);
    }
}
