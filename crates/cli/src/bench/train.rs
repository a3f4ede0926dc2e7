//! `wgrad bench train`: the time of a training step, forward, backward and AdamW, the loss read back.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use wgrad_runtime::Device;
use wgrad_tensor::DType;
use wgrad_tune::bench::stats::{ENOUGH, median, paired_ratio};
use wgrad_tune::bench::{Bench, Row, Work};

use super::case::{Overrides, TrainCase};
use super::cpu::CpuTime;
use super::kernels::Dtype;
use super::models::{Sizes, Workload};
use super::output::OutputArgs;
use super::steps::Trainer;
use super::time::by_kernel;

/// Time training steps: forward, backward, AdamW, the loss read back
#[derive(clap::Args, Clone)]
#[command(rename_all = "snake_case")]
pub struct TrainArgs {
    #[command(flatten)]
    pub output: OutputArgs,
    /// The models; several by comma
    #[arg(long, value_delimiter = ',', default_value = "mlp,gpt,bert")]
    pub case: Vec<TrainCase>,
    /// The type of activations; parameters stay f32, and losses are scaled for f16; both by comma
    #[arg(long, value_delimiter = ',', default_value = "f32")]
    pub dtype: Vec<Dtype>,
    #[command(flatten)]
    pub overrides: Overrides,
    /// Steps of each at most; the last two thirds are timed, seven at least where --seconds ends it earlier
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(3..))]
    pub steps: u32,
    /// Show the time of each kernel too (that step is slower)
    #[arg(long)]
    pub kernels: bool,
    /// Time steps that train the head of bert only too, by turns with full ones, and print the ratio
    #[arg(long)]
    pub freeze: bool,
}

/// Turns of whole and frozen steps that warm up.
const FROZEN_WARM: usize = 2;

/// Runs `wgrad bench train`.
pub fn run(args: TrainArgs) -> Result<()> {
    TrainCase::check(&args.case, &args.dtype, args.overrides)?;
    ensure!(
        !args.output.cold(),
        "--cache cold: a step finds in the caches what the step before left there; leave it out"
    );
    ensure!(
        !args.kernels || args.output.text(),
        "--kernels prints text; leave out --json, --csv or --md"
    );
    let mut rows = Vec::new();
    for dtype in &args.dtype {
        for case in &args.case {
            let sizes = case.sizes(args.overrides)?;
            let dtype = (*dtype).into();
            rows.push((*case, Sizes { dtype, ..sizes }));
        }
    }
    if args.freeze && !args.case.contains(&TrainCase::Bert) {
        bail!("--freeze is for --case bert");
    }
    let mut run = args.output.start(false)?;
    for (case, sizes) in &rows {
        time(&mut run.bench, *case, sizes, &args)?;
    }
    run.finish()
}

/// Adds the rows of one model.
pub fn time(bench: &mut Bench, case: TrainCase, sizes: &Sizes, args: &TrainArgs) -> Result<()> {
    let name = case.row(sizes);
    let device = bench.device.clone();
    if sizes.dtype == DType::F16 && !device.has_f16() {
        bench.add(Row::skipped(&name, "the adapter has no shader-f16"));
        return Ok(());
    }
    // The peak is this model's own.
    device.trim()?;
    device.reset_peak();
    let measured = case.build(&device, *sizes).and_then(|model| {
        let row = full(bench, &model, case, sizes, args)?;
        let kernels = match args.kernels {
            true => kernels(&device, &model, sizes.dtype)?,
            false => String::new(),
        };
        Ok((row, kernels))
    });
    match measured {
        Ok((row, kernels)) => {
            bench.add(row);
            print!("{kernels}");
        }
        Err(error) => return bench.skip(&name, &error),
    }
    if args.freeze && case == TrainCase::Bert {
        let name = format!("{name}, head.* trained only");
        match frozen(bench, &name, case, sizes, args) {
            Ok(row) => bench.add(row),
            Err(error) => bench.skip(&name, &error)?,
        }
    }
    Ok(())
}

