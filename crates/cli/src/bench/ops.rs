//! `wgrad bench matmul` and `wgrad bench ops`.

use anyhow::{Result, bail};
use clap::ValueEnum;
use half::f16;
use wgrad_runtime::{Device, DeviceOptions};
use wgrad_tensor::cases::{self, Expect};
use wgrad_tensor::{Tensor, no_grad};

use super::models::Lcg;
use super::time::{Budget, Timing, measure};
use crate::args::AdapterArg;

/// An element type to time.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Dtype {
    F32,
    F16,
}

/// Time matrix products of (m, k) and (k, n); several sizes by comma
#[derive(clap::Args)]
#[command(rename_all = "snake_case")]
pub struct MatmulArgs {
    #[command(flatten)]
    adapter: AdapterArg,
    #[arg(long, value_delimiter = ',', default_value = "512")]
    m: Vec<usize>,
    #[arg(long, value_delimiter = ',', default_value = "512")]
    n: Vec<usize>,
    #[arg(long, value_delimiter = ',', default_value = "512")]
    k: Vec<usize>,
    #[arg(long, value_delimiter = ',', default_value = "f32")]
    dtype: Vec<Dtype>,
}

/// Time every row of the op matrix: the op alone, and with its backward pass
#[derive(clap::Args)]
#[command(rename_all = "snake_case")]
pub struct OpsArgs {
    #[command(flatten)]
    adapter: AdapterArg,
    /// Only the rows of this op
    #[arg(long)]
    op: Option<String>,
}

/// Times (m, k) times (k, n) with values in -1..1.
pub fn time_matmul(
    device: &Device,
    [m, k, n]: [usize; 3],
    dtype: Dtype,
    budget: Budget,
) -> Result<Timing> {
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
    measure(device, budget, || {
        a.matmul(&b)?;
        Ok(())
    })
}

/// Runs `wgrad bench matmul`.
pub fn matmul(args: MatmulArgs) -> Result<()> {
    let device = args.adapter.open(DeviceOptions::default())?;
    println!(
        "{:<5} {:>6} {:>6} {:>6} {:>10} {:>10} {:>9} {:>9} {:>8}",
        "dtype", "m", "n", "k", "median ms", "best ms", "GFLOP/s", "best", "GB/s"
    );
    for dtype in args.dtype {
        let (name, size) = match dtype {
            Dtype::F32 => ("f32", 4.0),
            Dtype::F16 => ("f16", 2.0),
        };
        for &m in &args.m {
            for &n in &args.n {
                for &k in &args.k {
                    let time = time_matmul(&device, [m, k, n], dtype, Budget::FULL)?;
                    let operations = 2.0 * m as f64 * n as f64 * k as f64;
                    let bytes = size * (m * k + k * n + m * n) as f64;
                    println!(
                        "{name:<5} {m:>6} {n:>6} {k:>6} {:>10.3} {:>10.3} {:>9.1} {:>9.1} {:>8.2}",
                        time.median * 1e3,
                        time.best * 1e3,
                        operations / time.median / 1e9,
                        operations / time.best / 1e9,
                        bytes / time.median / 1e9
                    );
                }
            }
        }
    }
    args.adapter.keep_pipelines(&device);
    Ok(())
}

/// Runs `wgrad bench ops`.
pub fn run(args: OpsArgs) -> Result<()> {
    let mut rows = wgrad_tensor::ops::cases();
    if let Some(op) = &args.op {
        rows.retain(|case| case.op == op);
        if rows.is_empty() {
            bail!("there is no op `{op}`; `wgrad doctor` lists them");
        }
    }
    let device = args.adapter.open(DeviceOptions::default())?;
    println!(
        "{:>10} {:>9} {:>14}  row",
        "forward us", "GB/s", "with backward"
    );
    for case in rows {
        if !matches!(case.expect, Expect::Values(_)) {
            continue;
        }
        let inputs = cases::inputs(&device, &case)?;
        let y = (case.run)(&inputs)?;
        let tensors = inputs.iter().chain([&y]);
        let bytes: usize = tensors.map(|t| t.numel() * t.dtype().size()).sum();
        let forward = measure(&device, Budget::SHORT, || {
            no_grad(|| (case.run)(&inputs))?;
            Ok(())
        })?;
        let both = if y.requires_grad() {
            let dy = y.detach();
            let time = measure(&device, Budget::SHORT, || {
                (case.run)(&inputs)?.backward_with(&dy)?;
                Ok(())
            })?;
            format!("{:.1}", time.median * 1e6)
        } else {
            "-".to_owned()
        };
        println!(
            "{:>10.1} {:>9.3} {both:>14}  {}",
            forward.median * 1e6,
            bytes as f64 / forward.median / 1e9,
            case.name()
        );
    }
    args.adapter.keep_pipelines(&device);
    Ok(())
}
