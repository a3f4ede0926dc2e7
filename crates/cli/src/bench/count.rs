//! `wgrad bench count`: counts operations and memory traffic of a training step's kernels on an emulated GPU. No GPU
//! is needed and nothing is timed, so the counts are the same in every run.

use anyhow::Result;
use wgrad_runtime::{Counts, DeviceOptions, KernelCounts};
use wgrad_tensor::ops::{attention, matmul};

use super::case::{Overrides, TrainCase};
use super::kernels::Dtype;
use super::models::Sizes;
use super::steps::Trainer;
use crate::args::AdapterArg;
use crate::emulate::EmulateArgs;

/// Count what kernels of a training step ask of a GPU: operations, sectors of memory, bank conflicts
#[derive(clap::Args, Clone)]
#[command(rename_all = "snake_case")]
pub struct CountArgs {
    #[command(flatten)]
    device: AdapterArg,
    #[command(flatten)]
    emulate: EmulateArgs,
    /// The model
    #[arg(long, default_value = "bert")]
    case: TrainCase,
    /// The type of activations; parameters stay f32
    #[arg(long, default_value = "f32")]
    dtype: Dtype,
    #[command(flatten)]
    overrides: Overrides,
    /// Lines of each kernel to show, those that waste most first
    #[arg(long, default_value_t = 0)]
    lines: usize,
}

/// Runs `wgrad bench count`.
pub fn run(args: CountArgs) -> Result<()> {
    TrainCase::check(&[args.case], &[args.dtype], args.overrides)?;
    // A step of a whole model would take hours here, and counts of one layer say the same.
    let change = Overrides {
        batch: args.overrides.batch.or(Some(1)),
        seq: args.overrides.seq.or(Some(64)),
        layers: args.overrides.layers.or(Some(1)),
        vocab: args.overrides.vocab.or(Some(512)),
    };
    let sizes = Sizes {
        dtype: args.dtype.into(),
        ..args.case.sizes(change)?
    };
    let device = args.device.open(DeviceOptions {
        emulated: Some(args.emulate.some_gpu(true)?),
        ..Default::default()
    })?;
    println!(
        "{}, one step of {}",
        device.adapter().name,
        args.case.row(&sizes)
    );
    let model = args.case.build(&device, sizes)?;
    // Run the self-tests of matrix units first, so that they are not counted.
    let _ = (
        matmul::cooperative_self_test(&device),
        attention::cooperative_self_test(&device),
    );
    device.take_counts()?;
    Trainer::new(&device, &model, sizes.dtype, |_| true)?.many(1)?;
    let mut kernels: Vec<(String, KernelCounts)> = device.take_counts()?.into_iter().collect();
    kernels.sort_by_key(|(_, counted)| std::cmp::Reverse(cost(&counted.all)));
    println!(
        "{:<32} {:>8} {:>9} {:>9} {:>9} {:>8} {:>6} {:>9} {:>10} {:>10}",
        "kernel",
        "launches",
        "float M",
        "matrix M",
        "integer M",
        "MB",
        "used",
        "passes k",
        "conflicts",
        "op/pass"
    );
    for (name, counted) in &kernels {
        println!("{}", row(name, &counted.launches.to_string(), &counted.all));
        let mut lines: Vec<_> = counted.lines.iter().collect();
        lines.sort_by_key(|(_, counts)| std::cmp::Reverse(waste(counts)));
        for (line, counts) in lines
            .into_iter()
            .take(args.lines)
            .filter(|(_, c)| waste(c) > 0)
        {
            let line: String = line.chars().take(60).collect();
            println!("{}    {line}", row("", "", counts));
        }
    }
    println!(
        "used: of the 32-byte sectors that memory moves; passes: of workgroup memory, 128 bytes each at best; \
         conflicts: passes over the least"
    );
    Ok(())
}

/// A rough order: bytes that memory and workgroup memory move.
fn cost(counts: &Counts) -> u64 {
    counts.sector_bytes + 16 * counts.passes + counts.float_operations / 16
}

/// Bytes that are moved without being used.
fn waste(counts: &Counts) -> u64 {
    8 * (counts.sector_bytes - counts.bytes.min(counts.sector_bytes))
        + 128 * (counts.passes - counts.least_passes)
}

fn row(name: &str, launches: &str, counts: &Counts) -> String {
    let millions = |n: u64| format!("{:.2}", n as f64 / 1e6);
    let ratio = |a: u64, b: u64, digits: usize| match b {
        0 => "-".to_owned(),
        b => format!("{:.digits$}", a as f64 / b as f64),
    };
    let used = match counts.sector_bytes {
        0 => "-".to_owned(),
        all => format!("{:.0} %", 100.0 * counts.bytes as f64 / all as f64),
    };
    format!(
        "{name:<32} {launches:>8} {:>9} {:>9} {:>9} {:>8} {used:>6} {:>9.1} {:>10} {:>10}",
        millions(counts.float_operations),
        millions(counts.matrix_operations),
        millions(counts.integer_operations),
        millions(counts.sector_bytes),
        counts.passes as f64 / 1e3,
        ratio(counts.passes, counts.least_passes, 2),
        ratio(
            counts.float_operations + counts.matrix_operations,
            counts.passes,
            0
        ),
    )
}
