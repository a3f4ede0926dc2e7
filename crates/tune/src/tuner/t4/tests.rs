use std::collections::BTreeMap;

use super::super::job::Machine;
use super::super::results::Head;
use super::*;

/// A correct outcome at the second size, and one beyond the device's limits at the first.
fn report() -> Report {
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
    Report {
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
    }
}

#[test]
fn the_exported_json_follows_the_schema() {
    let file = export(&report());
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

/// The spec of that report.
const SPEC: &str = "workgroups = [1]
constraints = [\"W < 16\"]
check = [{ N = 1 }]
time = [{ N = 4 }, { N = 9 }]
[parameters]
W = [4, 8, 16]
[[buffers]]
name = \"y\"
dtype = \"f32\"
size = \"N\"
output = true
[reference]
builtin = \"copy\"
";

#[test]
fn an_exported_file_can_be_imported() {
    let spec = Spec::parse("s", SPEC).unwrap();
    let report = report();
    let text = export(&report).to_string();
    let (found, others) = import(&text, &spec).unwrap();
    assert_eq!((found.len(), others), (2, 0));
    for (a, b) in found.iter().zip(&report.outcomes) {
        assert_eq!((&a.values, a.size, a.status), (&b.values, b.size, b.status));
        assert_eq!(a.samples, b.samples);
        assert_eq!(a.time.map(|t| t.median), b.time.map(|t| t.median));
    }
}

#[test]
fn files_of_other_programs_can_be_imported() {
    let spec = SPEC.replace("{ N = 4 }, { N = 9 }", "{ N = 9 }");
    let spec = Spec::parse("s", &spec).unwrap();
    let import = |entries: Json| import(&json!({ "results": entries }).to_string(), &spec);
    let time = json!([{ "name": "time", "value": 2000.0, "unit": "us" }]);
    let (found, others) = import(json!([
        { "configuration": { "W": 8.0 }, "measurements": time },
        { "configuration": { "W": 4 }, "invalidity": "correct", "correctness": 0, "measurements": time },
        { "configuration": { "W": 4 }, "invalidity": "what is this" },
        { "configuration": { "W": 8 }, "times": { "runtimes": [3.0, 1.0, 2.0] } },
        { "configuration": { "W": 8, "N": 10 }, "measurements": time },
        { "configuration": { "W": 5 }, "measurements": time },
        { "configuration": { "W": 16 }, "measurements": time },
        { "configuration": { "W": 8 } },
    ]))
    .unwrap();
    assert_eq!(others, 4);
    let statuses: Vec<Status> = found.iter().map(|o| o.status).collect();
    let (right, wrong) = (Status::Correct, Status::Correctness);
    assert_eq!(statuses, [right, wrong, Status::Runtime, right]);
    assert_eq!(found[0].time.unwrap().median, 0.002);
    assert_eq!(found[3].time.unwrap().median, 0.002);
    let error = import(json!([{ "configuration": { "V": 8 } }])).unwrap_err();
    assert!(error.to_string().contains("parameters (W)"), "{error}");
    let error = super::import("[]", &spec).unwrap_err().to_string();
    assert!(error.contains("no T4"), "{error}");
}
