//! `wgrad bench peer CASE [STEPS]`: one case of the comparison with other engines in a process of its
//! own. Prints one line of JSON.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use half::f16;
use serde_json::{Value, json};
use wgrad_runtime::{Device, DeviceOptions};
use wgrad_tensor::Tensor;

use super::case::{Overrides, TrainCase};
use super::kernels::Dtype;
use super::models::Lcg;
use super::steps::steps;
use super::time::{Budget, Timing, measure};
use crate::args::AdapterArg;

/// One case of the comparison with other engines, as a line of JSON
#[derive(clap::Args)]
pub struct PeerArgs {
    #[command(flatten)]
    adapter: AdapterArg,
    /// `matmul:f32:MxKxN`, `matmul:f16:MxKxN`, `softmax`, `layernorm`, `gelu`, `bert` or `gpt`
    case: String,
    /// Training steps: 15 for bert and 30 for gpt if not given
    steps: Option<usize>,
}

/// Runs `wgrad bench peer`.
pub fn run(args: PeerArgs) -> Result<()> {
    let device = args.adapter.open(DeviceOptions::default())?;
    let parts: Vec<&str> = args.case.split(':').collect();
    let mut line = match parts.as_slice() {
        ["matmul", dtype, sizes] => matmul(&device, dtype, sizes)?,
        [op @ ("softmax" | "layernorm" | "gelu")] => rows(&device, op)?,
        ["bert"] => train(&device, TrainCase::Bert, args.steps.unwrap_or(15))?,
        ["gpt"] => train(&device, TrainCase::Gpt, args.steps.unwrap_or(30))?,
        _ => bail!(
            "there is no case `{}`; there are matmul:f32:MxKxN, matmul:f16:MxKxN, softmax, layernorm, gelu, bert, gpt",
            args.case
        ),
    };
    args.adapter.keep_pipelines(&device);
    line["peer"] = json!("wgrad");
    line["case"] = json!(args.case);
    line["adapter"] = json!(device.adapter().name);
    line["rss_mb"] = json!(peak_rss_mb());
    println!("{line}");
    Ok(())
}

fn matmul(device: &Device, dtype: &str, sizes: &str) -> Result<Value> {
    let dtype = match dtype {
        "f32" => Dtype::F32,
        "f16" => Dtype::F16,
        _ => bail!("matmul: the type `{dtype}` is neither f32 nor f16"),
    };
    let sides: Vec<usize> = sizes
        .split('x')
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()
        .with_context(|| format!("matmul: `{sizes}` is not MxKxN"))?;
    let Ok([m, k, n]) = <[usize; 3]>::try_from(sides) else {
        bail!("matmul: `{sizes}` is not MxKxN");
    };
    let mut draw = Lcg::new(1);
    let mut tensor = |shape: &[usize]| {
        let values = draw.uniform(shape.iter().product());
        match dtype {
            Dtype::F32 => Tensor::from_slice(device, &values, shape),
            Dtype::F16 => {
                let values: Vec<f16> = values.into_iter().map(f16::from_f32).collect();
                Tensor::from_slice(device, &values, shape)
            }
        }
    };
    let (a, b) = (tensor(&[m, k])?, tensor(&[k, n])?);
    let time = measure(device, Budget::FULL, || {
        a.matmul(&b)?;
        Ok(())
    })?;
    let operations = 2.0 * m as f64 * k as f64 * n as f64;
    Ok(rate("gflops", operations / 1e9, time))
}

/// An op over the rows of f32 (4096, 1024).
fn rows(device: &Device, op: &str) -> Result<Value> {
    let (r, c) = (4096, 1024);
    let x = Tensor::from_slice(device, &Lcg::new(1).uniform(r * c), &[r, c])?;
    let weight = Tensor::from_slice(device, &vec![1.0f32; c], &[c])?;
    let bias = Tensor::from_slice(device, &vec![0.0f32; c], &[c])?;
    let time = measure(device, Budget::FULL, || {
        match op {
            "softmax" => x.softmax(-1)?,
            "layernorm" => x.layer_norm(Some(&weight), Some(&bias), 1e-5)?,
            _ => x.gelu()?,
        };
        Ok(())
    })?;
    // Counted as one read and one write, even if a kernel moves more.
    Ok(rate("gbps", (2 * 4 * r * c) as f64 / 1e9, time))
}

fn rate(unit: &str, amount: f64, time: Timing) -> Value {
    let mut line = json!({"first_s": time.first, "ms": time.median * 1e3});
    line[unit] = json!(amount / time.median);
    line[format!("{unit}_best")] = json!(amount / time.best);
    line
}

fn train(device: &Device, case: TrainCase, n: usize) -> Result<Value> {
    if n < 3 {
        bail!("{n} steps are too few; 3 are needed at least");
    }
    let start = Instant::now();
    let model = case.build(device, case.sizes(Overrides::default())?)?;
    device.synchronize()?;
    let init = start.elapsed().as_secs_f64();
    let done = steps(device, &model, n)?;
    let (middle, best) = done.steady();
    Ok(json!({
        "init_s": init,
        "first_s": done.seconds[0],
        "second_s": done.seconds[1],
        "step_s": middle,
        "step_best_s": best,
        "params": done.parameters,
        "loss0": done.losses[0],
        "loss_last": done.losses[n - 1],
        "steps": n,
        "dispatches": done.dispatches,
        "submits": done.submits,
        "device_peak_mb": (device.memory().peak as f64 / 1e6).round(),
    }))
}

/// The most memory that this process has held, if the system reports it.
fn peak_rss_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some((kilobytes + 512) / 1024)
}
