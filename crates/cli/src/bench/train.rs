//! `wgrad bench train`: the time of a training step, forward, backward and AdamW, the loss read back.

use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;
use wgrad_nn::optim::{Adam, Optimizer, ParamGroup};
use wgrad_runtime::{Device, DeviceOptions};
use wgrad_tensor::Generator;

use super::models::{Workload, bert, gpt, mlp};
use super::time::median;
use crate::args::AdapterArg;

/// Time training steps: forward, backward, AdamW, the loss read back
#[derive(clap::Args)]
#[command(rename_all = "snake_case")]
pub struct TrainArgs {
    #[command(flatten)]
    adapter: AdapterArg,
    /// The models; several by comma
    #[arg(long, value_delimiter = ',', default_value = "mlp,gpt,bert")]
    case: Vec<TrainCase>,
    /// Steps of each; the last two thirds are timed
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(3..))]
    steps: u32,
    /// Show the time of each kernel too (the step is slower while it is measured)
    #[arg(long)]
    kernels: bool,
}

/// A model to train.
#[derive(Clone, Copy, ValueEnum)]
pub enum TrainCase {
    /// MiniLM-L6-H384, 22.6M parameters, 16 x 64 tokens
    Bert,
    /// 4 layers of 128 channels, 0.8M parameters, 16 x 128 tokens
    Gpt,
    /// 784-512-512-10, 0.7M parameters, 128 rows
    Mlp,
}

impl TrainCase {
    /// The model on `device`.
    pub fn build(self, device: &Device) -> Result<Workload> {
        let g = Generator::new(device, 0)?;
        Ok(match self {
            TrainCase::Bert => bert(device, &g)?,
            TrainCase::Gpt => gpt(device, &g)?,
            TrainCase::Mlp => mlp(device, &g)?,
        })
    }

    fn name(self) -> &'static str {
        match self {
            TrainCase::Bert => "bert",
            TrainCase::Gpt => "gpt",
            TrainCase::Mlp => "mlp",
        }
    }
}

/// What some steps took.
pub struct Steps {
    /// Seconds of each step.
    pub seconds: Vec<f64>,
    /// The loss before each step.
    pub losses: Vec<f32>,
    /// Dispatches and submits of the last step.
    pub dispatches: u64,
    pub submits: u64,
    /// Trained numbers.
    pub parameters: usize,
}

impl Steps {
    /// Median and best of the steps behind the warm-up.
    pub fn steady(&self) -> (f64, f64) {
        let from = (self.seconds.len() / 3).max(2).min(self.seconds.len() - 1);
        let mut tail = self.seconds[from..].to_vec();
        (median(&mut tail), tail[0])
    }
}

/// Trains `model` for some steps with AdamW, as the comparison prescribes it.
pub fn steps(device: &Device, model: &Workload, n: usize) -> Result<Steps> {
    let parameters = model.parameters.clone();
    for (_, tensor) in &parameters {
        tensor.set_requires_grad(true)?;
    }
    let count = parameters.iter().map(|(_, tensor)| tensor.numel()).sum();
    let group = ParamGroup::new(parameters).weight_decay(0.01);
    let mut optimizer = Optimizer::adamw(Adam::default(), vec![group], 3e-4)?;
    let mut out = Steps {
        seconds: Vec::new(),
        losses: Vec::new(),
        dispatches: 0,
        submits: 0,
        parameters: count,
    };
    for _ in 0..n {
        let before = device.counters();
        let start = Instant::now();
        let loss = (model.loss)()?;
        let gradients = loss.backward()?;
        optimizer.step(&gradients, None)?;
        out.losses.push(loss.item()?);
        device.synchronize()?;
        out.seconds.push(start.elapsed().as_secs_f64());
        let after = device.counters();
        (out.dispatches, out.submits) = (after.0 - before.0, after.1 - before.1);
    }
    Ok(out)
}

/// Runs `wgrad bench train`.
pub fn run(args: TrainArgs) -> Result<()> {
    println!(
        "{:<6} {:>10} {:>9} {:>9} {:>9} {:>10} {:>10} {:>8} {:>9}  loss",
        "case",
        "parameters",
        "first s",
        "median s",
        "best s",
        "items/s",
        "dispatches",
        "submits",
        "peak MB"
    );
    for case in args.case {
        // A device of its own for each, so that the peak is its own.
        let device = args.adapter.open(DeviceOptions::default())?;
        let model = case.build(&device)?;
        let done = steps(&device, &model, args.steps as usize)?;
        let (middle, best) = done.steady();
        println!(
            "{:<6} {:>10} {:>9.3} {:>9.4} {:>9.4} {:>10.0} {:>10} {:>8} {:>9.1}  {:.4} to {:.4}",
            case.name(),
            done.parameters,
            done.seconds[0],
            middle,
            best,
            model.items as f64 / middle,
            done.dispatches,
            done.submits,
            device.memory().peak as f64 / 1e6,
            done.losses[0],
            done.losses[done.losses.len() - 1],
        );
        if args.kernels {
            kernels(&device, &model)?;
        }
        args.adapter.keep_pipelines(&device);
    }
    Ok(())
}

/// One more step, its device time by kernel, the longest first.
fn kernels(device: &Device, model: &Workload) -> Result<()> {
    device.start_profile()?;
    steps(device, model, 1)?;
    let mut rows: Vec<_> = device.stop_profile()?.into_iter().collect();
    rows.sort_by(|a, b| b.1.nanoseconds.total_cmp(&a.1.nanoseconds));
    let all: f64 = rows.iter().map(|(_, row)| row.nanoseconds).sum();
    for (name, row) in rows {
        println!(
            "       {name:<28} {:>5} launches {:>9.2} ms {:>5.1} %",
            row.launches,
            row.nanoseconds / 1e6,
            100.0 * row.nanoseconds / all
        );
    }
    Ok(())
}
