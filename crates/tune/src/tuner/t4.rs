//! Results in the T4 format that Kernel Tuner and others write and read (open autotuning results schema,
//! version 1.0.0). Times are in milliseconds, as Kernel Tuner has them.

use serde_json::{Value as Json, json};

use super::outcome::{Outcome, Status};
use super::session::Report;

/// T4's word for how a candidate ended.
fn invalidity(status: Status) -> &'static str {
    match status {
        Status::Constraint => "constraints",
        other => other.name(),
    }
}

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
    // One space for each size: the size then is a part of the configuration.
    if let (true, Some(sizes), Some(map)) = (
        several,
        report.head.sizes.get(outcome.size),
        configuration.as_object_mut(),
    ) {
        for (name, value) in sizes {
            map.insert(name.clone(), json!(value));
        }
    }
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
        "invalidity": invalidity(outcome.status),
        "correctness": u8::from(outcome.status == Status::Correct),
        "measurements": measurements,
        "objectives": ["time"],
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::expr::{Scope, Value};
    use super::super::job::Machine;
    use super::super::results::Head;
    use super::*;
    use crate::bench::stats::Interval;

    #[test]
    fn the_shape_is_that_of_the_schema() {
        let values = Scope::from([("W".to_owned(), Value::Int(8))]);
        let mut good = Outcome::failed(values.clone(), 1, Status::Correct, "");
        good.samples = vec![0.002, 0.003];
        good.time = Some(Interval {
            median: 0.0025,
            low: 0.002,
            high: 0.003,
        });
        let bad = Outcome::failed(values, 0, Status::Constraint, "too large");
        let size = |n| Scope::from([("N".to_owned(), Value::Int(n))]);
        let machine = Machine {
            adapter: String::new(),
            driver: String::new(),
            backend: String::new(),
            device_type: String::new(),
            facts: Scope::new(),
            bytes: vec![],
            flops: vec![],
        };
        let report = Report {
            head: Head {
                kernel: "k".into(),
                hash: "h".into(),
                data: String::new(),
                seed: 0,
                machine,
                sizes: vec![size(4), size(9)],
                checked: false,
            },
            tuned: vec![],
            counts: BTreeMap::new(),
            outcomes: vec![good, bad],
            watched: Default::default(),
            seconds: 1.0,
        };
        let file = export(&report);
        assert_eq!(file["schema_version"], "1.0.0");
        let [good, bad] = &file["results"].as_array().unwrap()[..] else {
            panic!("two results")
        };
        assert_eq!(good["configuration"], json!({ "W": 8, "N": 9 }));
        assert_eq!(good["times"]["runtimes"], json!([2.0, 3.0]));
        assert_eq!(
            good["measurements"],
            json!([{ "name": "time", "value": 2.5, "unit": "ms" }])
        );
        assert_eq!(
            (&good["invalidity"], &good["correctness"]),
            (&json!("correct"), &json!(1))
        );
        assert_eq!(
            (&bad["invalidity"], &bad["correctness"]),
            (&json!("constraints"), &json!(0))
        );
        assert_eq!(bad["measurements"], json!([]));
        for result in [good, bad] {
            for key in ["configuration", "times", "invalidity", "correctness"] {
                assert!(!result[key].is_null(), "{key} is required");
            }
        }
    }
}
