//! Matrix products.

use anyhow::Result;
use wgrad_tensor::ops::matmul::{Kernel, MatmulVariant};
use wgrad_tensor::{DType, Device, Tensor};

use super::row::{Row, Work};
use super::session::{Bench, Way};
use super::values::uniform;

/// How an operand lies in memory: `n` as written, `t` transposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transposes {
    /// Whether the left operand is stored transposed, (K, M).
    pub a: bool,
    /// Whether the right operand is stored transposed, (N, K).
    pub b: bool,
}

impl Transposes {
    /// `nn`, `nt`, `tn` or `tt`.
    pub fn parse(text: &str) -> Option<Self> {
        let (a, b) = match text {
            "nn" => (false, false),
            "nt" => (false, true),
            "tn" => (true, false),
            "tt" => (true, true),
            _ => return None,
        };
        Some(Self { a, b })
    }

    fn name(self) -> &'static str {
        match (self.a, self.b) {
            (false, false) => "nn",
            (false, true) => "nt",
            (true, false) => "tn",
            (true, true) => "tt",
        }
    }
}

/// One product to time: (m, k) times (k, n).
#[derive(Debug, Clone, Copy)]
pub struct Product {
    /// Rows of the left operand and of the result.
    pub m: usize,
    /// The inner size, which the sum runs over.
    pub k: usize,
    /// Columns of the right operand and of the result.
    pub n: usize,
    /// f32 or f16.
    pub dtype: DType,
    /// How the operands are stored.
    pub transposes: Transposes,
    /// The kernel; `None` lets the op choose.
    pub kernel: Option<Kernel>,
}

impl Product {
    /// Neither operand transposed; the op chooses the kernel.
    pub fn new(m: usize, k: usize, n: usize, dtype: DType) -> Self {
        Self {
            m,
            k,
            n,
            dtype,
            transposes: Transposes { a: false, b: false },
            kernel: None,
        }
    }

    /// Its operations and bytes.
    pub fn work(&self) -> Work {
        let (m, k, n) = (self.m as f64, self.k as f64, self.n as f64);
        let bytes = self.dtype.size() as f64 * (m * k + k * n + m * n);
        let work = Work::new(2.0 * m * n * k, bytes);
        match self.dtype {
            DType::F16 => work.half(),
            _ => work,
        }
    }

    fn name(&self) -> String {
        let Self { m, k, n, .. } = self;
        let kernel = self
            .kernel
            .map_or(String::new(), |kernel| format!(" {}", kernel_name(kernel)));
        format!(
            "matmul {} {} {m}x{k}x{n}{kernel}",
            self.dtype.wgsl(),
            self.transposes.name()
        )
    }

    /// Operands with values in -1..1.
    fn operands(&self, device: &Device) -> Result<(Tensor, Tensor)> {
        let operand = |rows: usize, columns: usize, transposed: bool, seed| -> Result<Tensor> {
            Ok(match transposed {
                true => uniform(device, &[columns, rows], self.dtype, seed)?.transpose(0, 1)?,
                false => uniform(device, &[rows, columns], self.dtype, seed)?,
            })
        };
        Ok((
            operand(self.m, self.k, self.transposes.a, 1)?,
            operand(self.k, self.n, self.transposes.b, 2)?,
        ))
    }
}

/// A variant's name on the command line.
pub fn variant_name(variant: MatmulVariant) -> String {
    format!("{variant:?}").to_lowercase()
}

/// `tiled`, or with a tile `tiled/128x128x16/8x8`: rows, columns and depth of a workgroup's, rows and columns of an
/// invocation's or subgroup's.
pub fn kernel_name(kernel: Kernel) -> String {
    let variant = variant_name(kernel.variant);
    match kernel.tile {
        Some([bm, bn, bk, tm, tn]) => format!("{variant}/{bm}x{bn}x{bk}/{tm}x{tn}"),
        None => variant,
    }
}

