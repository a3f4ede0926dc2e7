//! Sessions whose workers are shell scripts with fixed answers, so that no device is needed.

use std::path::Path;

use wgrad_runtime::variants::Entry;

use super::super::expr::Value;
use super::super::job::Source;
use super::super::outcome::Needs;
use super::super::table;
use super::*;

const SPEC: &str = "workgroups = [1]
check = [{ n = 1 }]
time = [{ n = 2 }]
[parameters]
W = [1, 2, 3]
[[buffers]]
name = \"y\"
dtype = \"f32\"
size = \"n\"
output = true
[reference]
builtin = \"copy\"
";

fn job() -> Job {
    Job {
        name: "k".into(),
        spec_name: "k.toml".into(),
        spec: SPEC.into(),
        kernels: vec![Source {
            name: "k.wgsl".into(),
            text: String::new(),
        }],
        reference: None,
        files: Vec::new(),
        folder: PathBuf::new(),
        adapter: None,
        checked: false,
        seed: 0,
    }
}

fn machine() -> Machine {
    Machine {
        adapter: "a".into(),
        driver: "1".into(),
        backend: "Vulkan".into(),
        device_type: "Cpu".into(),
        facts: Scope::from([("max_invocations".into(), Value::Int(64))]),
        bytes: vec![0.0],
        flops: vec![0.0],
    }
}

fn values(width: i64) -> Scope {
    Scope::from([("W".into(), Value::Int(width))])
}

fn point(median: f64) -> Interval {
    Interval {
        median,
        low: 0.99 * median,
        high: 1.01 * median,
    }
}

/// A correct candidate with this time over the incumbent's.
fn tried(width: i64, ratio: f64) -> Reply {
    let mut outcome = Outcome::failed(values(width), 0, Status::Correct, "");
    (outcome.time, outcome.ratio) = (Some(point(ratio)), Some(point(ratio)));
    outcome.message = None;
    outcome.watched = Watched::Clean;
    Reply::Tried(Box::new(outcome))
}

fn wrong(width: i64) -> Reply {
    let outcome = Outcome::failed(values(width), 0, Status::Correctness, "y[0] is 9");
    Reply::Tried(Box::new(outcome))
}

fn compared(ratio: f64) -> Reply {
    Reply::Compared {
        ratio: point(ratio),
        new: point(ratio),
        old: point(1.0),
        samples: Vec::new(),
        noise: point(1.0),
    }
}

/// A budget that no run uses up, and one that is used up at once.
const LONG: f64 = 1e6;
const NONE: f64 = 1e-9;

/// Runs a session whose worker gives these answers and then ends.
fn session(
    results: &Path,
    budget: f64,
    resume: bool,
    table: VariantTable,
    answers: &[Reply],
) -> Report {
    let mut script = String::new();
    for answer in [&Reply::Opened(machine())].into_iter().chain(answers) {
        let line = serde_json::to_string(answer).unwrap();
        script.push_str(&format!("read line; echo '{line}'; "));
    }
    let command = WorkerCommand {
        program: "sh".into(),
        arguments: vec!["-c".into(), script + "read line"],
    };
    let options = Options {
        strategy: Strategy::Exhaustive,
        budget,
        seed: 0,
        time_limit: 20.0,
        results: results.to_owned(),
        resume,
        table,
    };
    run(&job(), &command, &options, &mut |_| {}).unwrap()
}

