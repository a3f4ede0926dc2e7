//! `wgrad tune`: finds the best parameters of a kernel, wgrad's or the user's.

mod files;
mod output;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use wgrad_runtime::variants::VariantTable;
use wgrad_tune::tuner::build::tuned_text;
use wgrad_tune::tuner::expr::Value;
use wgrad_tune::tuner::job::Job;
use wgrad_tune::tuner::search::Strategy;
use wgrad_tune::tuner::session::{self, Options, Report};
use wgrad_tune::tuner::spec::show;
use wgrad_tune::tuner::worker::{WorkerCommand, serve};
use wgrad_tune::tuner::{builtin, t4, table as tables};

use crate::args::{AdapterArg, cache_folder};

/// Find a WGSL kernel's best parameters on this adapter
#[derive(clap::Args)]
#[command(rename_all = "snake_case")]
pub struct TuneArgs {
    /// A WGSL file, or one of wgrad's own kernels by name
    kernel: Option<String>,
    /// The spec: a TOML file; else the kernel's name with .toml
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// How to search: exhaustive, random or anneal
    #[arg(long, default_value = "anneal", value_parser = strategy)]
    strategy: Strategy,
    /// Seconds for the whole run
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds)]
    budget: f64,
    /// Seed of the search and of the data
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Continue from the results file
    #[arg(long)]
    resume: bool,
    /// Every candidate is appended to this file as it ends; else NAME.tune.jsonl
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Seconds that one candidate may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    time_limit: f64,
    /// Compile with bounds checks, as WebGPU does by default
    #[arg(long)]
    checked: bool,
    /// Write the kernel with the best values put in
    #[arg(long, value_name = "FILE.wgsl")]
    write: Option<PathBuf>,
    /// Write all results in the T4 format of Kernel Tuner
    #[arg(long, value_name = "FILE.json")]
    export_t4: Option<PathBuf>,
    /// Append the results of this kernel in a T4 file of Kernel Tuner
    #[arg(long, value_name = "FILE.json", requires = "kernel")]
    import_t4: Option<PathBuf>,
    /// Write the spec as a T1 input of Kernel Tuner
    #[arg(long, value_name = "FILE.json", requires = "kernel")]
    export_t1: Option<PathBuf>,
    /// The user's table of tuned choices; else variants.jsonl in the cache folder
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Write an example kernel NAME.wgsl and its spec NAME.toml
    #[arg(long, value_name = "NAME", conflicts_with = "kernel")]
    new: Option<String>,
    /// Write a spec from a T1 input of Kernel Tuner
    #[arg(long, value_name = "FILE.json", conflicts_with = "kernel")]
    import_t1: Option<PathBuf>,
    /// Print this machine's tuned choices for wgrad's own kernels, to be sent to us
    #[arg(long, conflicts_with = "kernel")]
    contribute: bool,
    #[command(flatten)]
    device: AdapterArg,
    /// Serve a tuner on standard input and output
    #[arg(long, hide = true)]
    worker: bool,
}

fn strategy(word: &str) -> Result<Strategy, String> {
    match word {
        "exhaustive" => Ok(Strategy::Exhaustive),
        "random" => Ok(Strategy::Random),
        "anneal" => Ok(Strategy::Anneal),
        _ => Err("strategies are exhaustive, random and anneal".into()),
    }
}

fn seconds(word: &str) -> Result<f64, String> {
    match word.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1e6 => Ok(value),
        _ => Err("a number of seconds above 0 is needed".into()),
    }
}

