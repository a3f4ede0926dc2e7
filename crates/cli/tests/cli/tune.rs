//! `wgrad tune` on a small kernel whose candidates fail in every way there is.

use std::process::Command;

use serde_json::{Value, json};
use wgrad_runtime::variants::{Source, VariantTable, bucket};
use wgrad_runtime::{Device, DeviceOptions};

use crate::support::{Workplace, refuse, succeed, wgrad};

/// Sums of rows. MODE 0 is slow, 1 is fast, 2 is faster and skips what 64 leaves over, 3 does not compile,
/// 4 writes past the end.
const KERNEL: &str = "
const MODE: u32 = 0u;
const WIDTH: u32 = 64u;
struct Sizes { rows: u32, columns: u32 }
@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
const_assert MODE != 3u;

@compute @workgroup_size(WIDTH)
fn sum_rows(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.x;
    if (row >= sizes.rows) { return; }
    var end = sizes.columns;
    if (MODE == 2u) { end = end / 64u * 64u; }
    var total = 0.0;
    for (var c = 0u; c < end; c++) { total += x[row * sizes.columns + c]; }
    if (MODE == 0u) {
        // Three passes more, whose result cannot be foreseen.
        var most = 0.0;
        for (var c = 0u; c < 3u * end; c++) { most = max(most, abs(x[row * sizes.columns + c / 3u])); }
        total += select(0.0, 1.0, most > 1e30);
    }
    y[row] = total;
    if (MODE == 4u && row == 0u) { y[sizes.rows] = 1.0; }
}
";

/// SLOW launches so many workgroups that no time limit is long enough.
const SPEC: &str = r#"
kernel = "sums.wgsl"
workgroups = ["ceil_div(rows, WIDTH) + 65000 * SLOW", "1 + 30000 * SLOW"]
constraints = ["!SLOW || (MODE == 0 && WIDTH == 64)", "MODE < 2 || WIDTH == 64"]
rtol = 1e-5
atol = 1e-4
check = [{ rows = 1, columns = 1 }, { rows = 70, columns = 129 }]
time = [{ rows = 512, columns = 300 }]
[parameters]
MODE = [0, 1, 2, 3, 4]
WIDTH = [64, 8, 4096]
SLOW = [false, true]
[[buffers]]
name = "x"
dtype = "f32"
size = "rows * columns"
[[buffers]]
name = "y"
dtype = "f32"
size = "rows"
output = true
[reference]
builtin = "sum_rows"
shape = { rows = "rows", columns = "columns" }
"#;

fn place() -> Workplace {
    let place = Workplace::new();
    place.write("sums.wgsl", KERNEL);
    place.write("sums.toml", SPEC);
    place
}

/// `wgrad tune` in `place`, its cache folder there too.
fn tune(place: &Workplace, args: &[&str]) -> Command {
    let mut command = wgrad(&["tune"]);
    let table = place.path("table.jsonl");
    command.args(args).current_dir(place.path(""));
    command.arg("--table").arg(table);
    command
}

