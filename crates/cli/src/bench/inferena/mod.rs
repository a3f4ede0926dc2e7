//! `wgrad bench inferena CASE`: a case of the public benchmark inferena (github.com/kvark/inferena) on the model
//! that its PyTorch runner builds, one line of JSON a case.
//!
//! Weights are made from a seed, to the same bits as any program makes them (see [`weights`]), or read from a
//! file; so loss, gradient norm and outputs can be compared with PyTorch's.

mod smollm2;
mod weights;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde_json::json;
use wgrad_nn::{Module, load};
use wgrad_runtime::{Device, DeviceOptions};
use wgrad_tensor::{Gradients, Tensor, no_grad};

use super::time::{by_kernel, median};
use crate::args::AdapterArg;

/// Runs before the first one that is timed.
const WARM_UP: usize = 3;
/// Values of the output that a line holds.
const SAMPLES: usize = 64;

/// A case of the public benchmark inferena, as a line of JSON
#[derive(clap::Args)]
#[command(rename_all = "snake_case")]
pub struct InferenaArgs {
    #[command(flatten)]
    adapter: AdapterArg,
    /// The model and its input
    case: CaseName,
    /// Make the weights from this seed [default: 0]
    #[arg(long, value_name = "N", conflicts_with = "weights")]
    seed: Option<u64>,
    /// Read the weights from this safetensors file, under their names in `transformers`
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Timed runs of each part
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = super::kernels::side)]
    runs: usize,
    /// Print the device time of one more training step by kernel, on the standard error output
    #[arg(long)]
    kernels: bool,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// The cases that wgrad has the model for.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CaseName {
    /// SmolLM2-135M on 128 tokens
    #[value(name = "smollm2-135m")]
    SmolLm2,
}

/// A model with its input.
trait Case {
    /// The model, whose parameters have PyTorch's names.
    fn model(&self) -> &dyn Module;
    /// The output of a full forward pass.
    fn forward(&self) -> Result<Tensor>;
    /// The loss of that output, a tensor of one value.
    fn loss(&self) -> Result<Tensor>;
    /// The output for the smallest input.
    fn latency(&self) -> Result<Tensor>;
}

/// Milliseconds of each run.
struct Times(Vec<f64>);

impl Times {
    fn best(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn median(&self) -> f64 {
        median(&mut self.0.clone())
    }
}

/// Runs `wgrad bench inferena`.
pub fn run(args: InferenaArgs) -> Result<()> {
    let device = args.adapter.open(DeviceOptions::default())?;
    device.reset_peak();
    let start = Instant::now();
    let case: Box<dyn Case> = match args.case {
        CaseName::SmolLm2 => Box::new(smollm2::SmolLm2::new(&device)?),
    };
    let seed = match &args.weights {
        Some(file) => {
            let report = load(case.model(), file)?;
            ensure!(
                report.missing.is_empty(),
                "{}: it holds no {}",
                file.display(),
                report.missing.join(", no ")
            );
            None
        }
        None => {
            let seed = args.seed.unwrap_or(0);
            fill(case.as_ref(), seed)?;
            Some(seed)
        }
    };
    // The first pass compiles every pipeline.
    case.loss()?.backward()?;
    device.synchronize()?;
    let compile_s = start.elapsed().as_secs_f64();

    let wait = || device.synchronize();
    let inference = times(args.runs, || {
        let start = Instant::now();
        no_grad(|| case.forward())?;
        wait()?;
        Ok(start.elapsed())
    })?;
    let latency = times(args.runs, || {
        let start = Instant::now();
        no_grad(|| case.latency())?;
        wait()?;
        Ok(start.elapsed())
    })?;
    let training = times(args.runs, || {
        let start = Instant::now();
        case.loss()?.backward()?;
        wait()?;
        Ok(start.elapsed())
    })?;
    let backward = times(args.runs, || {
        let loss = case.loss()?;
        wait()?;
        let start = Instant::now();
        loss.backward()?;
        wait()?;
        Ok(start.elapsed())
    })?;
    let peak = device.memory().peak;
    args.adapter.keep_pipelines(&device);

    let output = no_grad(|| case.forward())?.to_vec::<f32>()?;
    let loss = case.loss()?;
    let gradients = loss.backward()?;
    let line = json!({
        "case": args.case.to_possible_value().map(|v| v.get_name().to_owned()),
        "seed": seed,
        "compile_s": compile_s,
        "inference_ms": inference.median(),
        "latency_ms": latency.median(),
        "training_ms": training.median(),
        "training_ms_best": training.best(),
        "backward_alone_ms": backward.median(),
        "loss": loss.item()?,
        "grad_norm": grad_norm(case.as_ref(), &gradients)?,
        "outputs": samples(&output),
        "peak_device_bytes": peak,
        "inference_ms_best": inference.best(),
        "latency_ms_best": latency.best(),
        "precision": "f32",
        "adapter": device.adapter().name,
        "launches": launches(&device, case.as_ref())?,
    });
    if args.kernels {
        let step = || {
            case.loss()?.backward()?;
            Ok(())
        };
        eprint!("{}", by_kernel(&device, step)?);
    }
    if args.json {
        println!("{line}");
    } else {
        println!("{line:#}");
    }
    Ok(())
}

/// Runs `run` a few times unheard, then `runs` times.
fn times(runs: usize, mut run: impl FnMut() -> Result<std::time::Duration>) -> Result<Times> {
    for _ in 0..WARM_UP {
        run()?;
    }
    let milliseconds = (0..runs).map(|_| Ok(run()?.as_secs_f64() * 1e3));
    Ok(Times(milliseconds.collect::<Result<_>>()?))
}

/// Gives each parameter the values that the seed and its name make.
fn fill(case: &dyn Case, seed: u64) -> Result<()> {
    for (name, tensor) in case.model().named_parameters() {
        let range = weights::range(&name, tensor.shape());
        tensor.copy_from_slice(&weights::seeded(&name, tensor.numel(), seed, range))?;
    }
    Ok(())
}

/// Launches of a training step.
fn launches(device: &Device, case: &dyn Case) -> Result<u64> {
    let before = device.counters().0;
    case.loss()?.backward()?;
    device.synchronize()?;
    Ok(device.counters().0 - before)
}

/// The global L2 norm of the gradients of all parameters, summed in float64.
fn grad_norm(case: &dyn Case, gradients: &Gradients) -> Result<f64> {
    let mut sum = 0.0;
    for (name, tensor) in case.model().named_parameters() {
        let gradient = gradients
            .get(&tensor)
            .with_context(|| format!("{name} has no gradient"))?;
        let squares = gradient.to_vec::<f32>()?;
        sum += squares.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
    }
    Ok(sum.sqrt())
}

/// Values at even distances, the same places for every program: floor((2 k + 1) n / (2 samples)).
fn samples(output: &[f32]) -> Vec<f32> {
    let at = |k: usize| (2 * k + 1) * output.len() / (2 * SAMPLES);
    (0..SAMPLES).map(|k| output[at(k)]).collect()
}