/// Runs `wgrad tune`.
pub fn run(args: TuneArgs) -> Result<()> {
    if args.worker {
        return serve(requests(), std::io::stdout());
    }
    if let Some(name) = &args.new {
        return files::new_pair(name);
    }
    if let Some(path) = &args.import_t1 {
        return files::import_t1(path);
    }
    let table = args.table.clone().or_else(user_table);
    if args.contribute {
        return files::contribute(table.as_deref());
    }
    let Some(name) = args.kernel.as_deref() else {
        bail!(
            "name a kernel: a .wgsl file, or one of {}; `wgrad tune --new NAME` writes an example",
            builtin::names().join(", ")
        );
    };
    // Results of kernels compiled with checks do not carry over to kernels without.
    let table = table.filter(|_| !args.checked);
    let mut known = match &table {
        Some(path) => files::read_table(path)?,
        None => VariantTable::default(),
    };
    known.extend(VariantTable::shipped());
    let mut job = load(name, args.spec.as_deref())?;
    job.adapter = args.device.adapter.clone();
    job.checked = args.checked;
    job.seed = args.seed;
    if let Some(path) = &args.export_t1 {
        return files::export_t1(path, &job);
    }
    for name in job.unused(&job.spec()?) {
        println!(
            "warning: neither the kernel nor an expression names the parameter `{name}`: its values are all the same"
        );
    }
    let results = match &args.results {
        Some(path) => path.clone(),
        None => PathBuf::from(format!("{}.tune.jsonl", job.name)),
    };
    let command = WorkerCommand {
        program: std::env::current_exe().context("this program cannot be found again")?,
        arguments: vec!["tune".into(), "--worker".into()],
    };
    if let Some(path) = &args.import_t4 {
        let text = files::read(path)?;
        let (ours, others) = session::import_t4(&job, &command, &results, &text)
            .with_context(|| path.display().to_string())?;
        println!(
            "{ours} results appended to {}, {others} others passed over",
            results.display()
        );
        println!("next: wgrad tune {name}{} --resume", again(&args));
        return Ok(());
    }
    let options = Options {
        strategy: args.strategy,
        budget: args.budget,
        seed: args.seed,
        time_limit: args.time_limit,
        results: results.clone(),
        resume: args.resume,
        table: known,
    };
    let mut progress = output::Progress::new(&job.name);
    let report = session::run(&job, &command, &options, &mut |event| progress.show(&event));
    progress.clear();
    let report = report?;
    output::table(&report);
    println!("results: {}", results.display());
    if let Some(path) = &args.export_t4 {
        let text = serde_json::to_string_pretty(&t4::export(&report))?;
        files::write(path, &text)?;
        println!("T4: {}", path.display());
    }
    let first = report.tuned.first();
    if let Some(path) = args
        .write
        .as_ref()
        .filter(|_| first.is_some_and(|row| row.no_winner.is_none()))
    {
        files::write(path, &best_kernel(&job, &report)?)?;
        println!("kernel with the best values: {}", path.display());
    }
    let entries = tables::entries(&job, &report);
    if let Some(path) = table.filter(|_| !entries.is_empty()) {
        files::keep(&path, entries)?;
        println!("table: {}", path.display());
    }
    for row in &report.tuned {
        if let Some(why) = &row.no_winner {
            bail!(
                "no winner at {}: nothing is written or kept for it. Of the best candidate, {}: {why}",
                show(&row.sizes),
                show(&row.best.values)
            );
        }
    }
    println!("next: {}", next(name, &args, &job, &report));
    Ok(())
}

/// The user's table, which every command that opens a device reads.
pub fn user_table() -> Option<PathBuf> {
    Some(cache_folder()?.join("variants.jsonl"))
}

/// The kernel of the first timed size's best choice.
fn best_kernel(job: &Job, report: &Report) -> Result<String> {
    let spec = job.spec()?.on(&report.head.machine.facts)?;
    let first = report.tuned.first().context("nothing was tuned")?;
    let at = match first.best.values.get("KERNEL") {
        Some(Value::Int(i)) => usize::try_from(*i).unwrap_or(0),
        _ => 0,
    };
    let source = job.kernels.get(at).context("no such kernel file")?;
    tuned_text(&spec, source, &first.best.values, &first.sizes).map_err(|e| anyhow!(e))
}

/// The lines of standard input. The process ends when they end, even while a kernel runs: a worker must not outlive its
/// parent.
fn requests() -> impl Iterator<Item = std::io::Result<String>> {
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            if sender.send(line).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    lines.into_iter()
}

/// The parts of the command line that the next command needs again.
fn again(args: &TuneArgs) -> String {
    let mut text = String::new();
    let paths = [
        ("spec", &args.spec),
        ("results", &args.results),
        ("table", &args.table),
    ];
    for (option, path) in paths {
        if let Some(path) = path {
            text.push_str(&format!(" --{option} {}", path.display()));
        }
    }
    if let Some(adapter) = &args.device.adapter {
        text.push_str(&format!(" --adapter {adapter:?}"));
    }
    if args.seed != 0 {
        text.push_str(&format!(" --seed {}", args.seed));
    }
    if args.checked {
        text.push_str(" --checked");
    }
    text
}

/// One line on how to use the result.
fn next(name: &str, args: &TuneArgs, job: &Job, report: &Report) -> String {
    let again = again(args);
    let unfinished = report.tuned.iter().any(|row| !row.exhausted);
    let improved = report
        .tuned
        .iter()
        .any(|row| row.best.values != row.default);
    match (job.files.is_empty(), improved, unfinished) {
        (true, true, _) if args.write.is_none() => {
            format!(
                "wgrad tune {name}{again} --resume --budget 1 --write tuned.wgsl puts the best values in"
            )
        }
        (_, _, true) => {
            format!("wgrad tune {name}{again} --resume goes on with the choices not tried yet")
        }
        (false, true, _) => {
            "wgrad uses these choices from now on; wgrad tune --contribute prints them for us"
                .into()
        }
        (true, true, _) => "copy the kernel's constants into your program".into(),
        (_, false, false) => {
            "the default is the best of these choices; give the parameters more values".into()
        }
    }
}

fn load(name: &str, spec: Option<&Path>) -> Result<Job> {
    let path = Path::new(name);
    if path.extension().is_none_or(|e| e != "wgsl") {
        return builtin::job(name);
    }
    let beside = path.with_extension("toml");
    if spec.is_none() && !beside.exists() {
        bail!(
            "{name} has no spec: give one with --spec, or as {}; `wgrad tune --new NAME` shows how",
            beside.display()
        );
    }
    Job::load(spec.unwrap_or(&beside), Some(path))
}
