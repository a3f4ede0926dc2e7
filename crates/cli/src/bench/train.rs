//! `wgrad bench train`: the time of a training step, forward, backward and AdamW, the loss read back.

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;
use wgrad_runtime::Device;
use wgrad_tensor::{DType, Generator};
use wgrad_tune::bench::stats::{median, paired_ratio};
use wgrad_tune::bench::{Bench, Measurement, Row, Work};

use super::cpu::CpuTime;
use super::kernels::{Dtype, side};
use super::least;
use super::models::{Sizes, Workload, bert, gpt, mlp};
use super::output::OutputArgs;
use super::steps::Trainer;

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
    /// Steps of each; the last two thirds are timed
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(3..))]
    pub steps: u32,
    /// Show the time of each kernel too (that step is slower)
    #[arg(long)]
    pub kernels: bool,
    /// Time steps that train the head of bert only too, by turns with full ones, and print the ratio
    #[arg(long)]
    pub freeze: bool,
}

/// Other sides than a model's own.
#[derive(clap::Args, Clone, Copy, Default)]
#[command(rename_all = "snake_case")]
pub struct Overrides {
    /// Texts or rows in a batch
    #[arg(long, value_parser = side)]
    pub batch: Option<usize>,
    /// Tokens of a text
    #[arg(long, value_parser = side)]
    pub seq: Option<usize>,
    /// Layers of a transformer
    #[arg(long, value_parser = side)]
    pub layers: Option<usize>,
    /// Rows of the table of tokens
    #[arg(long, value_parser = side)]
    pub vocab: Option<usize>,
}

/// A model to train.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum TrainCase {
    /// MiniLM-L6-H384, 22.6M parameters, 16 x 64 tokens
    #[value(alias = "bert-mini", alias = "minilm")]
    Bert,
    /// 4 layers of 128 channels, 0.8M parameters, 16 x 128 tokens
    Gpt,
    /// GPT-2 small, 124M parameters, 8 x 1024 tokens
    #[value(alias = "gpt2")]
    GptSmall,
    /// 784-512-512-10, 0.7M parameters, 128 rows
    Mlp,
}

impl TrainCase {
    /// Its sides, with the changes asked for. The network for digits has a batch only.
    pub fn sizes(self, change: Overrides) -> Result<Sizes> {
        let own = match self {
            TrainCase::Bert => Sizes::BERT,
            TrainCase::Gpt => Sizes::GPT,
            TrainCase::GptSmall => Sizes::GPT_SMALL,
            TrainCase::Mlp => Sizes {
                batch: 128,
                seq: 1,
                ..Sizes::GPT
            },
        };
        let sizes = Sizes {
            batch: change.batch.unwrap_or(own.batch),
            seq: change
                .seq
                .filter(|_| self != TrainCase::Mlp)
                .unwrap_or(own.seq),
            layers: change.layers.unwrap_or(own.layers),
            vocabulary: change.vocab.unwrap_or(own.vocabulary),
            ..own
        };
        ensure!(
            sizes.seq <= sizes.positions,
            "{} has {} positions: --seq {} is too long",
            self.name(),
            sizes.positions,
            sizes.seq
        );
        Ok(sizes)
    }

    /// The model on `device`.
    pub fn build(self, device: &Device, sizes: Sizes) -> Result<Workload> {
        let g = Generator::new(device, 0)?;
        Ok(match self {
            TrainCase::Bert => bert(device, sizes, &g)?,
            TrainCase::Gpt | TrainCase::GptSmall => gpt(device, sizes, &g)?,
            TrainCase::Mlp => mlp(device, sizes.batch, &g)?,
        })
    }

    fn work(self, sizes: &Sizes) -> Work {
        match self {
            TrainCase::Bert => least::bert(sizes),
            TrainCase::Gpt | TrainCase::GptSmall => least::gpt(sizes),
            TrainCase::Mlp => least::mlp(sizes.batch),
        }
    }

    fn name(self) -> &'static str {
        match self {
            TrainCase::Bert => "bert",
            TrainCase::Gpt => "gpt",
            TrainCase::GptSmall => "gpt-small",
            TrainCase::Mlp => "mlp",
        }
    }

    /// The row's name.
    pub fn row(self, sizes: &Sizes) -> String {
        match self {
            TrainCase::Mlp => format!("train mlp {}", sizes.batch),
            _ => {
                let dtype = match sizes.dtype {
                    DType::F32 => String::new(),
                    other => format!(" {other} mixed"),
                };
                format!("train {} {}x{}{dtype}", self.name(), sizes.batch, sizes.seq)
            }
        }
    }
}

