//! `wgrad doctor`: the op matrix on this adapter.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;
use wgrad_runtime::DeviceOptions;
use wgrad_tensor::cases::{self, Case, Dump, Outcome};
use wgrad_tensor::ops;

use crate::args::AdapterArg;
use crate::dump::Dumper;

/// Check every op on this adapter, values and gradients, against float64 references
#[derive(clap::Args)]
#[command(rename_all = "snake_case")]
pub struct DoctorArgs {
    #[command(flatten)]
    adapter: AdapterArg,
    /// Only the rows of this op
    #[arg(long)]
    op: Option<String>,
    /// Compile the kernels with bounds checks, loop bounds and zeroed workgroup memory
    #[arg(long)]
    checked: bool,
    /// Use no more than WebGPU's default limits, and no subgroups
    #[arg(long)]
    webgpu_limits: bool,
    /// Write what each row was given and computed to this folder, for tests/pytorch/compare_ops.py
    #[arg(long, value_name = "DIR")]
    dump: Option<PathBuf>,
    /// End with a line that is a JSON object with `passed`, `failed` and `skipped`
    #[arg(long)]
    json: bool,
}

/// The rows of one op and how they went.
struct Row {
    op: &'static str,
    cases: Vec<Case>,
    passed: usize,
    failed: usize,
    skipped: usize,
    /// The largest error over its tolerance.
    worst: f64,
    time: Duration,
}

/// Runs `wgrad doctor`. Errors if a row failed.
pub fn run(args: DoctorArgs) -> Result<()> {
    let mut rows = rows(args.op.as_deref())?;
    let device = args.adapter.open(DeviceOptions {
        checked: args.checked,
        webgpu_limits: args.webgpu_limits,
        guard: true,
        ..Default::default()
    })?;
    let mut dumper = args.dump.map(Dumper::new).transpose()?;
    let adapter = device.adapter().clone();
    println!("{} ({}, {})", adapter.name, adapter.backend, adapter.driver);
    println!(
        "{:<24} {:>5} {:>6} {:>6} {:>7} {:>12} {:>8}",
        "op", "rows", "passed", "failed", "skipped", "of tolerance", "seconds"
    );
    let mut failures = Vec::new();
    let mut reasons: Vec<(String, usize)> = Vec::new();
    for row in &mut rows {
        let start = Instant::now();
        for case in &row.cases {
            progress(&format!("{}: {}", row.op, case.name()));
            let mut dump = Dump::default();
            let outcome = cases::run(&device, case, dumper.is_some().then_some(&mut dump));
            if let Some(dumper) = &mut dumper {
                dumper.add(case, &dump)?;
            }
            match outcome {
                Outcome::Passed { worst } => {
                    row.passed += 1;
                    row.worst = row.worst.max(worst);
                }
                Outcome::Failed(text) => {
                    row.failed += 1;
                    failures.push(format!("{}: {text}", case.name()));
                }
                Outcome::Skipped(text) => {
                    row.skipped += 1;
                    match reasons.iter_mut().find(|(reason, _)| *reason == text) {
                        Some((_, n)) => *n += 1,
                        None => reasons.push((text, 1)),
                    }
                }
            }
        }
        row.time = start.elapsed();
        progress("");
        print_row(row);
    }
    args.adapter.keep_pipelines(&device);
    if let Some(dumper) = dumper {
        println!("{}", dumper.finish()?);
    }
    for (reason, n) in &reasons {
        println!("skipped {n}: {reason}");
    }
    for failure in &failures {
        println!("failed: {failure}");
    }
    let sum = |f: fn(&Row) -> usize| rows.iter().map(f).sum::<usize>();
    let (passed, failed, skipped) = (sum(|r| r.passed), sum(|r| r.failed), sum(|r| r.skipped));
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if args.json {
        let object = json!({
            "adapter": adapter.name,
            "driver": adapter.driver,
            "passed": passed,
            "failed": failed,
            "skipped": skipped,
        });
        println!("{object}");
    }
    if failed > 0 {
        bail!(
            "{failed} of {} rows failed on {}",
            passed + failed + skipped,
            adapter.name
        );
    }
    Ok(())
}

/// The op matrix by op, in its own order.
fn rows(only: Option<&str>) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    for case in ops::cases() {
        match rows.iter_mut().find(|row| row.op == case.op) {
            Some(row) => row.cases.push(case),
            None => rows.push(Row {
                op: case.op,
                cases: vec![case],
                passed: 0,
                failed: 0,
                skipped: 0,
                worst: 0.0,
                time: Duration::ZERO,
            }),
        }
    }
    if let Some(op) = only {
        let known: Vec<&str> = rows.iter().map(|row| row.op).collect();
        if !known.contains(&op) {
            bail!("there is no op `{op}`; there are {}", known.join(", "));
        }
        rows.retain(|row| row.op == op);
    }
    Ok(rows)
}

fn print_row(row: &Row) {
    println!(
        "{:<24} {:>5} {:>6} {:>6} {:>7} {:>11.1}% {:>8.1}{}",
        row.op,
        row.cases.len(),
        row.passed,
        row.failed,
        row.skipped,
        row.worst * 100.0,
        row.time.as_secs_f64(),
        if row.failed > 0 { "  FAILED" } else { "" }
    );
}

/// Shows what runs now on a terminal's last line; nothing where standard error is not a terminal.
fn progress(text: &str) {
    let mut error = std::io::stderr();
    if error.is_terminal() {
        let shown: String = text.chars().take(78).collect();
        let _ = write!(error, "\r\x1b[K{shown}");
        let _ = error.flush();
    }
}
