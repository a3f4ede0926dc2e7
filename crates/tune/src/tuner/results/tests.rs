use std::path::PathBuf;

use super::super::expr::Value;
use super::*;
use crate::bench::stats::Interval;

fn head(hash: &str) -> Head {
    Head {
        kernel: "k".into(),
        hash: hash.into(),
        data: String::new(),
        seed: 0,
        machine: Machine {
            adapter: "a".into(),
            driver: "d".into(),
            backend: "Vulkan".into(),
            device_type: "Cpu".into(),
            facts: Scope::new(),
            bytes: vec![8.0],
            flops: vec![0.0],
        },
        sizes: vec![Scope::from([("N".into(), Value::Int(4))])],
        checked: false,
    }
}

fn values(width: i64) -> Scope {
    Scope::from([
        ("W".into(), Value::Int(width)),
        ("F".into(), Value::Bool(true)),
    ])
}

fn timed(width: i64, seconds: f64) -> Outcome {
    let mut outcome = Outcome::failed(values(width), 0, Status::Correct, "");
    outcome.time = Some(Interval {
        median: seconds,
        low: seconds,
        high: seconds,
    });
    outcome
}

/// A results file for this test only.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let name = format!("wgrad-results-{}-{name}.jsonl", std::process::id());
        let place = Place(std::env::temp_dir().join(name));
        let _ = std::fs::remove_file(&place.0);
        place
    }

    fn known(&self, head: &Head) -> Vec<Known> {
        known(&self.0, head, &[values(1)]).unwrap()
    }

    fn outcomes(&self, head: &Head) -> Vec<Outcome> {
        self.known(head).into_iter().map(|k| k.outcome).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn written_outcomes_are_read_back() {
    let place = Place::new("again");
    assert!(place.known(&head("1")).is_empty());
    let one = Outcome::failed(values(8), 0, Status::Correctness, "y[3] is\n 1");
    let two = Outcome::failed(values(9), 0, Status::Timeout, "");
    for (hash, outcome) in [("1", &one), ("2", &two)] {
        let mut results = Results::append(&place.0, &head(hash)).unwrap();
        results.write(outcome).unwrap();
    }
    // A run that was killed in the middle of a line.
    let mut file = OpenOptions::new().append(true).open(&place.0).unwrap();
    file.write_all(b"{\"values\":{\"W\"").unwrap();
    drop(file);
    let mut results = Results::append(&place.0, &head("1")).unwrap();
    results.write(&two).unwrap();
    assert_eq!(place.outcomes(&head("1")), [one, two.clone()]);
    assert_eq!(place.outcomes(&head("2")), [two]);
}

#[test]
fn concurrent_runs_are_kept_apart() {
    let place = Place::new("once");
    let mut one = Results::append(&place.0, &head("1")).unwrap();
    let mut two = Results::append(&place.0, &head("2")).unwrap();
    one.write(&timed(8, 1.0)).unwrap();
    two.write(&timed(9, 1.0)).unwrap();
    one.write(&timed(10, 1.0)).unwrap();
    // In the order of the lines in the file.
    assert_eq!(place.outcomes(&head("1")), [timed(10, 1.0), timed(8, 1.0)]);
    assert_eq!(place.outcomes(&head("2")), [timed(9, 1.0)]);
    let other = |change: fn(&mut Head)| {
        let mut head = head("1");
        change(&mut head);
        place.outcomes(&head)
    };
    assert!(other(|head| head.seed = 1).is_empty());
    assert!(other(|head| head.data = "x".into()).is_empty());
}

#[test]
fn times_are_compared_with_the_default_of_the_same_run() {
    let place = Place::new("default");
    for slow in [1.0, 3.0] {
        let mut results = Results::append(&place.0, &head("1")).unwrap();
        results.write(&timed(1, 10.0 * slow)).unwrap();
        if slow == 1.0 {
            results.write(&timed(8, 5.0)).unwrap();
        }
        results.write(&timed(9, 6.0 * slow)).unwrap();
    }
    let of = |width: i64| {
        let all = place.known(&head("1"));
        let found = all.iter().find(|k| k.outcome.values == values(width));
        found.cloned().unwrap()
    };
    assert_eq!(of(8).default_seconds, Some(10.0));
    assert_eq!(of(9).default_seconds, Some(30.0));
    assert_eq!(of(9).outcome, timed(9, 18.0));
}

#[test]
fn a_candidate_that_was_wrong_once_stays_wrong() {
    let place = Place::new("wrong");
    let wrong = Outcome::failed(values(8), 0, Status::Correctness, "");
    for outcome in [timed(8, 1.0), wrong.clone(), timed(8, 1.0)] {
        let mut results = Results::append(&place.0, &head("1")).unwrap();
        results.write(&outcome).unwrap();
    }
    assert_eq!(place.outcomes(&head("1")), [wrong]);
}

#[test]
fn a_file_joined_by_hand_is_read() {
    let place = Place::new("joined");
    let head = head("x");
    let mut results = Results::append(&place.0, &head).unwrap();
    for (width, seconds) in [(1, 4.0), (2, 3.0), (4, 2.0)] {
        results.write(&timed(width, seconds)).unwrap();
    }
    drop(results);
    let whole = std::fs::read_to_string(&place.0).unwrap();
    // The same run's head once more in the middle, and fewer outcomes after it than before.
    let again: Vec<&str> = whole.lines().take(2).collect();
    std::fs::write(&place.0, format!("{whole}{}\n", again.join("\n"))).unwrap();
    let known = place.known(&head);
    assert_eq!(known.len(), 3);
    assert!(
        known.iter().all(|k| k.default_seconds == Some(4.0)),
        "{known:?}"
    );
    // Figures that no run writes are passed over.
    for (from, to) in [
        ("\"median\":2.0", "\"median\":-2.0"),
        ("\"high\":2.0", "\"high\":1.0"),
        ("\"size\":0", "\"size\":9"),
        ("\"compile_seconds\":0.0", "\"compile_seconds\":-1.0"),
        ("\"correct\"", "\"runtime\""),
    ] {
        let changed: Vec<String> = whole
            .lines()
            .map(|line| match line.contains("\"W\":4") {
                true => line.replace(from, to),
                false => line.to_owned(),
            })
            .collect();
        assert_ne!(changed.join("\n") + "\n", whole, "{from}");
        std::fs::write(&place.0, changed.join("\n")).unwrap();
        assert_eq!(place.outcomes(&head).len(), 2, "{to}");
    }
}