/// Runs `wgrad bench train`.
pub fn run(args: TrainArgs) -> Result<()> {
    let mut rows = Vec::new();
    for dtype in &args.dtype {
        for case in &args.case {
            ensure!(
                *case != TrainCase::Mlp || *dtype == Dtype::F32,
                "mlp is in f32 only; --dtype f16 is for bert, gpt and gpt-small"
            );
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
    let n = args.steps as usize;
    let measured = case.build(&device, *sizes).and_then(|model| {
        let row = full(&device, &model, case, sizes, n)?;
        let kernels = match args.kernels && args.output.text() {
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
        Err(error) => {
            bench.check_alive(&error)?;
            bench.add(Row::skipped(&name, error.to_string()));
            return Ok(());
        }
    }
    if args.freeze && case == TrainCase::Bert {
        frozen(bench, case, sizes, n)?;
    }
    Ok(())
}

fn full(
    device: &Device,
    model: &Workload,
    case: TrainCase,
    sizes: &Sizes,
    n: usize,
) -> Result<Row> {
    let mut trainer = Trainer::new(device, model, sizes.dtype, |_| true)?;
    let done = trainer.many(n)?;
    let work = case.work(sizes);
    let tail = done.seconds[done.warm()..].to_vec();
    let step = median(&tail);
    let mut row = Row::measured(
        case.row(sizes),
        work,
        Measurement::by_clock(done.seconds[0], tail),
    );
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
        ("loss last", f64::from(done.losses[n - 1])),
    ] {
        row = row.figure(name, value);
    }
    if !done.cpu.is_empty() {
        let middle = |part: fn(&CpuTime) -> f64| -> f64 {
            median(&done.cpu.iter().map(part).collect::<Vec<_>>())
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
fn frozen(bench: &mut Bench, case: TrainCase, sizes: &Sizes, n: usize) -> Result<()> {
    let device = bench.device.clone();
    let (all, head) = (case.build(&device, *sizes)?, case.build(&device, *sizes)?);
    let mut all = Trainer::new(&device, &all, sizes.dtype, |_| true)?;
    let mut head = Trainer::new(&device, &head, sizes.dtype, |name| {
        name.starts_with("head.")
    })?;
    let mut seconds = [Vec::new(), Vec::new()];
    for _ in 0..n {
        seconds[0].push(all.step()?.1);
        seconds[1].push(head.step()?.1);
    }
    let warm = 2.min(n - 1);
    let ratio = paired_ratio(&seconds[1][warm..], &seconds[0][warm..]);
    let first = seconds[1][0];
    let measurement = Measurement::by_clock(first, seconds[1][warm..].to_vec());
    let name = format!("{}, head.* trained only", case.row(sizes));
    // Forward is a third of the operations; the backward pass and the optimizer have next to nothing.
    let work = Work::new(case.work(sizes).operations / 3.0, 0.0);
    bench.add(
        Row::measured(name, work, measurement)
            .figure("frozen/full", ratio.median)
            .figure("frozen/full high", ratio.high)
            .figure("frozen/full low", ratio.low),
    );
    Ok(())
}

/// One more step, its device time by kernel, the longest first.
fn kernels(device: &Device, model: &Workload, dtype: DType) -> Result<String> {
    device.start_profile()?;
    Trainer::new(device, model, dtype, |_| true)?.many(1)?;
    let mut rows: Vec<_> = device.stop_profile()?.into_iter().collect();
    rows.sort_by(|a, b| b.1.nanoseconds.total_cmp(&a.1.nanoseconds));
    let all: f64 = rows.iter().map(|(_, row)| row.nanoseconds).sum();
    let lines = rows.iter().map(|(name, row)| {
        format!(
            "       {name:<32} {:>5} launches {:>9.2} ms {:>5.1} % {:>9.1} MB\n",
            row.launches,
            row.nanoseconds / 1e6,
            100.0 * row.nanoseconds / all,
            row.bytes as f64 / 1e6
        )
    });
    Ok(lines.collect())
}
