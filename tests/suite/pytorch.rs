//! A part of the op matrix against the values and gradients that PyTorch computes in float64. They are
//! stored in `tests/pytorch/reference.jsonl`, so that this needs no PyTorch. Write them again when rows are
//! added or change:
//!
//! ```text
//! WGRAD_DUMP=rows.jsonl cargo test --test suite pytorch
//! python tests/pytorch/make_reference.py rows.jsonl
//! ```

use std::collections::HashMap;
use std::io::Write;

use serde_json::{Value, json};
use wgrad::tensor::cases::{Case, Dump, HostArray, Outcome, run};
use wgrad::tensor::{Device, DeviceOptions, ops};

/// Rows of each op: its first ones that are small.
const ROWS: usize = 4;
/// Elements of all inputs of a small row.
const ELEMENTS: std::ops::RangeInclusive<usize> = 2..=200;

/// The rows that are compared, by name.
fn chosen() -> Vec<Case> {
    let mut taken: HashMap<&str, usize> = HashMap::new();
    ops::cases()
        .into_iter()
        .filter(|case| {
            let sizes = case
                .inputs
                .iter()
                .map(|i| i.shape.iter().product::<usize>());
            let taken = taken.entry(case.op).or_default();
            let fits = ELEMENTS.contains(&sizes.clone().sum()) && sizes.min() != Some(0);
            let take = fits && !case.torch.is_empty() && *taken < ROWS;
            *taken += usize::from(take);
            take
        })
        .collect()
}

/// What make_reference.py needs to compute a row.
fn record(case: &Case, dump: &Dump) -> Value {
    let inputs = case.inputs.iter().zip(&dump.inputs).map(|(input, values)| {
        json!({
            "shape": values.shape,
            "dtype": input.dtype.wgsl(),
            "requires_grad": input.requires_grad,
            "data": values.data,
        })
    });
    json!({
        "name": case.name(),
        "torch": case.torch,
        "inputs": inputs.collect::<Vec<_>>(),
        "dy": dump.dy.as_ref().map(|dy| &dy.data),
    })
}

/// The largest error relative to max(1, largest reference value); infinite where lengths differ.
fn error(ours: &HostArray, reference: &Value) -> f64 {
    let reference: Vec<f64> = reference
        .as_array()
        .map(|values| values.iter().filter_map(Value::as_f64).collect())
        .unwrap_or_default();
    if ours.data.len() != reference.len() {
        return f64::INFINITY;
    }
    let scale = reference.iter().fold(1.0f64, |most, v| most.max(v.abs()));
    let errors = ours
        .data
        .iter()
        .zip(&reference)
        .map(|(a, b)| (a - b).abs() / scale);
    // f64::max would drop a NaN.
    errors.fold(0.0, |worst, e| {
        if e.is_nan() {
            f64::INFINITY
        } else {
            e.max(worst)
        }
    })
}

#[test]
fn stored_reference() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pytorch/reference.jsonl");
    let text = std::fs::read_to_string(path).expect("the stored reference");
    let rows: HashMap<String, Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .map(|row: Value| (row["name"].as_str().expect("a name").to_owned(), row))
        .collect();
    let mut file =
        std::env::var_os("WGRAD_DUMP").map(|path| std::fs::File::create(path).expect("a file"));
    let device = Device::open(DeviceOptions::default()).expect("an adapter");
    let (mut compared, mut failures) = (0, Vec::new());
    for case in chosen() {
        let name = case.name();
        let mut dump = Dump::default();
        match run(&device, &case, Some(&mut dump)) {
            Outcome::Passed { .. } => {}
            // f16 rows on an adapter without f16.
            Outcome::Skipped(_) => continue,
            Outcome::Failed(why) => {
                failures.push(format!("{name}: {why}"));
                continue;
            }
        }
        if let Some(file) = &mut file {
            writeln!(file, "{}", record(&case, &dump)).expect("a line");
            continue;
        }
        let Some(row) = rows
            .get(&name)
            .filter(|row| row["torch"] == case.torch.as_str())
        else {
            failures.push(format!("{name}: not in reference.jsonl; write it again"));
            continue;
        };
        compared += 1;
        let mut compare = |what: &str, ours: Option<&HostArray>| {
            let worst = ours.map_or(f64::INFINITY, |ours| error(ours, &row[what]));
            if worst > case.tolerance {
                let most = case.tolerance;
                failures.push(format!(
                    "{name}: {what} is off by {worst:.2e}, {most:.0e} at most"
                ));
            }
        };
        compare("y", dump.y.as_ref());
        for (i, gradient) in dump.gradients.iter().enumerate() {
            if case.inputs[i].requires_grad {
                compare(&format!("dx{i}"), gradient.as_ref());
            }
        }
    }
    let failed = failures.len();
    assert!(
        failures.is_empty(),
        "{failed} failures:\n{}",
        failures.join("\n")
    );
    assert!(
        file.is_some() || compared > 100,
        "only {compared} rows were compared"
    );
}
