//! `wgrad bench gpu-table`: everything a new adapter is judged by, in one run of less than ten minutes on
//! a GPU; with `--small` at sizes that a software adapter runs too.

use std::time::Instant;

use anyhow::Result;
use wgrad_tensor::DType;
use wgrad_tune::bench::attention::{self, Size};
use wgrad_tune::bench::matmul::{self, Product, Transposes};
use wgrad_tune::bench::{Bench, Row, ops, peak};

use super::decode::{self, StackArgs};
use super::kernels::Dtype;
use super::output::OutputArgs;
use super::train::{self, Overrides, TrainArgs, TrainCase};

/// Run all that a GPU is judged by: products, rows, attention, training and decoding
#[derive(clap::Args)]
#[command(rename_all = "snake_case")]
pub struct TableArgs {
    #[command(flatten)]
    output: OutputArgs,
    /// Small sizes, to see that everything runs: a minute or two on a software adapter
    #[arg(long)]
    small: bool,
    /// Start no row after this time
    #[arg(long, value_name = "MINUTES", default_value_t = 9.0)]
    minutes: f64,
}

/// Runs `wgrad bench gpu-table`.
pub fn run(args: TableArgs) -> Result<()> {
    let start = Instant::now();
    let mut run = args.output.start(args.small)?;
    type Part = fn(&mut Bench, &TableArgs) -> Result<()>;
    let parts: [(&str, Part); 6] = [
        ("peak", |bench, _| peak::run(bench)),
        ("matmul", products),
        ("rows", rows),
        ("attention", attend),
        ("train", training),
        ("decode", decoding),
    ];
    for (name, part) in parts {
        let minutes = start.elapsed().as_secs_f64() / 60.0;
        if minutes > args.minutes {
            let why = format!("{minutes:.1} minutes are over; `wgrad bench {name}` runs it");
            run.bench.add(Row::skipped(name, why));
            continue;
        }
        part(&mut run.bench, &args)?;
    }
    run.finish()
}

fn dtypes(bench: &mut Bench, what: &str) -> Vec<DType> {
    if bench.device.has_f16() {
        return vec![DType::F32, DType::F16];
    }
    bench.add(Row::skipped(
        format!("{what} f16"),
        "the adapter has no shader-f16",
    ));
    vec![DType::F32]
}

/// 4096 cubed, and the products of BERT's base size forward and backward on 4096 tokens.
fn products(bench: &mut Bench, args: &TableArgs) -> Result<()> {
    let (cube, tokens) = if args.small { (128, 64) } else { (4096, 4096) };
    let (c, f) = if args.small { (96, 384) } else { (768, 3072) };
    let mut products = Vec::new();
    for dtype in dtypes(bench, "matmul") {
        let product = |m, k, n, a, b| Product {
            transposes: Transposes { a, b },
            ..Product::new(m, k, n, dtype)
        };
        products.extend([
            product(cube, cube, cube, false, false),
            product(tokens, c, c, false, true),
            product(tokens, c, f, false, true),
            product(tokens, f, c, false, true),
            product(tokens, f, c, false, false),
            product(f, tokens, c, true, false),
        ]);
    }
    matmul::run(bench, &products)
}

/// 64 MiB of rows of 1024.
fn rows(bench: &mut Bench, args: &TableArgs) -> Result<()> {
    let shape = if args.small {
        [512, 256]
    } else {
        [16_384, 1024]
    };
    for op in ["softmax", "layer_norm", "rms_norm", "gelu", "add"] {
        let device = bench.device.clone();
        let case = ops::at_size(&device, wgrad_tensor::ops::cases(), op, &shape, DType::F32);
        match case {
            Ok(case) => ops::run(bench, &[case])?,
            Err(error) => {
                bench.check_alive(&error)?;
                bench.add(Row::skipped(op, error.to_string()));
            }
        }
    }
    Ok(())
}

fn attend(bench: &mut Bench, args: &TableArgs) -> Result<()> {
    let (b, t, h) = if args.small {
        (1, 64, 2)
    } else {
        (4, 2048, 12)
    };
    let mut sizes = Vec::new();
    for dtype in dtypes(bench, "attention") {
        for causal in [false, true] {
            let d = 64;
            sizes.push(Size {
                b,
                t,
                h,
                d,
                dtype,
                causal,
            });
        }
    }
    attention::run(bench, &sizes)
}

fn training(bench: &mut Bench, args: &TableArgs) -> Result<()> {
    let small = Overrides {
        batch: Some(2),
        seq: Some(16),
        layers: Some(1),
        vocab: Some(512),
    };
    let settings = TrainArgs {
        output: args.output.clone(),
        case: Vec::new(),
        overrides: match args.small {
            true => small,
            false => Overrides::default(),
        },
        steps: if args.small { 3 } else { 12 },
        kernels: false,
        freeze: false,
    };
    for case in [TrainCase::Mlp, TrainCase::Bert, TrainCase::GptSmall] {
        let sizes = case.sizes(settings.overrides)?;
        train::time(bench, case, &sizes, &settings)?;
    }
    bench.add(Row::skipped(
        "train gpt-small, f16 with f32 masters",
        "training steps are in f32 in this version",
    ));
    Ok(())
}

fn decoding(bench: &mut Bench, args: &TableArgs) -> Result<()> {
    let stack = match args.small {
        true => StackArgs {
            layers: 1,
            channels: 64,
            hidden: 128,
            heads: 2,
            vocab: 256,
            context: 16,
            dtype: Vec::new(),
        },
        false => StackArgs {
            layers: 22,
            channels: 2048,
            hidden: 5632,
            heads: 32,
            vocab: 32_000,
            context: 1024,
            dtype: Vec::new(),
        },
    };
    let dtype = dtypes(bench, "decode")
        .into_iter()
        .map(|dtype| match dtype {
            DType::F16 => Dtype::F16,
            _ => Dtype::F32,
        })
        .collect();
    decode::time(bench, &StackArgs { dtype, ..stack })
}
