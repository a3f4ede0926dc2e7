//! `wgrad bench`: formats, results kept and compared, and one line for a mistake.

use serde_json::Value;

use crate::support::{Workplace, refuse, succeed, wgrad};

/// A tiny product, a few hundredths of a second.
const TINY: [&str; 10] = [
    "bench",
    "matmul",
    "--m",
    "64",
    "--n",
    "64",
    "--k",
    "64,128",
    "--seconds",
    "0.05",
];

#[test]
fn results_are_kept_and_compared() {
    let place = Workplace::new();
    let folder = place.path("results").display().to_string();
    let page = place.path("page.html").display().to_string();
    let save = ["--results", &folder, "--save", "first", "--json"];
    let text = succeed(wgrad(&TINY).args(save));
    let printed: Value = serde_json::from_str(&text).unwrap();
    let rows = printed["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{text}");
    for row in rows {
        let number = |name: &str| row[name].as_f64().unwrap();
        assert!(
            row["name"]
                .as_str()
                .unwrap()
                .starts_with("matmul f32 nn 64x")
        );
        assert!(0.0 < number("low") && number("low") <= number("median"));
        assert!(number("median") <= number("high") && number("gflops") > 0.0);
        assert!(number("gbps") > 0.0 && number("roofline") > 0.0);
    }
    assert!(printed["roof"]["copy_gbps"].as_f64().unwrap() > 0.0);
    assert!(!printed["driver"].as_str().unwrap().is_empty());
    assert_eq!(place.json("results/first.json"), printed);

    let compare = ["--results", &folder, "--compare", "first", "--csv"];
    let output = wgrad(&TINY)
        .args(compare)
        .args(["--report", &page])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    for line in &lines[1..] {
        // Other programs may run meanwhile, so any verdict is allowed, but there must be one.
        let verdicts = ["SAME", "FASTER", "SLOWER", "UNCLEAR"];
        let verdict = line.split(',').nth_back(2).unwrap();
        assert!(verdicts.contains(&verdict), "{line}");
    }
    let html = String::from_utf8(place.bytes("page.html")).unwrap();
    assert!(html.contains("<svg") && html.contains("Against first"));
}

