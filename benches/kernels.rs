//! `cargo bench`: the adapter's limits, then matrix products, row kernels and attention held against
//! them. `cargo run --release -- bench` does the same and more, and keeps and compares results.

use anyhow::Result;
use wgrad::tensor::{DType, Device, DeviceOptions};
use wgrad_tune::bench::attention::{self, Size};
use wgrad_tune::bench::matmul::{self, Product};
use wgrad_tune::bench::{Bench, Settings, format, peak, rows};

fn main() -> Result<()> {
    let device = Device::open(DeviceOptions::default())?;
    println!("{}, {}", device.adapter().name, device.adapter().driver);
    println!("{}", format::text_head());
    let mut bench = Bench::new(&device, Settings::default(), |row, roof| {
        println!("{}", format::text_row(row, roof));
    })?;
    peak::run(&mut bench)?;
    let product = |m, k, n| Product::new(m, k, n, DType::F32);
    matmul::run(
        &mut bench,
        &[product(512, 512, 512), product(1024, 384, 1536)],
    )?;
    for op in rows::OPS {
        rows::run(&mut bench, op, [4096, 1024], DType::F32)?;
    }
    let size = Size {
        b: 16,
        t: 64,
        h: 12,
        d: 32,
        dtype: DType::F32,
        causal: false,
    };
    attention::run(&mut bench, &[size])
}
