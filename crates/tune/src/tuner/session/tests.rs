//! Sessions whose workers are scripts: what is made of answers, whatever a device would say.

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

/// A right candidate with this time over the incumbent's.
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
    }
}

/// Seconds that no run takes, and none at all.
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

/// A path of its own, without a file.
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
fn what_is_not_surely_faster_gives_way_to_the_default() {
    for (last, wins) in [
        (Some(compared(0.8)), true),
        (Some(compared(0.995)), false),
        (Some(compared(1.2)), false),
        // The worker ends.
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
fn what_led_before_has_to_show_it_again() {
    let path = results("resume");
    let no_table = VariantTable::default;
    // An earlier run, ended by its budget, in which 3 led.
    session(
        &path,
        LONG,
        false,
        no_table(),
        &[tried(1, 1.0), tried(2, 0.9), tried(3, 0.5), compared(0.5)],
    );
    // It is wrong now; 2 is the next in line.
    let answers = [tried(1, 1.0), wrong(3), tried(2, 0.9), compared(0.9)];
    let report = session(&path, LONG, true, no_table(), &answers);
    assert_eq!(best(&report), &values(2));
    assert_eq!(report.outcomes.len(), 3, "each once");
    assert_eq!(report.counts[&Status::Correctness], 1);
    // What was wrong once is not tried again.
    let report = session(
        &path,
        LONG,
        true,
        no_table(),
        &[tried(1, 1.0), tried(2, 0.9), compared(0.9)],
    );
    assert_eq!(best(&report), &values(2));
    assert_eq!(report.tuned[0].tried, 3);
    // Without time the best of before is looked at all the same.
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
fn a_table_is_outdone_or_stays() {
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
    // Next to no time: it is tried, and stays.
    let report = session(
        &path,
        NONE,
        false,
        table(entry),
        &[tried(1, 1.0), tried(3, 0.5), compared(0.5)],
    );
    assert_eq!(table::entries(&job(), &report)[0].values["W"], 3);
    // It lost: the default is worth an entry.
    let report = session(
        &path,
        NONE,
        false,
        table(entry),
        &[tried(1, 1.0), tried(3, 1.5)],
    );
    assert_eq!(table::entries(&job(), &report)[0].values["W"], 1);
    // Of another text of the kernel, or not launchable: as none. A default that nothing was held against has no entry.
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
fn what_is_imported_has_to_show_it() {
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

#[test]
fn the_best_is_said_to_be_watched_if_it_was() {
    let path = results("watched");
    let unknown = Watched::Unknown("no time for n=1".into());
    let mut second = tried(2, 0.5);
    if let Reply::Tried(outcome) = &mut second {
        outcome.watched = unknown.clone();
        outcome.needs = Needs::default();
    }
    let answers = [tried(1, 1.0), second, tried(3, 3.0), compared(0.5)];
    let report = session(&path, LONG, false, VariantTable::default(), &answers);
    assert_eq!(report.watched, unknown);
    std::fs::remove_file(path).unwrap();
}
