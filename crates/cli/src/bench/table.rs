//! `wgrad bench table`: the benchmarks for comparing adapters, in one run of less than ten minutes.

use std::time::Instant;

use anyhow::Result;
use wgrad_tensor::DType;
use wgrad_tensor::ops::matmul::MatmulVariant;
use wgrad_tune::bench::attention::{self, Size};
use wgrad_tune::bench::matmul::{self, Product, Transposes};
use wgrad_tune::bench::{Bench, Row, peak, rows};

use super::case::{Overrides, TrainCase};
use super::decode::{self, StackArgs};
use super::kernels::Dtype;
use super::models;
use super::output::OutputArgs;
use super::train::{self, TrainArgs};

/// Time everything needed to compare adapters: products, rows, attention, training and decoding
#[derive(clap::Args)]
#[command(rename_all = "snake_case")]
pub struct TableArgs {
    #[command(flatten)]
    output: OutputArgs,
    /// The sizes; else those of the kind of adapter
    #[arg(long)]
    sizes: Option<Sizes>,
    /// Short for --sizes small
    #[arg(long, conflicts_with = "sizes")]
    small: bool,
    /// Start no part after this time
    #[arg(long, value_name = "MINUTES", default_value_t = 9.0)]
    minutes: f64,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Sizes {
    /// Half a minute on any adapter: a check that every benchmark runs
    Small,
    /// For an adapter that is a program on the CPU
    Software,
    /// For a GPU
    Gpu,
}

/// What is timed.
struct Plan {
    /// (m, k, n) and how the operands lie.
    products: Vec<([usize; 3], &'static str)>,
    rows: [usize; 2],
    /// (B, T, H, D)
    attention: Vec<[usize; 4]>,
    train: Vec<(TrainCase, Overrides, DType)>,
    steps: u32,
    decode: StackArgs,
}

impl Plan {
    fn new(sizes: Sizes) -> Self {
        // The products of a layer of (tokens, channels, hidden): forward, and both gradients.
        let layer = |t, c, f| {
            [
                ([t, c, c], "nt"),
                ([t, c, f], "nt"),
                ([t, f, c], "nt"),
                ([t, f, c], "nn"),
                ([f, t, c], "tn"),
            ]
        };
        let cube = |n| [([n, n, n], "nn")];
        let stack = |layers, channels, hidden, heads, vocab, context| StackArgs {
            layers,
            channels,
            hidden,
            heads,
            vocab,
            context,
            dtype: Vec::new(),
        };
        let own = Overrides::default();
        let all = [TrainCase::Mlp, TrainCase::Gpt, TrainCase::Bert];
        let in_type = |cases: &[TrainCase], dtype| {
            let row = |case: &TrainCase| (*case, own, dtype);
            cases.iter().map(row).collect::<Vec<_>>()
        };
        match sizes {
            Sizes::Small => Plan {
                products: [cube(128).as_slice(), &layer(64, 96, 384)].concat(),
                rows: [512, 256],
                attention: vec![[1, 64, 2, 64]],
                train: [
                    (TrainCase::Mlp, DType::F32),
                    (TrainCase::Bert, DType::F32),
                    (TrainCase::GptSmall, DType::F32),
                    (TrainCase::Bert, DType::F16),
                    (TrainCase::GptSmall, DType::F16),
                ]
                .map(|(case, dtype)| {
                    let few = Overrides {
                        batch: Some(2),
                        seq: Some(16),
                        layers: Some(1),
                        vocab: Some(512),
                    };
                    (case, few, dtype)
                })
                .to_vec(),
                steps: 3,
                decode: stack(1, 64, 128, 2, 256, 16),
            },
            Sizes::Software => Plan {
                products: [
                    cube(512).as_slice(),
                    &cube(1024),
                    &[([1024, 384, 1536], "nn")],
                    &layer(1024, 384, 1536),
                ]
                .concat(),
                rows: [4096, 1024],
                attention: vec![[16, 64, 12, 32], [1, 512, 12, 64]],
                train: [
                    in_type(&all, DType::F32),
                    in_type(&[TrainCase::Gpt], DType::F16),
                ]
                .concat(),
                steps: 12,
                decode: stack(12, 768, 2048, 12, 32_000, 512),
            },
            Sizes::Gpu => Plan {
                products: [cube(4096).as_slice(), &layer(4096, 768, 3072)].concat(),
                rows: [16_384, 1024],
                attention: vec![[4, 2048, 12, 64]],
                train: [
                    in_type(&all, DType::F32),
                    in_type(&[TrainCase::GptSmall], DType::F32),
                    in_type(&[TrainCase::Bert, TrainCase::GptSmall], DType::F16),
                ]
                .concat(),
                steps: 12,
                decode: stack(22, 2048, 5632, 32, 32_000, 1024),
            },
        }
    }
}

/// Runs `wgrad bench table`.
pub fn run(args: TableArgs) -> Result<()> {
    let start = Instant::now();
    let small = args.small || args.sizes == Some(Sizes::Small);
    let mut run = args.output.start(small)?;
    let sizes = match (args.sizes, small, run.bench.device.adapter().is_software()) {
        (_, true, _) => Sizes::Small,
        (Some(sizes), ..) => sizes,
        (None, false, true) => Sizes::Software,
        (None, false, false) => Sizes::Gpu,
    };
    let plan = Plan::new(sizes);
    type Part = fn(&mut Bench, &Plan, &OutputArgs) -> Result<()>;
    let parts: [(&str, Part); 6] = [
        ("peak", |bench, _, _| peak::run(bench)),
        ("matmul", products),
        ("rows", memory),
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
        part(&mut run.bench, &plan, &args.output)?;
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

fn products(bench: &mut Bench, plan: &Plan, _: &OutputArgs) -> Result<()> {
    let dtypes = dtypes(bench, "matmul");
    let mut products = Vec::new();
    for dtype in dtypes {
        for ([m, k, n], layout) in &plan.products {
            let plain = Product::new(*m, *k, *n, dtype);
            products.push(Product {
                transposes: Transposes::parse(layout).unwrap_or(plain.transposes),
                ..plain
            });
        }
    }
    matmul::run(bench, &products)?;
    // The kernel that was chosen, against the plain one with workgroup memory.
    let ([m, k, n], _) = plan.products[0];
    let product = Product::new(m, k, n, DType::F32);
    let software = bench.device.adapter().is_software();
    let own = if software {
        MatmulVariant::Subgroup
    } else {
        MatmulVariant::Tiled
    };
    matmul::kernels(
        bench,
        product,
        &[MatmulVariant::Simple, own].map(Into::into),
    )?;
    if !bench.device.matrix_unit().is_some_and(|unit| unit.half) {
        return Ok(());
    }
    let half = Product::new(m, k, n, DType::F16);
    matmul::kernels(
        bench,
        half,
        &[own, MatmulVariant::Cooperative].map(Into::into),
    )
}

/// Kernels that memory bounds.
fn memory(bench: &mut Bench, plan: &Plan, _: &OutputArgs) -> Result<()> {
    for op in rows::OPS {
        rows::run(bench, op, plan.rows, DType::F32)?;
    }
    Ok(())
}

fn attend(bench: &mut Bench, plan: &Plan, _: &OutputArgs) -> Result<()> {
    let mut sizes = Vec::new();
    for dtype in dtypes(bench, "attention") {
        for [b, t, h, d] in plan.attention.iter().copied() {
            for causal in [false, true] {
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
    }
    attention::run(bench, &sizes)
}

fn training(bench: &mut Bench, plan: &Plan, output: &OutputArgs) -> Result<()> {
    if output.cold() {
        let why = "a step finds in the caches what the step before left there; --cache cold is not for it";
        bench.add(Row::skipped("train", why));
        return Ok(());
    }
    for (case, overrides, dtype) in &plan.train {
        let settings = TrainArgs {
            output: output.clone(),
            case: vec![*case],
            dtype: Vec::new(),
            overrides: *overrides,
            steps: plan.steps,
            kernels: false,
            freeze: false,
        };
        let sizes = case.sizes(*overrides)?;
        let dtype = *dtype;
        train::time(bench, *case, &models::Sizes { dtype, ..sizes }, &settings)?;
    }
    Ok(())
}

fn decoding(bench: &mut Bench, plan: &Plan, _: &OutputArgs) -> Result<()> {
    let dtype = dtypes(bench, "decode")
        .into_iter()
        .map(|dtype| match dtype {
            DType::F16 => Dtype::F16,
            _ => Dtype::F32,
        })
        .collect();
    let stack = StackArgs {
        dtype,
        ..plan.decode.clone()
    };
    decode::time(bench, &stack)
}
