//! `wgrad bench peak`, `ops`, `matmul` and `attention`.

use anyhow::{Result, anyhow, bail};
use clap::ValueEnum;
use wgrad_tensor::DType;
use wgrad_tensor::ops::matmul::{Kernel, MatmulVariant};
use wgrad_tune::bench::attention::{self, Size};
use wgrad_tune::bench::matmul::{self, Product, Transposes};
use wgrad_tune::bench::{ops, peak, rows};

use super::output::OutputArgs;

/// An element type to time.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Dtype {
    F32,
    F16,
}

impl From<Dtype> for DType {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
        }
    }
}

/// Measure the adapter's limits: copies, multiply-adds, launches, submits
#[derive(clap::Args)]
#[command(rename_all = "snake_case")]
pub struct PeakArgs {
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs `wgrad bench peak`.
pub fn peak(args: PeakArgs) -> Result<()> {
    let mut run = args.output.start(false)?;
    peak::run(&mut run.bench)?;
    run.finish()
}

/// Time matrix products of (m, k) and (k, n); several sizes, types, layouts or kernels by comma
#[derive(clap::Args)]
#[command(rename_all = "snake_case")]
pub struct MatmulArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[arg(long, value_delimiter = ',', default_value = "512", value_parser = side)]
    m: Vec<usize>,
    #[arg(long, value_delimiter = ',', default_value = "512", value_parser = side)]
    n: Vec<usize>,
    #[arg(long, value_delimiter = ',', default_value = "512", value_parser = side)]
    k: Vec<usize>,
    #[arg(long, value_delimiter = ',', default_value = "f32")]
    dtype: Vec<Dtype>,
    /// How the two operands lie in memory: n as written, t transposed
    #[arg(long, value_delimiter = ',', default_value = "nn", value_parser = transposes)]
    transpose: Vec<Transposes>,
    /// The kernels; else the one that is chosen for the size. Several are timed by turns, against the
    /// first; one that cannot run says so. With a tile: tiled/128x128x16/8x8, rows, columns
    /// and depth of a workgroup, rows and columns of an invocation (cooperative: of a subgroup)
    #[arg(long, value_delimiter = ',', value_parser = kernel)]
    variant: Vec<Kernel>,
}

/// A side of a tensor.
pub fn side(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(value @ 1..=0x8000_0000) => Ok(value),
        _ => Err("a whole number from 1 to 2147483648".to_owned()),
    }
}

fn transposes(text: &str) -> std::result::Result<Transposes, String> {
    Transposes::parse(text).ok_or_else(|| "there are nn, nt, tn, tt".to_owned())
}

fn kernel(text: &str) -> std::result::Result<Kernel, String> {
    matmul::parse_kernel(text).ok_or_else(|| {
        let all = MatmulVariant::ALL.map(matmul::variant_name);
        format!(
            "there are {}; tiled, cooperative and subgroup also with a tile such as tiled/128x128x16/8x8",
            all.join(", ")
        )
    })
}

/// Runs `wgrad bench matmul`.
pub fn matmul(args: MatmulArgs) -> Result<()> {
    let mut products = Vec::new();
    for dtype in args.dtype {
        for &m in &args.m {
            for &n in &args.n {
                for &k in &args.k {
                    for &transposes in &args.transpose {
                        products.push(Product {
                            transposes,
                            ..Product::new(m, k, n, dtype.into())
                        });
                    }
                }
            }
        }
    }
    let mut run = args.output.start(false)?;
    for product in products {
        match args.variant.as_slice() {
            [] => matmul::run(&mut run.bench, &[product])?,
            kernels => matmul::kernels(&mut run.bench, product, kernels)?,
        }
    }
    run.finish()
}

/// Time every row of the op matrix, forward and with its backward pass; or one op at a size of yours
#[derive(clap::Args)]
#[command(rename_all = "snake_case")]
pub struct OpsArgs {
    #[command(flatten)]
    output: OutputArgs,
    /// Only the rows of these ops
    #[arg(long, value_delimiter = ',')]
    op: Vec<String>,
    /// Stretch one row of each op until its first input has this shape, such as 4096x1024
    #[arg(long, value_delimiter = ',', value_parser = shape, requires = "op")]
    size: Vec<Shape>,
    /// The type of the stretched row
    #[arg(long, default_value = "f32")]
    dtype: Dtype,
}

/// A shape on the command line.
#[derive(Clone)]
pub struct Shape(pub Vec<usize>);

