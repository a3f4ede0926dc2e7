//! `wgrad tune`: the best parameters of a kernel, ours or anyone's.

mod output;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use wgrad_tune::tuner::job::Job;
use wgrad_tune::tuner::search::Strategy;
use wgrad_tune::tuner::session::{self, Options};
use wgrad_tune::tuner::worker::{WorkerCommand, serve};

use crate::args::AdapterArg;

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
    /// Seconds for all of it
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds)]
    budget: f64,
    /// Of the search and of the data
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Go on from what the results file holds
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
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
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
        return serve(std::io::stdin().lock(), std::io::stdout());
    }
    let name = args.kernel.as_deref().ok_or_else(|| {
        anyhow!("name a kernel: `wgrad tune my.wgsl --spec my.toml`; `wgrad tune --new NAME` writes such a pair")
    })?;
    let mut job = load(name, args.spec.as_deref())?;
    job.adapter = args.device.adapter.clone();
    job.checked = args.checked;
    job.seed = args.seed;
    let results = match &args.results {
        Some(path) => path.clone(),
        None => PathBuf::from(format!("{}.tune.jsonl", job.name)),
    };
    let options = Options {
        strategy: args.strategy,
        budget: args.budget,
        seed: args.seed,
        time_limit: args.time_limit,
        results: results.clone(),
        resume: args.resume,
    };
    let command = WorkerCommand {
        program: std::env::current_exe().context("this program cannot be found again")?,
        arguments: vec!["tune".into(), "--worker".into()],
    };
    let mut progress = output::Progress::new(&job.name);
    let report = session::run(&job, &command, &options, &mut |event| progress.show(&event));
    progress.clear();
    let report = report?;
    output::table(&report);
    println!("results: {}", results.display());
    Ok(())
}

fn load(name: &str, spec: Option<&Path>) -> Result<Job> {
    let path = Path::new(name);
    if path.extension().is_none_or(|e| e != "wgsl") {
        bail!("{name} is no .wgsl file");
    }
    let beside = path.with_extension("toml");
    let spec = spec.unwrap_or(&beside);
    Job::load(spec, Some(path))
}