/// A path for this test only, where no file exists.
fn results(name: &str) -> PathBuf {
    let name = format!("wgrad-session-{}-{name}.jsonl", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _ = std::fs::remove_file(&path);
    path
}

fn best(report: &Report) -> &Scope {
    &report.tuned[0].best.values
}

#[test]
fn the_default_stays_unless_the_best_is_certainly_faster() {
    for (last, wins) in [
        (Some(compared(0.8)), true),
        (Some(compared(0.995)), false),
        (Some(compared(1.2)), false),
        // The worker process ends without an answer.
        (None, false),
    ] {
        let path = results("last");
        let mut answers = vec![tried(1, 1.0), tried(2, 0.5), tried(3, 3.0)];
        let fails = last.is_none();
        answers.extend(last);
        let report = session(&path, LONG, false, VariantTable::default(), &answers);
        let expected = if wins { values(2) } else { values(1) };
        assert_eq!(best(&report), &expected);
        assert!(report.tuned[0].exhausted);
        assert_eq!(report.counts.contains_key(&Status::Runtime), fails);
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_resumed_run_measures_the_earlier_best_again() {
    let path = results("resume");
    let no_table = VariantTable::default;
    // In the earlier run, 3 was the best.
    session(
        &path,
        LONG,
        false,
        no_table(),
        &[tried(1, 1.0), tried(2, 0.9), tried(3, 0.5), compared(0.5)],
    );
    // Now 3 computes wrong values, so 2 is tried next.
    let answers = [tried(1, 1.0), wrong(3), tried(2, 0.9), compared(0.9)];
    let report = session(&path, LONG, true, no_table(), &answers);
    assert_eq!(best(&report), &values(2));
    assert_eq!(report.outcomes.len(), 3, "each once");
    assert_eq!(report.counts[&Status::Correctness], 1);
    // A candidate that was wrong once is not tried again.
    let report = session(
        &path,
        LONG,
        true,
        no_table(),
        &[tried(1, 1.0), tried(2, 0.9), compared(0.9)],
    );
    assert_eq!(best(&report), &values(2));
    assert_eq!(report.tuned[0].tried, 3);
    // Even without time left, the earlier best is measured again.
    let report = session(
        &path,
        NONE,
        true,
        no_table(),
        &[tried(1, 1.0), tried(2, 1.1)],
    );
    assert_eq!(best(&report), &values(1));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_tables_choice_stays_unless_it_loses() {
    let path = results("table");
    let first = session(
        &path,
        LONG,
        false,
        VariantTable::default(),
        &[tried(1, 1.0), tried(2, 0.9), tried(3, 0.5), compared(0.5)],
    );
    let entries = table::entries(&job(), &first);
    let [entry] = &entries[..] else {
        panic!("{entries:?}")
    };
    assert_eq!(entry.values["W"], 3);
    let table = |entry: &Entry| {
        let mut table = VariantTable::default();
        table.insert(entry.clone());
        table
    };
    // Almost no time: the table's choice is tried and stays.
    let report = session(
        &path,
        NONE,
        false,
        table(entry),
        &[tried(1, 1.0), tried(3, 0.5), compared(0.5)],
    );
    assert_eq!(table::entries(&job(), &report)[0].values["W"], 3);
    // The table's choice lost: the default gets an entry.
    let report = session(
        &path,
        NONE,
        false,
        table(entry),
        &[tried(1, 1.0), tried(3, 1.5)],
    );
    assert_eq!(table::entries(&job(), &report)[0].values["W"], 1);
    // A table's choice for another version of the kernel, or one that cannot be launched, is ignored. A default that
    // was compared with nothing gets no entry.
    for change in [
        (|e: &mut Entry| e.hash = "0".into()) as fn(&mut Entry),
        |e| e.invocations = 65,
    ] {
        let mut other = entry.clone();
        change(&mut other);
        let report = session(&path, NONE, false, table(&other), &[tried(1, 1.0)]);
        assert!(table::entries(&job(), &report).is_empty());
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn imported_results_are_measured_again() {
    let path = results("import");
    let text = r#"{ "results": [
        { "configuration": { "W": 1 }, "times": { "runtimes": [8.0] } },
        { "configuration": { "W": 2 }, "times": { "runtimes": [2.0] } },
        { "configuration": { "W": 3 }, "invalidity": "timeout" }] }"#;
    let line = serde_json::to_string(&Reply::Opened(machine())).unwrap();
    let command = WorkerCommand {
        program: "sh".into(),
        arguments: vec!["-c".into(), format!("read line; echo '{line}'; read line")],
    };
    let counts = import_t4(&job(), &command, &path, text).unwrap();
    assert_eq!(counts, (3, 0));
    for (now, best_now) in [(tried(2, 0.9), 2), (wrong(2), 1)] {
        let mut answers = vec![tried(1, 1.0), now];
        answers.push(compared(0.9));
        let report = session(&path, NONE, true, VariantTable::default(), &answers);
        assert_eq!(best(&report), &values(best_now));
        assert_eq!(report.tuned[0].tried, 3);
    }
    std::fs::remove_file(path).unwrap();
}

fn watched(mut reply: Reply, watched: Watched) -> Reply {
    if let Reply::Tried(outcome) = &mut reply {
        outcome.watched = watched;
        outcome.needs = Needs::default();
    }
    reply
}

fn fault() -> Watched {
    Watched::Fault("race: invocation 1 writes".into())
}

#[test]
fn what_was_not_watched_does_not_win() {
    let path = results("watched");
    let no_table = VariantTable::default;
    let unknown = Watched::Unknown("no time for n=1".into());
    for not in [unknown.clone(), Watched::No, fault()] {
        let answers = [
            tried(1, 1.0),
            watched(tried(2, 0.5), not),
            tried(3, 0.9),
            compared(0.9),
        ];
        let report = session(&path, LONG, false, no_table(), &answers);
        assert_eq!(best(&report), &values(3));
        assert_eq!(report.watched, Watched::Clean);
        assert_eq!(report.tuned[0].no_winner, None);
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_default_that_races_does_not_win() {
    let path = results("racing");
    let no_table = VariantTable::default;
    let racing = |width, ratio| watched(tried(width, ratio), fault());
    // Others race too: nothing wins, and no table gets an entry.
    let answers = [racing(1, 1.0), wrong(2), racing(3, 0.5)];
    let report = session(&path, LONG, false, no_table(), &answers);
    let reason = report.tuned[0].no_winner.as_deref().unwrap();
    assert!(reason.contains("race: invocation 1"), "{reason}");
    assert!(table::entries(&job(), &report).is_empty());
    // A sound candidate wins though it is slower, and a faster one against it.
    let answers = [racing(1, 1.0), tried(2, 1.5), tried(3, 1.2), compared(1.5)];
    let report = session(&path, LONG, false, no_table(), &answers);
    assert_eq!(
        (best(&report), &report.tuned[0].no_winner),
        (&values(2), &None)
    );
    let answers = [racing(1, 1.0), tried(2, 1.5), tried(3, 0.5), compared(0.75)];
    let report = session(&path, LONG, false, no_table(), &answers);
    assert_eq!(best(&report), &values(3));
    assert_eq!(table::entries(&job(), &report)[0].values["W"], 3);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_gain_within_the_noise_is_none() {
    let path = results("noise");
    let no_table = VariantTable::default;
    for (ratio, noise, wins) in [(0.9, 0.01, true), (0.985, 0.001, false), (0.9, 0.2, false)] {
        let mut last = compared(ratio);
        if let Reply::Compared { noise: of, .. } = &mut last {
            (of.low, of.high) = (1.0 - noise, 1.0 + noise);
        }
        let answers = [tried(1, 1.0), tried(2, 0.5), tried(3, 3.0), last];
        let report = session(&path, LONG, false, no_table(), &answers);
        assert_eq!(best(&report) == &values(2), wins, "{ratio} {noise}");
    }
    // Where a launch costs more than the kernel, no choice is better.
    let mut first = tried(1, 1.0);
    if let Reply::Tried(outcome) = &mut first {
        outcome.launch_seconds = 2.0;
    }
    let report = session(
        &path,
        LONG,
        false,
        no_table(),
        &[first, tried(2, 0.5), tried(3, 3.0)],
    );
    assert!(report.tuned[0].launch_bound);
    assert_eq!(best(&report), &values(1));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn of_equals_the_first_wins() {
    let path = results("equals");
    // 3 leads by little; 2 is as fast, and comes first whatever the order of the search.
    let answers = [
        tried(1, 1.0),
        tried(2, 0.52),
        tried(3, 0.97),
        compared(1.005),
        tried(2, 1.005),
        compared(0.52),
    ];
    let report = session(&path, LONG, false, VariantTable::default(), &answers);
    assert_eq!(best(&report), &values(2));
    // It is certainly slower.
    let answers = [
        tried(1, 1.0),
        tried(2, 0.52),
        tried(3, 0.97),
        compared(1.05),
        compared(0.5),
    ];
    let report = session(&path, LONG, false, VariantTable::default(), &answers);
    assert_eq!(best(&report), &values(3));
    std::fs::remove_file(path).unwrap();
}
