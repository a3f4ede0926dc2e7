//! A kernel of your own: WGSL, its parameters and tensors by reflection, launched and read back.
//!
//! Run: cargo run --release --example first_kernel

use std::sync::Arc;

use wgrad::runtime::{Device, DeviceOptions};

const SAXPY: &str = "
struct Params { n: u32, a: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn saxpy(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < params.n) {
        y[id.x] = params.a * x[id.x] + y[id.x];
    }
}
";

fn main() -> anyhow::Result<()> {
    let device = Device::open(DeviceOptions::default())?;
    println!("running on {}", device.adapter().name);
    let kernel = Arc::new(device.compile("saxpy", SAXPY)?);
    println!(
        "reflected: {:?}, {:?}",
        kernel.info.params, kernel.info.bindings
    );

    let n = 1000;
    let values: Vec<u8> = (0..n).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let (x, y) = (device.alloc(4 * n)?, device.alloc(4 * n)?);
    device.upload(&x, 0, &values)?;
    device.upload(&y, 0, &values)?;
    device
        .launch(&kernel)
        .u32("n", n as usize)
        .f32("a", 2.0)
        .bind(&x)
        .bind(&y)
        .invocations(n)?;
    let bytes = device.read(&y, 0, 4 * n)?;
    let last = f32::from_le_bytes([bytes[3996], bytes[3997], bytes[3998], bytes[3999]]);
    println!("y[999] = {last}, expected {}", 3.0 * 999.0);
    anyhow::ensure!(last == 2997.0, "the kernel is wrong");
    Ok(())
}
