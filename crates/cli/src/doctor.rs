//! `wgrad doctor`: the op matrix on this adapter.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;
use wgrad_runtime::variants::VariantTable;
use wgrad_runtime::{Device, DeviceOptions};
use wgrad_tensor::cases::{self, Case, Dump, Outcome};
use wgrad_tensor::ops;
use wgrad_tensor::ops::tunable::{self, Tunable};

use crate::args::AdapterArg;
use crate::doctor_notes;
use crate::dump::Dumper;
use crate::emulate::EmulateArgs;

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
    /// Choose small kernels, as on an adapter whose driver compiles large ones slowly
    #[arg(long)]
    small_kernels: bool,
    /// Run the matrix in every mode (as it is, with checked shaders, with WebGPU's limits, with small kernels), then products, softmax and norms
    /// with every choice that a tuned table may hold
    #[arg(long, conflicts_with_all = ["checked", "webgpu_limits", "small_kernels", "dump"])]
    all_variants: bool,
    #[command(flatten)]
    emulate: EmulateArgs,
    /// Write the inputs and results of each row to this folder, for tests/pytorch/compare_ops.py
    #[arg(long, value_name = "DIR")]
    dump: Option<PathBuf>,
    /// End with a line that is a JSON object with `passed`, `failed` and `skipped`
    #[arg(long)]
    json: bool,
}

/// The rows of one op and how they went.
struct Row {
    op: &'static str,
    cases: usize,
    passed: usize,
    failed: usize,
    skipped: usize,
    /// The largest error over its tolerance.
    worst: f64,
    time: Duration,
}

/// One way to run the matrix.
struct Pass {
    title: String,
    options: DeviceOptions,
    /// A tuned choice that holds for all shapes, and then only the ops that it touches.
    forced: Option<&'static Tunable>,
}

/// The counts of all rows.
#[derive(Default)]
struct Totals {
    passed: usize,
    failed: usize,
    skipped: usize,
    failures: Vec<String>,
    /// Why rows were skipped, and how many.
    reasons: Vec<(String, usize)>,
}

/// Runs `wgrad doctor`. Errors if a row failed.
pub fn run(args: DoctorArgs) -> Result<()> {
    let all = rows(args.op.as_deref())?;
    let mut dumper = args.dump.map(Dumper::new).transpose()?;
    let mut totals = Totals::default();
    let mut adapter = None;
    let (mut special, mut compiling, mut slowest) = (Vec::new(), 0.0, 0.0_f64);
    let emulated = args.emulate.gpu(false)?;
    let shape = DeviceOptions {
        checked: args.checked,
        webgpu_limits: args.webgpu_limits,
        small_kernels: args.small_kernels,
        guard: true,
        // The emulator compiles nothing.
        time_compilation: emulated.is_none(),
        emulated,
        ..Default::default()
    };
    for pass in passes(args.all_variants, &shape) {
        let chosen: Vec<&(&str, Vec<Case>)> = all
            .iter()
            .filter(|(op, _)| pass.forced.is_none_or(|forced| forced.ops.contains(op)))
            .collect();
        if chosen.is_empty() {
            continue;
        }
        let device = open(&args.adapter, &pass)?;
        let description = device.adapter().clone();
        if adapter.is_none() {
            special = doctor_notes::print_adapter(&device)?;
        }
        if args.all_variants {
            println!("\n{}", pass.title);
        }
        println!(
            "{:<24} {:>5} {:>6} {:>6} {:>7} {:>12} {:>8}",
            "op", "rows", "passed", "failed", "skipped", "of tolerance", "seconds"
        );
        for (op, cases) in chosen {
            let row = check(&device, op, cases, &mut dumper, &pass, &mut totals)?;
            print_row(&row);
        }
        let (sum, largest) = doctor_notes::print_compile_times(&device);
        compiling += sum;
        slowest = slowest.max(largest);
        args.adapter.keep_pipelines(&device);
        adapter = Some(description);
    }
    if let Some(dumper) = dumper {
        println!("{}", dumper.finish()?);
    }
    for (reason, n) in &totals.reasons {
        println!("skipped {n}: {reason}");
    }
    for failure in &totals.failures {
        println!("failed: {failure}");
    }
    let Totals {
        passed,
        failed,
        skipped,
        ..
    } = totals;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    let (name, driver) = adapter.map_or_else(Default::default, |a| (a.name, a.driver));
    if args.json {
        let object = json!({
            "adapter": name,
            "driver": driver,
            "passed": passed,
            "failed": failed,
            "skipped": skipped,
            "compile_seconds": compiling,
            "slowest_compile_seconds": slowest,
            "special_values": doctor_notes::as_json(&special),
        });
        println!("{object}");
    }
    if failed > 0 {
        let all = passed + failed + skipped;
        bail!("{failed} of {all} rows failed on {name}");
    }
    Ok(())
}