/// What [`kernel_name`] writes.
pub fn parse_kernel(text: &str) -> Option<Kernel> {
    let mut parts = text.split('/');
    let name = parts.next()?;
    let variant = MatmulVariant::ALL
        .into_iter()
        .find(|variant| variant_name(*variant) == name)?;
    let sides: Vec<&str> = parts.flat_map(|part| part.split('x')).collect();
    if sides.is_empty() {
        return Some(variant.into());
    }
    let sides: Option<Vec<usize>> = sides.iter().map(|side| side.parse().ok()).collect();
    let tile: [usize; 5] = sides?.try_into().ok()?;
    Some(Kernel {
        variant,
        tile: Some(tile),
    })
}

/// Times one product with each of `kernels` by turns, against the first. A kernel that another one replaces here gets
/// no row.
pub fn kernels(bench: &mut Bench, product: Product, kernels: &[Kernel]) -> Result<()> {
    let (a, b) = match product.operands(&bench.device) {
        Ok(operands) => operands,
        Err(error) => {
            return bench.skip(bench.title(&product.name()), &error);
        }
    };
    let (a, b) = (&a, &b);
    let mut ways: Vec<Way> = Vec::new();
    for kernel in kernels {
        let product = Product {
            kernel: Some(*kernel),
            ..product
        };
        let call = move || {
            a.matmul_by(b, product.kernel)?;
            Ok(())
        };
        if let Some(other) = instead(&bench.device, kernel.variant, call) {
            let why = format!(
                "{} cannot run here: {other} computes this product",
                variant_name(kernel.variant)
            );
            bench.add(Row::skipped(bench.title(&product.name()), why));
            continue;
        }
        ways.push((product.name(), product.work(), Box::new(call)));
    }
    bench.versus(ways)
}

/// The kernel that runs in place of `variant`, since adapters and operands do not allow every variant. `None` where
/// `variant` runs, where this cannot be seen, or where the call fails (its row then says so).
fn instead(
    device: &Device,
    variant: MatmulVariant,
    call: impl Fn() -> Result<()>,
) -> Option<String> {
    device.start_profile().ok()?;
    let done = call();
    let ran = device.stop_profile().ok()?;
    done.ok()?;
    if ran.contains_key(variant.file()) {
        return None;
    }
    ran.into_keys().find(|name| name.starts_with("matmul"))
}

/// Times each of `products`.
pub fn run(bench: &mut Bench, products: &[Product]) -> Result<()> {
    for product in products {
        bench.time_with(
            &product.name(),
            product.work(),
            |device| product.operands(device),
            |(a, b)| {
                a.matmul_by(b, product.kernel)?;
                Ok(())
            },
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::settings::Settings;
    use super::*;

    #[test]
    fn names_and_work() {
        let mut product = Product::new(2, 3, 4, DType::F16);
        assert_eq!(product.name(), "matmul f16 nn 2x3x4");
        product.transposes = Transposes::parse("tn").unwrap();
        product.kernel = parse_kernel("tiled");
        assert_eq!(product.name(), "matmul f16 tn 2x3x4 tiled");
        let work = product.work();
        assert_eq!((work.operations, work.bytes), (48.0, 52.0));
        assert!(Transposes::parse("nx").is_none());
        product.kernel = parse_kernel("tiled/128x64x16/8x4");
        assert_eq!(product.kernel.unwrap().tile, Some([128, 64, 16, 8, 4]));
        assert_eq!(product.name(), "matmul f16 tn 2x3x4 tiled/128x64x16/8x4");
        assert!(parse_kernel("tiled/128x64").is_none());
        assert!(parse_kernel("tile").is_none());
    }

    #[test]
    fn a_kernel_that_cannot_run_gets_no_row() {
        let device = Device::open(wgrad_tensor::DeviceOptions::default()).unwrap();
        let mut bench = Bench::new(&device, Settings::quick(), |_, _| ()).unwrap();
        // Vectors are for a few rows.
        let all = [MatmulVariant::Vector, MatmulVariant::Simple].map(Kernel::from);
        let product = Product::new(64, 64, 64, DType::F32);
        kernels(&mut bench, product, &all).unwrap();
        let [vector, simple] = bench.results.rows.as_slice() else {
            panic!("{:?}", bench.results.rows);
        };
        assert!(vector.measurement().is_none() && vector.name.ends_with(" vector"));
        let text = format!("{:?}", vector.outcome);
        assert!(
            text.contains("vector cannot run here: matmul_tiled computes"),
            "{text}"
        );
        assert!(simple.measurement().is_some(), "{simple:?}");
    }
}