fn full(
    bench: &mut Bench,
    model: &Workload,
    case: TrainCase,
    sizes: &Sizes,
    args: &TrainArgs,
) -> Result<Row> {
    let device = &bench.device.clone();
    let mut trainer = Trainer::new(device, model, sizes.dtype, |_| true)?;
    let budget = args.output.seconds().unwrap_or(f64::INFINITY);
    let mut temperature = || bench.meter.long_temperature();
    let done = trainer.timed(args.steps as usize, budget, &mut temperature)?;
    let work = case.work(sizes);
    let tail = done.seconds[done.warm..].to_vec();
    let mut measured = bench
        .meter
        .by_clock(vec![(done.seconds[0], tail)], &done.temperatures);
    let measurement = measured.pop().context("no step was timed")?;
    let step = measurement.time.median;
    let mut row = Row::measured(case.row(sizes), work, measurement);
    let megabytes = 1e-6;
    for (name, value) in [
        ("parameters M", done.parameters as f64 * 1e-6),
        ("items/s", model.items as f64 / step),
        ("first step s", done.seconds[0]),
        ("dispatches", done.dispatches as f64),
        ("submits", done.submits as f64),
        ("bytes moved MB", done.moved as f64 * megabytes),
        ("bytes least MB", work.bytes * megabytes),
        ("bytes moved/least", done.moved as f64 / work.bytes),
        (
            "bytes moved/least without copies to textures",
            (done.moved - done.to_textures) as f64 / work.bytes,
        ),
        ("memory peak MB", device.memory().peak as f64 * megabytes),
        ("loss first", f64::from(done.losses[0])),
        (
            "loss last",
            done.losses.last().map_or(f64::NAN, |loss| f64::from(*loss)),
        ),
    ] {
        row = row.figure(name, value);
    }
    if done.cpu.len() == done.seconds.len() {
        let middle = |part: fn(&CpuTime) -> f64| -> f64 {
            let timed = done.cpu.iter().skip(done.warm);
            median(&timed.map(part).collect::<Vec<_>>())
        };
        row = row
            .figure("cpu host thread ms", middle(|c| c.thread) * 1e3)
            .figure("cpu process ms", middle(|c| c.process) * 1e3);
    }
    let parts = (0..3)
        .map(|_| trainer.parts())
        .collect::<Result<Vec<_>>>()?;
    for (i, name) in ["forward", "backward", "optimizer"].iter().enumerate() {
        let seconds: Vec<f64> = parts.iter().map(|p| p[i]).collect();
        row = row.figure(&format!("part {name} ms"), median(&seconds) * 1e3);
    }
    Ok(row)
}

/// Steps of all parameters and steps of the head's by turns, on two models.
fn frozen(
    bench: &mut Bench,
    name: &str,
    case: TrainCase,
    sizes: &Sizes,
    args: &TrainArgs,
) -> Result<Row> {
    let device = bench.device.clone();
    let (all, head) = (case.build(&device, *sizes)?, case.build(&device, *sizes)?);
    let mut all = Trainer::new(&device, &all, sizes.dtype, |_| true)?;
    let mut head = Trainer::new(&device, &head, sizes.dtype, |name| {
        name.starts_with("head.")
    })?;
    let (n, budget) = (args.steps as usize, args.output.seconds());
    let mut turns = [Vec::new(), Vec::new()];
    let mut first = [0.0; 2];
    let mut temperatures = Vec::new();
    let mut start = Instant::now();
    for i in 0..n {
        let pair = [all.step()?.1, head.step()?.1];
        match i {
            0 => first = pair,
            _ if i < FROZEN_WARM.min(n - 1) => {}
            _ => (0..2).for_each(|at| turns[at].push(pair[at])),
        }
        if i + 1 >= FROZEN_WARM.min(n - 1) {
            if temperatures.is_empty() {
                start = Instant::now();
            }
            temperatures.push(bench.meter.long_temperature()?);
        }
        let over = budget.is_some_and(|budget| start.elapsed().as_secs_f64() > budget);
        if over && turns[0].len() >= ENOUGH {
            break;
        }
    }
    let [all, head] = turns;
    let timed = vec![(first[0], all), (first[1], head)];
    let mut both = bench.meter.by_clock(timed, &temperatures);
    let (Some(head), Some(all)) = (both.pop(), both.pop()) else {
        bail!("no step was timed");
    };
    let ratio = paired_ratio(&head.samples, &all.samples);
    // Forward is a third of the operations; the backward pass and the optimizer have next to nothing.
    let work = case.work(sizes);
    let work = Work {
        operations: work.operations / 3.0,
        bytes: 0.0,
        ..work
    };
    Ok(Row::measured(name, work, head)
        .figure("frozen/full", ratio.median)
        .figure("frozen/full high", ratio.high)
        .figure("frozen/full low", ratio.low))
}

/// One more step, its device time by kernel.
fn kernels(device: &Device, model: &Workload, dtype: DType) -> Result<String> {
    by_kernel(device, || {
        Trainer::new(device, model, dtype, |_| true)?.many(1)?;
        Ok(())
    })
}
