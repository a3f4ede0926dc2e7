//! Rows with the adapter that they were measured on, as a file.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wgrad_runtime::Device;

use super::compare::Compared;
use super::row::{Roof, Row};
use super::stats::Interval;

/// The format that the first line of a file names.
const FORMAT: &str = "wgrad bench 1";

/// Rows measured on one adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    format: String,
    /// The version of wgrad.
    pub version: String,
    /// The adapter's name, back end and driver.
    pub adapter: String,
    /// The back end, such as `Vulkan`.
    pub backend: String,
    /// The driver's name and version.
    pub driver: String,
    /// The rates that the adapter reaches.
    pub roof: Roof,
    /// Seconds of the reference kernel while this was measured.
    pub reference: Option<f64>,
    /// The rows, in the order in which they were measured.
    pub rows: Vec<Row>,
}

impl Results {
    /// Results without rows.
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
        let results: Results = serde_json::from_str(text).with_context(|| {
            format!("{name}: not a result of `wgrad bench --save`; measure it again with --save")
        })?;
        if results.format != FORMAT {
            bail!(
                "{name}: its format is \"{}\", this version reads \"{FORMAT}\"; measure it again",
                results.format
            );
        }
        results.check(name)?;
        Ok(results)
    }

    /// Refuses figures that no measurement gives.
    fn check(&self, name: &str) -> Result<()> {
        // Far beyond what an adapter reaches on either side; a chart over more decades could not be drawn.
        let positive = |value: f64| (1e-15..=1e15).contains(&value);
        let amount = |value: f64| value == 0.0 || (1e-9..=1e30).contains(&value);
        let ordered = |t: &Interval| {
            positive(t.low) && t.low <= t.median && t.median <= t.high && positive(t.high)
        };
        let rates = [self.roof.copy_gbps, self.roof.fma_gflops];
        let others = [self.roof.half_gflops, self.reference];
        if !rates
            .into_iter()
            .chain(others.into_iter().flatten())
            .all(positive)
        {
            bail!(
                "{name}: its roof or reference is not above 0, or beyond any adapter; measure it again with --save"
            );
        }
        for row in &self.rows {
            if !amount(row.work.operations) || !amount(row.work.bytes) {
                bail!(
                    "{name}: \"{}\" has {:e} operations and {:e} bytes; measure it again with --save",
                    row.name,
                    row.work.operations,
                    row.work.bytes
                );
            }
            let Some(m) = row.measurement() else { continue };
            if !ordered(&m.time) || !m.reference.as_ref().is_none_or(ordered) {
                bail!(
                    "{name}: the times of \"{}\" are not 0 < low <= median <= high; measure it again with --save",
                    row.name
                );
            }
        }
        Ok(())
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
    fn absurd_figures_are_refused() {
        let work = Work::new(1e9, 1e8);
        let sound = results(vec![row("x", work, 1.0, 0.1)]);
        let read = |results: &Results| {
            Results::parse("x.json", &results.to_json(&[]).unwrap().to_string())
        };
        assert_eq!(read(&sound).unwrap(), sound);
        let time = |low, median, high| {
            let mut all = sound.clone();
            if let Outcome::Measured(m) = &mut all.rows[0].outcome {
                m.time = Interval { median, low, high };
            }
            all
        };
        for wrong in [
            time(0.0, 1.0, 2.0),
            time(-1.0, 1.0, 2.0),
            time(1.5, 1.0, 2.0),
            time(0.5, 1.0, 0.7),
        ] {
            let error = read(&wrong).unwrap_err().to_string();
            assert!(
                error.contains("\"x\"") && error.contains("--save"),
                "{error}"
            );
        }
        let mut wrong = sound.clone();
        for copy_gbps in [0.0, -1.0, 1e-310, 1e300] {
            wrong.roof.copy_gbps = copy_gbps;
            assert!(read(&wrong).unwrap_err().to_string().contains("roof"));
        }
        for (operations, bytes) in [(1e9, 1e-300), (1e300, 1e8), (-1.0, 1e8)] {
            wrong = results(vec![row("x", Work::new(operations, bytes), 1.0, 0.1)]);
            assert!(
                read(&wrong)
                    .unwrap_err()
                    .to_string()
                    .contains("operations and")
            );
        }
        wrong = sound.clone();
        wrong.reference = Some(-1.0);
        assert!(read(&wrong).unwrap_err().to_string().contains("reference"));
    }

    #[test]
    fn figures_that_are_not_numbers_are_left_out() {
        let row = row("train", Work::new(1e9, 1e8), 1.0, 0.1)
            .figure("loss last", f64::NAN)
            .figure("items/s", f64::INFINITY)
            .figure("dispatches", 3.0);
        let text = results(vec![row]).to_json(&[]).unwrap().to_string();
        let back = Results::parse("x.json", &text).unwrap();
        assert_eq!(back.rows[0].figures.len(), 1);
    }

    #[test]
    fn names() {
        assert!(check_name("llvmpipe-22.3_matmul").is_ok());
        for name in ["", ".x", "a/b", "a b", "..", "a\\b"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