fn shape(text: &str) -> std::result::Result<Shape, String> {
    let sides: std::result::Result<Vec<usize>, String> = text.split('x').map(side).collect();
    sides
        .map(Shape)
        .map_err(|_| "a shape is written as 4096x1024".to_owned())
}

/// Runs `wgrad bench ops`.
pub fn ops(args: OpsArgs) -> Result<()> {
    let known = wgrad_tensor::ops::cases();
    if let Some(op) = args
        .op
        .iter()
        .find(|op| known.iter().all(|case| case.op != *op))
    {
        bail!("there is no op `{op}`; `wgrad doctor` lists them");
    }
    let mut run = args.output.start(args.size.is_empty())?;
    if args.size.is_empty() {
        let mut cases = known;
        cases.retain(|case| args.op.is_empty() || args.op.iter().any(|op| op == case.op));
        ops::run(&mut run.bench, &cases)?;
    }
    for op in args.op.iter().filter(|_| !args.size.is_empty()) {
        for shape in &args.size {
            let cases = wgrad_tensor::ops::cases();
            let device = run.bench.device.clone();
            let dtype = DType::from(args.dtype);
            match ops::at_size(&device, cases, op, &shape.0, dtype) {
                Ok(rows) => ops::run(&mut run.bench, &rows)?,
                Err(error) => {
                    let name = format!("{op}({}{:?})", dtype.wgsl(), shape.0);
                    run.bench.skip(run.bench.title(&name), &error)?;
                }
            }
        }
    }
    run.finish()
}

/// Time ops that memory bounds: the plain kernel, and by turns with it the one that is chosen
#[derive(clap::Args)]
#[command(rename_all = "snake_case")]
pub struct RowsArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[arg(long, value_delimiter = ',', default_values = rows::OPS)]
    op: Vec<String>,
    /// Rows and columns
    #[arg(long, value_delimiter = ',', default_value = "4096x1024", value_parser = shape)]
    size: Vec<Shape>,
    #[arg(long, value_delimiter = ',', default_value = "f32")]
    dtype: Vec<Dtype>,
}

/// Runs `wgrad bench rows`.
pub fn rows(args: RowsArgs) -> Result<()> {
    let sizes: Vec<[usize; 2]> = args
        .size
        .iter()
        .map(|shape| <[usize; 2]>::try_from(shape.0.as_slice()))
        .collect::<std::result::Result<_, _>>()
        .map_err(|_| anyhow!("--size takes rows and columns, such as 4096x1024"))?;
    if let Some(op) = args.op.iter().find(|op| !rows::OPS.contains(&op.as_str())) {
        bail!(
            "there is no row op `{op}`; there are {}",
            rows::OPS.join(", ")
        );
    }
    let mut run = args.output.start(false)?;
    for dtype in args.dtype {
        for size in &sizes {
            for op in &args.op {
                rows::run(&mut run.bench, op, *size, dtype.into())?;
            }
        }
    }
    run.finish()
}

/// Time attention, forward and backward: the op, and composed of products and softmax
#[derive(clap::Args)]
#[command(rename_all = "snake_case")]
pub struct AttentionArgs {
    #[command(flatten)]
    output: OutputArgs,
    /// Batch
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = side)]
    b: Vec<usize>,
    /// Tokens
    #[arg(long, value_delimiter = ',', default_value = "512", value_parser = side)]
    t: Vec<usize>,
    /// Heads
    #[arg(long, value_delimiter = ',', default_value = "12", value_parser = side)]
    h: Vec<usize>,
    /// Channels of a head
    #[arg(long, value_delimiter = ',', default_value = "64", value_parser = side)]
    d: Vec<usize>,
    #[arg(long, value_delimiter = ',', default_value = "f32")]
    dtype: Vec<Dtype>,
    /// Causal: no position sees later ones
    #[arg(long)]
    causal: bool,
}

/// Runs `wgrad bench attention`.
pub fn attention(args: AttentionArgs) -> Result<()> {
    let mut sizes = Vec::new();
    for dtype in args.dtype {
        for &b in &args.b {
            for &t in &args.t {
                for &h in &args.h {
                    for &d in &args.d {
                        sizes.push(Size {
                            b,
                            t,
                            h,
                            d,
                            dtype: dtype.into(),
                            causal: args.causal,
                        });
                    }
                }
            }
        }
    }
    let mut run = args.output.start(false)?;
    attention::run(&mut run.bench, &sizes)?;
    run.finish()
}