fn passes(all: bool, shape: &DeviceOptions) -> Vec<Pass> {
    let pass = |title: &str, checked, webgpu_limits| Pass {
        title: title.to_owned(),
        options: DeviceOptions {
            checked,
            webgpu_limits,
            ..shape.clone()
        },
        forced: None,
    };
    if !all {
        return vec![pass("", shape.checked, shape.webgpu_limits)];
    }
    let mut list = vec![
        pass(
            "trusted shaders, guard bytes behind every buffer",
            false,
            false,
        ),
        pass("checked shaders", true, false),
        pass("WebGPU's default limits, no subgroups", false, true),
    ];
    let mut small = pass("small kernels", false, false);
    small.options.small_kernels = true;
    list.push(small);
    for choice in tunable::all() {
        let values = choice.values.iter().map(|(n, v)| format!(" {n} {v}"));
        let title = format!("{} by table:{}", choice.file, values.collect::<String>());
        let mut forced = pass(&title, false, false);
        forced.forced = Some(choice);
        list.push(forced);
    }
    list
}

fn open(adapter: &AdapterArg, pass: &Pass) -> Result<Device> {
    let Some(choice) = pass.forced else {
        return adapter.open(pass.options.clone());
    };
    let description = adapter.open(pass.options.clone())?.adapter().clone();
    let mut variants = VariantTable::default();
    for kernel in choice.kernels {
        let always = VariantTable::always(&description, kernel, choice.file, choice.values);
        variants.extend(always);
    }
    adapter.open_with(DeviceOptions {
        variants,
        ..pass.options.clone()
    })
}

/// Runs the cases of one op.
fn check(
    device: &Device,
    op: &'static str,
    cases: &[Case],
    dumper: &mut Option<Dumper>,
    pass: &Pass,
    totals: &mut Totals,
) -> Result<Row> {
    let start = Instant::now();
    let mut row = Row {
        op,
        cases: cases.len(),
        passed: 0,
        failed: 0,
        skipped: 0,
        worst: 0.0,
        time: Duration::ZERO,
    };
    for case in cases {
        progress(&format!("{op}: {}", case.name()));
        let mut dump = Dump::default();
        let outcome = cases::run(device, case, dumper.is_some().then_some(&mut dump));
        if let Some(dumper) = dumper {
            dumper.add(case, &dump)?;
        }
        match outcome {
            Outcome::Passed { worst } => {
                row.passed += 1;
                row.worst = row.worst.max(worst);
            }
            Outcome::Failed(text) => {
                row.failed += 1;
                let text = match pass.title.as_str() {
                    "" => format!("{}: {text}", case.name()),
                    title => format!("{} ({title}): {text}", case.name()),
                };
                totals.failures.push(text);
            }
            Outcome::Skipped(text) => {
                row.skipped += 1;
                match totals
                    .reasons
                    .iter_mut()
                    .find(|(reason, _)| *reason == text)
                {
                    Some((_, n)) => *n += 1,
                    None => totals.reasons.push((text, 1)),
                }
            }
        }
    }
    totals.passed += row.passed;
    totals.failed += row.failed;
    totals.skipped += row.skipped;
    row.time = start.elapsed();
    progress("");
    Ok(row)
}

/// The op matrix by op, in its own order.
fn rows(only: Option<&str>) -> Result<Vec<(&'static str, Vec<Case>)>> {
    let mut rows: Vec<(&'static str, Vec<Case>)> = Vec::new();
    for case in ops::cases() {
        match rows.iter_mut().find(|(op, _)| *op == case.op) {
            Some((_, cases)) => cases.push(case),
            None => rows.push((case.op, vec![case])),
        }
    }
    if let Some(op) = only {
        let known: Vec<&str> = rows.iter().map(|(op, _)| *op).collect();
        if !known.contains(&op) {
            bail!("there is no op `{op}`; there are {}", known.join(", "));
        }
        rows.retain(|(known, _)| *known == op);
    }
    Ok(rows)
}

fn print_row(row: &Row) {
    println!(
        "{:<24} {:>5} {:>6} {:>6} {:>7} {:>11.1}% {:>8.1}{}",
        row.op,
        row.cases,
        row.passed,
        row.failed,
        row.skipped,
        row.worst * 100.0,
        row.time.as_secs_f64(),
        if row.failed > 0 { "  FAILED" } else { "" }
    );
}

/// Shows the running op on a terminal's last line; does nothing if standard error is not a terminal.
fn progress(text: &str) {
    let mut error = std::io::stderr();
    if error.is_terminal() {
        let shown: String = text.chars().take(78).collect();
        let _ = write!(error, "\r\x1b[K{shown}");
        let _ = error.flush();
    }
}