fn lines(place: &Workplace, name: &str) -> Vec<Value> {
    let text = String::from_utf8(place.bytes(name)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn the_fastest_correct_candidate_wins_and_every_failure_is_named() {
    let place = place();
    let common = [
        "sums.wgsl",
        "--strategy",
        "exhaustive",
        "--time_limit",
        "4",
        "--budget",
        "60",
    ];
    let fresh = || {
        for name in ["sums.tune.jsonl", "table.jsonl"] {
            let _ = std::fs::remove_file(place.path(name));
        }
        succeed(tune(&place, &common).args(["--export_t4", "t4.json", "--write", "tuned.wgsl"]))
    };
    let mut text = fresh();
    // On a busy machine the noise may hide even this gain; the default stays then.
    for _ in 0..4 {
        if place
            .bytes("tuned.wgsl")
            .starts_with(b"const SLOW: bool = false;\n\nconst MODE: u32 = 1;")
        {
            break;
        }
        text = fresh();
    }
    for part in [
        "MODE=1",
        "correctness",
        "sums.tune.jsonl",
        "table.jsonl",
        "next: ",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    let results = lines(&place, "sums.tune.jsonl");
    let status = |mode: u64, width: u64, slow: bool| -> String {
        let of = |o: &&Value| {
            let v = &o["values"];
            v["MODE"] == mode && v["WIDTH"] == width && v["SLOW"] == slow
        };
        let found = results
            .iter()
            .find(of)
            .unwrap_or_else(|| panic!("{mode} {width} {slow}"));
        found["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(status(0, 64, false), "correct");
    assert_eq!(status(1, 64, false), "correct");
    assert_eq!(status(1, 8, false), "correct");
    assert_eq!(status(2, 64, false), "correctness");
    assert_eq!(status(3, 64, false), "compile");
    assert_eq!(status(4, 64, false), "correctness");
    assert_eq!(status(1, 4096, false), "constraint");
    assert_eq!(status(0, 64, true), "timeout");

    let t4 = place.json("t4.json");
    let found = t4["results"].as_array().unwrap();
    assert_eq!(found.len(), results.len() - 1, "all but the head");
    assert!(
        found
            .iter()
            .any(|r| r["invalidity"] == "timeout" && r["correctness"] == 0)
    );

    let tuned = String::from_utf8(place.bytes("tuned.wgsl")).unwrap();
    assert!(tuned.contains("const MODE: u32 = 1;"), "{tuned}");

    let table = lines(&place, "table.jsonl");
    let [entry] = table.as_slice() else {
        panic!("{table:?}");
    };
    assert_eq!(entry["values"]["MODE"], 1);
    assert_eq!(entry["bucket"]["rows"], 512);

    // Everything is known now: nothing is tried again but the default and the best.
    let text =
        succeed(tune(&place, &common).args(["--import_t4", "t4.json", "--results", "t4.jsonl"]));
    assert!(
        text.contains(&format!("{} results appended", results.len() - 1)),
        "{text}"
    );
    assert!(text.contains("--results t4.jsonl"), "{text}");
    succeed(tune(&place, &common).args(["--export_t1", "t1.json"]));
    assert_eq!(
        place.json("t1.json")["KernelSpecification"]["ProblemSize"],
        json!([300, 512])
    );
    let again = succeed(tune(&place, &common).arg("--resume"));
    assert!(again.contains("MODE=1"), "{again}");
    let more = lines(&place, "sums.tune.jsonl").len() - results.len();
    // Two are as fast as each other: neither may lead clearly at first.
    assert!(
        (3..=5).contains(&more),
        "a head, the default, the best and its equal"
    );
}

/// Sums of pairs through workgroup memory. MODE 0 takes its time, 1 forgets the barrier, which the software adapter
/// forgives since neighbours run in step there, 2 does it well.
const PAIRS: &str = "
const MODE: u32 = 0u;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
var<workgroup> wg_x: array<f32, 64>;

@compute @workgroup_size(64)
fn pairs(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) i: u32) {
    let rounds = select(1u, 200u, MODE == 0u);
    var sum = 0.0;
    for (var r = 0u; r < rounds; r++) {
        wg_x[i] = x[id.x];
        if (MODE != 1u) { workgroupBarrier(); }
        sum = wg_x[i] + wg_x[i ^ 1u];
        if (MODE != 1u) { workgroupBarrier(); }
    }
    if (i % 2u == 0u) { y[id.x / 2u] = sum; }
}
";

/// A candidate that is right here by luck does not win: on an emulated GPU its race is seen.
#[test]
fn a_candidate_with_a_data_race_is_rejected_even_if_its_results_are_right() {
    let place = Workplace::new();
    place.write("pairs.wgsl", PAIRS);
    let spec = r#"
kernel = "pairs.wgsl"
workgroups = ["rows / 32"]
check = [{ rows = 32 }, { rows = 96 }]
time = [{ rows = 4096 }]
[parameters]
MODE = [0, 1, 2]
[[buffers]]
name = "x"
dtype = "f32"
size = "2 * rows"
[[buffers]]
name = "y"
dtype = "f32"
size = "rows"
output = true
[reference]
builtin = "sum_rows"
shape = { rows = "rows", columns = "2" }
"#;
    place.write("pairs.toml", spec);
    let args = ["pairs.wgsl", "--strategy", "exhaustive", "--budget", "20"];
    let text = succeed(&mut tune(&place, &args));
    for part in ["1 correctness", "race: invocation", "emulated: no race"] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    let best = text.lines().find(|line| line.starts_with("rows=4096"));
    assert!(best.is_some_and(|line| line.ends_with("MODE=2")), "{text}");

    // If the default itself has a race, a sound candidate wins over it, whatever its time.
    place.write("pairs.toml", spec.replace("[0, 1, 2]", "[1, 0]"));
    let text = succeed(&mut tune(&place, &args));
    assert!(
        text.contains("warning: the default breaks WGSL's rules and cannot win: race"),
        "{text}"
    );
    let best = text.lines().find(|line| line.starts_with("rows=4096"));
    assert!(best.is_some_and(|line| line.ends_with("MODE=0")), "{text}");

    // Without one nothing wins: no file, no entry, and not exit code 0.
    place.write("pairs.toml", spec.replace("[0, 1, 2]", "[1]"));
    let table = std::fs::read(place.path("table.jsonl")).ok();
    let line = refuse(tune(&place, &args).args(["--write", "tuned.wgsl"]));
    assert!(
        line.contains("no winner at rows=4096") && line.contains("race"),
        "{line}"
    );
    assert!(!place.path("tuned.wgsl").exists());
    assert_eq!(std::fs::read(place.path("table.jsonl")).ok(), table);
}

/// A table as after a longer run: softmax with one wide row a workgroup.
fn planted() -> String {
    let device = Device::open(DeviceOptions::default()).unwrap();
    let adapter = device.adapter();
    let always = VariantTable::always(
        adapter,
        "softmax",
        "softmax",
        &[("CACHE", 1), ("WIDTH", 256)],
    );
    let mut table = VariantTable::default();
    for (rows, length) in [(4096, 1024), (8192, 128)] {
        let mut entry = always.entries()[0].clone();
        entry.bucket = bucket(&[("rows", rows), ("length", length)]);
        table.insert(entry);
    }
    table.to_text()
}

/// One of wgrad's own kernels: the engine uses the tuned choice.
#[test]
fn the_engine_uses_the_tuned_choice() {
    let place = place();
    // A default that nothing was held against has no entry; against what a table says it is held in any case.
    let text = succeed(&mut tune(&place, &["softmax", "--budget", "0.1"]));
    assert!(
        text.contains("speed-up") && !text.contains("table:"),
        "{text}"
    );
    place.write("table.jsonl", planted());
    succeed(&mut tune(&place, &["softmax", "--budget", "0.1"]));
    let table = String::from_utf8(place.bytes("table.jsonl")).unwrap();
    assert_eq!(table.lines().count(), planted().lines().count());
    assert_ne!(table, planted(), "new times");
    let variants = VariantTable::parse(&table).unwrap();
    let entries = variants.entries().to_vec();
    assert!(entries.len() > 1, "{table}");
    let device = Device::open(DeviceOptions {
        variants,
        ..Default::default()
    })
    .unwrap();
    for entry in &entries {
        let sizes: Vec<(&str, u64)> = entry.bucket.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        let choice = device.variant("softmax", &sizes).unwrap();
        assert_eq!(choice.source, Source::Exact);
        assert_eq!(choice.values(), &entry.values);
        assert_eq!(choice.file(), Some(entry.files[0].as_str()));
        assert!(!entry.values.contains_key("KERNEL"), "{entry:?}");
    }
    let text = succeed(&mut tune(&place, &["--contribute"]));
    assert_eq!(text.lines().count(), 1 + entries.len(), "{text}");
}

#[test]
fn a_new_pair_works_and_is_not_overwritten() {
    let place = place();
    succeed(&mut tune(&place, &["--new", "add"]));
    let text = succeed(&mut tune(&place, &["add.wgsl", "--budget", "3"]));
    assert!(text.contains("speed-up"), "{text}");
    let line = refuse(&mut tune(&place, &["--new", "add"]));
    assert!(line.contains("add.toml exists already"), "{line}");
}

#[test]
fn mistakes_are_one_line() {
    let place = place();
    let fails = |args: &[&str]| refuse(&mut tune(&place, args));
    let with = |from: &str, to: &str| {
        assert!(SPEC.contains(from), "{from}");
        place.write("bad.toml", SPEC.replace(from, to));
        fails(&["sums.wgsl", "--spec", "bad.toml"])
    };
    for (line, part) in [
        (fails(&[]), "name a kernel"),
        (fails(&["none.wgsl"]), "has no spec"),
        (
            fails(&["none.wgsl", "--spec", "sums.toml"]),
            "none.wgsl cannot be read",
        ),
        (
            fails(&["sums.wgsl", "--spec", "none.toml"]),
            "none.toml cannot be read",
        ),
        (fails(&["nothing"]), "matmul"),
        (fails(&["--contribute"]), "none of wgrad's own kernels"),
        (fails(&["--import_t1", "sums.toml"]), "no T1 input"),
        (
            with("rtol = 1e-5", "tolerance = 1"),
            "bad.toml:5:1: unknown field `tolerance`",
        ),
        (
            with("dtype = \"f32\"", "dtype = \"f64\""),
            "unknown variant `f64`",
        ),
        (with("65000 * SLOW", "65000 *"), "column 32"),
        (
            with("65000 * SLOW", "0 / (rows - rows)"),
            "division by zero",
        ),
        (
            with("kernel = ", "entry = \"main\"\nkernel = "),
            "no entry point `main`; it has sum_rows",
        ),
        (with("name = \"x\"", "name = \"z\""), "the kernel binds `x`"),
        (
            with("MODE = [0, 1, 2, 3, 4]", "MODE = [3]"),
            "the default parameters fail (compile)",
        ),
        (
            with("MODE = [0, 1, 2, 3, 4]", "MODE = [2]"),
            "the default parameters fail (correctness)",
        ),
        (
            with("\"sum_rows\"", "\"fft\""),
            "no built-in reference `fft`",
        ),
    ] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
}