#[test]
fn measured_rows_are_saved_even_if_a_later_step_fails() {
    let place = Workplace::new();
    let folder = place.path("results").display().to_string();
    let page = place.path("lost.html").display().to_string();
    succeed(wgrad(&TINY).args(["--results", &folder, "--save", "warm", "--json"]));
    let mut other = wgrad(&["bench", "rows", "--op", "add", "--size", "8x8"]);
    other.args(["--seconds", "0.05", "--results", &folder]);
    let line = refuse(other.args(["--save", "lost", "--compare", "warm", "--report", &page]));
    assert!(line.contains("warm has none of these rows"), "{line}");
    assert_eq!(
        place.json("results/lost.json")["rows"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert!(!place.bytes("lost.html").is_empty());
    // An op that cannot be stretched, or is too large, does not stop the rows of other ops.
    let ops = [
        "bench",
        "ops",
        "--op",
        "softmax,embedding",
        "--size",
        "64x32,200000x200000",
    ];
    let save = ["--seconds", "0.05", "--results", &folder, "--save", "ops"];
    succeed(wgrad(&ops).args(save));
    let kept = place.json("results/ops.json");
    let rows = kept["rows"].as_array().unwrap();
    assert!(rows[0]["median"].is_number(), "{kept}");
    assert!(
        rows.iter().filter(|row| row["skipped"].is_string()).count() >= 3,
        "{kept}"
    );
}

#[test]
fn sizes_beyond_all_memory_are_refused() {
    let huge = "2147483648";
    for (args, what) in [
        (
            vec!["matmul", "--m", "200000", "--n", "1", "--k", "200000"],
            "too large",
        ),
        (
            vec!["matmul", "--m", huge, "--n", huge, "--k", huge],
            "too large",
        ),
        (vec!["attention", "--t", huge], "too large"),
        (vec!["decode", "--context", huge], "memory"),
        (vec!["train", "--case", "mlp", "--batch", huge], "too large"),
        (vec!["train", "--case", "bert", "--layers", huge], "memory"),
    ] {
        let line = refuse(wgrad(&["bench"]).args(&args));
        assert!(
            line.contains("no row could run") && line.contains(what),
            "{line}"
        );
    }
}

#[test]
fn rows_of_every_kind() {
    let text = succeed(&mut wgrad(&["bench", "ops", "--op", "rsqrt", "--md"]));
    assert!(
        text.lines().count() > 10 && text.contains("| --- |"),
        "{text}"
    );
    let sized = [
        "bench",
        "ops",
        "--op",
        "softmax",
        "--size",
        "64x32",
        "--seconds",
        "0.05",
    ];
    let text = succeed(&mut wgrad(&sized));
    assert!(text.contains("softmax(f32[64, 32]) "), "{text}");
    let attention = ["bench", "attention", "--t", "16", "--h", "2", "--d", "8"];
    let text = succeed(wgrad(&attention).args(["--causal", "--seconds", "0.05", "--json"]));
    let printed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(printed["rows"].as_array().unwrap().len(), 4, "{text}");
    let stack = [
        "bench",
        "decode",
        "--layers",
        "1",
        "--channels",
        "32",
        "--heads",
        "2",
    ];
    let more = [
        "--hidden",
        "64",
        "--vocab",
        "100",
        "--context",
        "8",
        "--seconds",
        "0.05",
    ];
    let text = succeed(wgrad(&stack).args(more));
    assert!(text.contains("tokens/s"), "{text}");
}

#[test]
fn training_rows_give_the_bytes_moved() {
    let small = [
        "bench",
        "train",
        "--case",
        "bert-mini",
        "--steps",
        "3",
        "--json",
    ];
    let sizes = [
        "--layers", "1", "--batch", "2", "--seq", "8", "--vocab", "50",
    ];
    let text = succeed(wgrad(&small).args(sizes).arg("--freeze"));
    let printed: Value = serde_json::from_str(&text).unwrap();
    let figures = &printed["rows"][0]["figures"];
    for name in [
        "dispatches",
        "submits",
        "bytes moved MB",
        "part backward ms",
    ] {
        assert!(figures[name].as_f64().unwrap() > 0.0, "{name}: {figures}");
    }
    // Sizes that differ from the model's own are in the name, and the reference kernel ran between steps.
    let row = &printed["rows"][0];
    assert_eq!(row["name"], "train bert 2x8, layers 1, vocab 50");
    assert!(row["reference"]["median"].as_f64().unwrap() > 0.0, "{row}");
    // The bytes moved cannot be fewer than the least bytes.
    assert!(
        figures["bytes moved/least"].as_f64().unwrap() >= 1.0,
        "{figures}"
    );
    let ratio = &printed["rows"][1]["figures"]["frozen/full"];
    assert!(ratio.as_f64().unwrap() > 0.0, "{text}");
}

#[test]
fn mistakes_are_one_line() {
    let place = Workplace::new();
    let folder = place.path("results").display().to_string();
    let line = refuse(wgrad(&TINY).args(["--results", &folder, "--compare", "none"]));
    assert!(
        line.contains("none.json") && line.contains("--save none"),
        "{line}"
    );
    let line = refuse(wgrad(&TINY).args(["--save", "a/b"]));
    assert!(line.contains("\"a/b\" cannot name a result"), "{line}");
    place.write("results/bad.json", "{}");
    let line = refuse(wgrad(&TINY).args(["--results", &folder, "--compare", "bad"]));
    assert!(line.contains("not a result"), "{line}");
    // A folder has the result's name.
    place.write("results/odd.json/x", "");
    let line = refuse(wgrad(&TINY).args(["--results", &folder, "--compare", "odd"]));
    assert!(
        line.contains("cannot be read") && line.contains("measure it again"),
        "{line}"
    );
    let line = refuse(wgrad(&TINY).args(["--report", "none/x.html"]));
    assert!(line.contains("--report none/x.html"), "{line}");
    for (args, answer) in [
        (
            &["train", "--kernels", "--json"][..],
            "--kernels prints text",
        ),
        (&["train", "--cache", "cold"], "--cache cold"),
        (
            &["train", "--case", "mlp", "--layers", "3"],
            "no --layers 3",
        ),
        (&["count", "--case", "mlp", "--dtype", "f16"], "f32 only"),
    ] {
        let line = refuse(wgrad(&["bench"]).args(args));
        assert!(line.contains(answer), "{line}");
    }
    let line = refuse(&mut wgrad(&["bench", "ops", "--op", "sofmax"]));
    assert!(line.contains("no op `sofmax`"), "{line}");
    let line = refuse(&mut wgrad(&[
        "bench",
        "decode",
        "--channels",
        "10",
        "--heads",
        "3",
    ]));
    assert!(line.contains("do not divide"), "{line}");
    let line = refuse(&mut wgrad(&[
        "bench", "train", "--case", "gpt", "--seq", "999",
    ]));
    assert!(line.contains("128 positions"), "{line}");
    for flags in [
        ["--m", "0"],
        ["--transpose", "nx"],
        ["--variant", "best"],
        ["--seconds", "0"],
    ] {
        let output = wgrad(&["bench", "matmul"]).args(flags).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(output.stdout.is_empty(), "{flags:?}");
    }
}

/// Counts depend on nothing but kernels and sizes, so they hold for every machine.
#[test]
fn operations_and_memory_traffic_are_counted() {
    let count = |case: &str, more: &[&str]| {
        let args = [
            "bench", "count", "--batch", "1", "--seq", "16", "--vocab", "32",
        ];
        succeed(wgrad(&args).args(["--case", case]).args(more))
    };
    let text = count("gpt", &["--dtype", "f16", "--lines", "1"]);
    assert!(text.starts_with("emulated GPU, subgroups of 32"), "{text}");
    let row = |kernel: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.starts_with(kernel));
        let words = line.unwrap_or_else(|| panic!("no {kernel} in {text}"));
        words.split_whitespace().map(str::to_owned).collect()
    };
    let products = row("matmul_cooperative ");
    let matrix: f64 = products[3].parse().unwrap();
    assert!(matrix > 10.0, "{products:?}");
    let attention = row("attention_cooperative ");
    assert_eq!(attention[1], "1", "{attention:?}");
    assert_eq!(count("gpt", &["--dtype", "f16", "--lines", "1"]), text);

    let text = count("gpt", &["--emulate", "64", "--matrix_side", "0"]);
    assert!(
        text.contains("matmul_tiled") && !text.contains("cooperative"),
        "{text}"
    );
    let line = refuse(wgrad(&["bench", "count"]).args(["--emulate", "7"]));
    assert!(line.contains("--emulate 7: a subgroup has"), "{line}");
}
