//! Results in the T4 format that Kernel Tuner and others write and read (open autotuning results schema,
//! version 1.0.0), written and read. Times are in milliseconds, as Kernel Tuner has them.

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::expr::{Scope, Value};
use super::outcome::{Outcome, Status, Watched};
use super::session::Report;
use super::spec::Spec;
use crate::bench::stats::{CONFIDENCE, Interval, median, median_interval};

/// T4's name for how a candidate ended.
fn invalidity(status: Status) -> &'static str {
    match status {
        Status::Constraint => "constraints",
        other => other.name(),
    }
}

const STATUSES: [Status; 6] = [
    Status::Correct,
    Status::Compile,
    Status::Correctness,
    Status::Runtime,
    Status::Timeout,
    Status::Constraint,
];

/// The whole file.
pub fn export(report: &Report) -> Json {
    let several = report.head.sizes.len() > 1;
    let results: Vec<Json> = report
        .outcomes
        .iter()
        .map(|o| result(report, o, several))
        .collect();
    json!({ "schema_version": "1.0.0", "results": results })
}

fn result(report: &Report, outcome: &Outcome, several: bool) -> Json {
    let mut configuration = json!(outcome.values);
    // There is one search space for each size, so the size is a part of the configuration.
    if let (true, Some(sizes), Some(map)) = (
        several,
        report.head.sizes.get(outcome.size),
        configuration.as_object_mut(),
    ) {
        for (name, value) in sizes {
            map.insert(name.clone(), json!(value));
        }
    }
    // What races is right by luck, the default too.
    let status = match outcome.watched {
        Watched::Fault(_) => Status::Correctness,
        _ => outcome.status,
    };
    let ms = |seconds: f64| seconds * 1e3;
    let runtimes: Vec<f64> = outcome.samples.iter().map(|s| ms(*s)).collect();
    let measurements: Vec<Json> = outcome
        .time
        .iter()
        .map(|time| json!({ "name": "time", "value": ms(time.median), "unit": "ms" }))
        .collect();
    json!({
        "configuration": configuration,
        "times": {
            "compilation_time": ms(outcome.compile_seconds),
            "validation": ms(outcome.check_seconds),
            "framework": 0.0,
            "search_algorithm": 0.0,
            "runtimes": runtimes,
        },
        "invalidity": invalidity(status),
        "correctness": u8::from(status == Status::Correct),
        "measurements": measurements,
        "objectives": ["time"],
    })
}

/// A file from any program: fields that are not named here are ignored.
#[derive(Deserialize)]
struct File {
    results: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    configuration: Map<String, Json>,
    #[serde(default)]
    times: Times,
    invalidity: Option<String>,
    correctness: Option<f64>,
    #[serde(default)]
    measurements: Vec<Measurement>,
}

#[derive(Default, Deserialize)]
struct Times {
    #[serde(default)]
    compilation_time: f64,
    #[serde(default)]
    validation: f64,
    #[serde(default)]
    runtimes: Vec<f64>,
}

#[derive(Deserialize)]
struct Measurement {
    name: String,
    value: Json,
    #[serde(default)]
    unit: String,
}

/// The outcomes in the T4 file `text` that belong to choices of `spec` at its timed sizes, and the number of other
/// outcomes.
///
/// # Errors
/// `text` is not a T4 file.
pub fn import(text: &str, spec: &Spec) -> Result<(Vec<Outcome>, usize)> {
    let file: File = serde_json::from_str(text).context("this is no T4 file of results")?;
    let all = file.results.len();
    let found: Vec<Outcome> = file
        .results
        .iter()
        .filter_map(|entry| entry.outcome(spec))
        .collect();
    if found.is_empty() && all > 0 {
        let names: Vec<&str> = spec.parameters.keys().map(String::as_str).collect();
        let names = names.join(", ");
        return Err(anyhow!(
            "none of the {all} results has values of the spec's parameters ({names}) that it allows"
        ));
    }
    let others = all - found.len();
    Ok((found, others))
}

impl Entry {
    fn outcome(&self, spec: &Spec) -> Option<Outcome> {
        let mut values = Scope::new();
        for (name, all) in &spec.parameters {
            let given = self.configuration.get(name)?;
            values.insert(name.clone(), *all.iter().find(|v| same(v, given))?);
        }
        // With several sizes, the size is a part of the configuration.
        let fits = |sizes: &Scope| {
            let mut all = sizes.iter();
            all.all(|(name, n)| match self.configuration.get(name) {
                Some(given) => same(n, given),
                None => spec.time.len() == 1,
            })
        };
        let size = spec.time.iter().position(fits)?;
        spec.allows(&values, &spec.time[size])
            .ok()
            .filter(|is| *is)?;
        let status = self.status();
        let mut outcome = Outcome::failed(values, size, status, "imported");
        if status == Status::Correct {
            outcome.time = Some(self.time()?);
            outcome.message = None;
        }
        let seconds = |ms: &f64| ms / 1e3;
        outcome.samples = self.times.runtimes.iter().map(seconds).collect();
        outcome.compile_seconds = seconds(&self.times.compilation_time);
        outcome.check_seconds = seconds(&self.times.validation);
        Some(outcome)
    }

    fn status(&self) -> Status {
        let right = self.correctness.is_none_or(|share| share > 0.0);
        let word = self.invalidity.as_deref().unwrap_or("correct");
        let known = STATUSES.into_iter().find(|s| invalidity(*s) == word);
        match known.unwrap_or(Status::Runtime) {
            Status::Correct if !right => Status::Correctness,
            status => status,
        }
    }

    /// The measurement called `time`, else the median of the single runs.
    fn time(&self) -> Option<Interval> {
        let runs: Vec<f64> = self.times.runtimes.iter().map(|ms| ms / 1e3).collect();
        let (low, high) = median_interval(&runs, CONFIDENCE);
        let measured = self.measurements.iter().find(|m| m.name == "time");
        let median = match measured {
            Some(measured) => {
                let unit = match measured.unit.as_str() {
                    "s" | "seconds" => 1.0,
                    "us" | "microseconds" => 1e-6,
                    "ns" | "nanoseconds" => 1e-9,
                    _ => 1e-3,
                };
                measured.value.as_f64()? * unit
            }
            None => median(&runs),
        };
        let usable = median.is_finite() && median > 0.0;
        usable.then(|| Interval {
            median,
            // The median of no samples is NaN, which this filter drops.
            low: median.min(low),
            high: median.max(high),
        })
    }
}

/// Python writes True for 1 and 8.0 for 8.
fn same(value: &Value, given: &Json) -> bool {
    let number = match value {
        Value::Bool(is) => f64::from(u8::from(*is)),
        Value::Int(n) => *n as f64,
        Value::Float(x) => *x,
    };
    match given {
        Json::Bool(is) => number == f64::from(u8::from(*is)),
        other => other.as_f64() == Some(number),
    }
}

#[cfg(test)]
mod tests;
