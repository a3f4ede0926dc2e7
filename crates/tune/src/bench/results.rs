//! A table of rows with the adapter it was measured on: written to a file, read again, compared.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wgrad_runtime::Device;

use super::row::{Roof, Row};
use super::stats::{ENOUGH, Interval, Verdict};

/// What the first line of a file says.
const FORMAT: &str = "wgrad bench 1";

/// A relative difference of times that does not matter between two runs.
pub const BAND: f64 = 0.05;

/// Rows measured on one adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    format: String,
    /// The version of wgrad.
    pub version: String,
    /// The adapter's name, back end and driver.
    pub adapter: String,
    pub backend: String,
    pub driver: String,
    /// What the adapter reaches.
    pub roof: Roof,
    /// Seconds of the reference kernel while this was measured.
    pub reference: Option<f64>,
    pub rows: Vec<Row>,
}

impl Results {
    /// Without rows yet.
    pub fn new(device: &Device, roof: Roof) -> Self {
        let adapter = device.adapter();
        Self {
            format: FORMAT.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            adapter: adapter.name.clone(),
            backend: adapter.backend.clone(),
            driver: adapter.driver.clone(),
            roof,
            reference: None,
            rows: Vec::new(),
        }
    }

    /// As JSON, each row with its rates; `compared` puts its verdict into a row of the same name.
    pub fn to_json(&self, compared: &[Compared]) -> Result<Value> {
        let mut value = serde_json::to_value(self)?;
        let mut rows = Vec::new();
        for row in &self.rows {
            let mut object = row.to_json(&self.roof)?;
            if let Some(found) = compared.iter().find(|c| c.name == row.name) {
                object["compared"] = found.to_json();
            }
            rows.push(object);
        }
        value["rows"] = Value::from(rows);
        Ok(value)
    }

    /// Reads what [`Results::to_json`] wrote. `name` is for error messages.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let results: Results = serde_json::from_str(text)
            .with_context(|| format!("{name}: not a result of `wgrad bench --save`"))?;
        if results.format != FORMAT {
            bail!(
                "{name}: its format is \"{}\", this version reads \"{FORMAT}\"; measure it again",
                results.format
            );
        }
        Ok(results)
    }

    /// Every row that both have measured, in this one's order. With too few samples for an interval the
    /// verdict is UNCLEAR.
    pub fn compare(&self, baseline: &Results) -> Vec<Compared> {
        let find = |name: &str| baseline.rows.iter().find(|row| row.name == name);
        self.rows
            .iter()
            .filter_map(|row| {
                let (new, old) = (row.measurement()?, find(&row.name)?.measurement()?);
                let enough = new.count.min(old.count) >= ENOUGH;
                let (new, old) = (new.time, old.time);
                let ratio = new.over(&old);
                Some(Compared {
                    name: row.name.clone(),
                    old: old.median,
                    new: new.median,
                    ratio,
                    verdict: match enough {
                        true => Verdict::of(&ratio, BAND),
                        false => Verdict::Unclear,
                    },
                })
            })
            .collect()
    }

    /// What a reader of a comparison must know: another adapter, or a machine that is slower now.
    pub fn caution(&self, baseline: &Results) -> Option<String> {
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

/// A row beside that of a baseline. Times in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    pub name: String,
    pub old: f64,
    pub new: f64,
    /// new / old.
    pub ratio: Interval,
    pub verdict: Verdict,
}

impl Compared {
    fn to_json(&self) -> Value {
        json!({
            "baseline": self.old,
            "ratio": self.ratio.median,
            "ratio_low": self.ratio.low,
            "ratio_high": self.ratio.high,
            "verdict": self.verdict.name(),
        })
    }
}

/// Checks that `name` can be a file's name on every system, without folders in it.
pub fn check_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(fits) {
        bail!("\"{name}\" cannot name a result: use letters, digits, `.`, `_` and `-`");
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::row::tests::{ROOF, row};
    use super::super::row::{Outcome, Work};
    use super::*;

    pub(crate) fn results(rows: Vec<Row>) -> Results {
        Results {
            format: FORMAT.to_owned(),
            version: "0".to_owned(),
            adapter: "a".to_owned(),
            backend: "Vulkan".to_owned(),
            driver: "d 1".to_owned(),
            roof: ROOF,
            reference: Some(1e-3),
            rows,
        }
    }

    #[test]
    fn results_come_back_and_are_compared() {
        let work = Work::new(1e9, 1e8);
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
        // Three samples have no interval.
        let mut few = row("faster", work, 0.5, 0.0);
        if let Outcome::Measured(measurement) = &mut few.outcome {
            measurement.count = 3;
        }
        let found = results(vec![few]).compare(&old);
        assert_eq!(found[0].verdict, Verdict::Unclear);
    }

    #[test]
    fn what_differs_is_said() {
        let old = results(Vec::new());
        let mut new = old.clone();
        assert_eq!(new.caution(&old), None);
        new.reference = Some(1.3e-3);
        assert!(new.caution(&old).unwrap().contains("1.30 times"));
        new.driver = "d 2".to_owned();
        assert!(new.caution(&old).unwrap().contains("(d 2)"));
    }

    #[test]
    fn other_files_are_refused() {
        for text in ["", "{}", "[1]"] {
            let error = Results::parse("x.json", text).unwrap_err().to_string();
            assert!(error.starts_with("x.json: not a result"), "{error}");
        }
        let mut later = results(Vec::new());
        later.format = "wgrad bench 2".to_owned();
        let text = later.to_json(&[]).unwrap().to_string();
        let error = Results::parse("x.json", &text).unwrap_err().to_string();
        assert!(error.contains("wgrad bench 2"), "{error}");
    }

    #[test]
    fn names() {
        assert!(check_name("llvmpipe-22.3_matmul").is_ok());
        for name in ["", ".x", "a/b", "a b", "..", "a\\b"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
