//! `info`, `doctor` and `bench` on the machine's own adapter.

use serde_json::Value;

use crate::support::{Workplace, refuse, succeed, wgrad};

#[test]
fn info_marks_the_adapter_it_measured() {
    let text = succeed(wgrad(&["info", "--json"]).env_remove("XDG_RUNTIME_DIR"));
    let adapters: Vec<Value> = serde_json::from_str(&text).unwrap();
    let selected: Vec<&Value> = adapters.iter().filter(|a| a["selected"] == true).collect();
    let [one] = selected.as_slice() else {
        panic!("{} adapters are selected", selected.len());
    };
    for rate in ["copy_gbps", "fma_gflops"] {
        assert!(one[rate].as_f64().unwrap() > 0.0, "{rate}: {one}");
    }
    assert!(one["limits"]["maxBufferSize"].as_u64().unwrap() >= 1 << 28);
    let fast = succeed(&mut wgrad(&["info", "--json", "--fast"]));
    assert!(fast.contains("\"copy_gbps\": null"), "{fast}");
}

#[test]
fn doctor_ends_with_its_counts() {
    let place = Workplace::new();
    let dump = place.path("dump").display().to_string();
    let rows = ["doctor", "--op", "relu", "--json", "--dump", &dump];
    let text = succeed(&mut wgrad(&rows));
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&last["failed"], &last["skipped"]), (&0.into(), &0.into()));
    assert!(last["passed"].as_u64().unwrap() >= 10, "{last}");
    // What the adapter makes of NaN, and what its compiler takes.
    assert!(
        text.contains("NaN, infinities and denormals: as in PyTorch"),
        "{text}"
    );
    assert!(last["special_values"].is_object(), "{last}");
    assert!(
        text.contains(" kernels compiled and first launched in "),
        "{text}"
    );
    let [all, slowest] =
        ["compile_seconds", "slowest_compile_seconds"].map(|name| last[name].as_f64());
    assert!(slowest > Some(0.0) && all >= slowest, "{last}");
    // A line for each row that has values, its tensors beside it.
    let cases = String::from_utf8(place.bytes("dump/cases.jsonl")).unwrap();
    for (i, line) in cases.lines().enumerate() {
        let case: Value = serde_json::from_str(line).unwrap();
        let file = place.path("dump").join(case["data"].as_str().unwrap());
        let tensors = crate::support::tensors(&file);
        for name in ["x0", "y", "dy", "dx0"] {
            assert!(
                tensors.contains_key(&format!("{i}/{name}")),
                "{name}: {line}"
            );
        }
    }
    assert!(refuse(&mut wgrad(&["doctor", "--op", "rleu"])).contains("relu"));
}

#[test]
fn an_unknown_case_of_the_comparison_is_refused() {
    let line = refuse(&mut wgrad(&["bench", "peer", "matmul:f64:8x8x8"]));
    assert!(line.contains("f64"), "{line}");
}
