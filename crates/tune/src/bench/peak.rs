//! The best rates that the adapter reaches, row by row.

use anyhow::Result;
use wgrad_runtime::{Defines, Device};

use super::meter::cache_bytes;
use super::row::{Roof, Row, Unit, Work};
use super::session::Bench;

/// The adapter's roofline.
pub fn roof(device: &Device) -> Result<Roof> {
    Ok(device.measure_peak()?.into())
}

/// Copy bandwidth by a kernel and by the driver, multiply-add rates, and what a launch and a submit cost.
pub fn run(bench: &mut Bench) -> Result<()> {
    copies(bench)?;
    fma(bench, "f32")?;
    if bench.device.has_f16() {
        fma(bench, "f16")?;
    } else {
        bench.add(Row::skipped("fma f16", "the adapter has no shader-f16"));
    }
    matrix(bench)?;
    raise(bench);
    launches(bench)
}

/// Raises the roof to the best rate seen: these rows were measured for longer than the roof.
fn raise(bench: &mut Bench) {
    let roof = &mut bench.results.roof;
    for row in &bench.results.rows {
        let Some(measurement) = row.measurement() else {
            continue;
        };
        let rate = |amount: f64| amount / measurement.best / 1e9;
        let work = &row.work;
        roof.copy_gbps = roof.copy_gbps.max(rate(work.bytes));
        match work.unit {
            Unit::F32 => roof.fma_gflops = roof.fma_gflops.max(rate(work.operations)),
            Unit::F16 => {
                roof.half_gflops = roof.half_gflops.map(|r| r.max(rate(work.operations)));
            }
        }
    }
}

fn copies(bench: &mut Bench) -> Result<()> {
    let device = bench.device.clone();
    let bytes = cache_bytes(&device);
    let work = Work::new(0.0, 2.0 * bytes as f64);
    let size = format!("{} MiB", bytes >> 20);
    let pair = |device: &Device| Ok((device.alloc(bytes)?, device.alloc(bytes)?));
    bench.time_with(&format!("copy by a kernel {size}"), work, pair, |(x, y)| {
        let kernel = device.kernel("peak_copy", &Defines::new())?;
        let n = bytes / 16;
        let launch = device.launch(&kernel).u32("n", n as usize);
        Ok(launch.bind(x).bind(y).invocations(n)?)
    })?;
    bench.time_with(
        &format!("copy by the driver {size}"),
        work,
        pair,
        |(x, y)| Ok(device.copy(x, 0, y, 0, bytes)?),
    )
}

fn fma(bench: &mut Bench, ty: &str) -> Result<()> {
    let device = bench.device.clone();
    // Enough for every lane of a large GPU many times over, and some milliseconds on a CPU.
    let groups = match device.adapter().is_software() {
        true => 64,
        false => 1 << 14,
    };
    let (kernel, operations) = device.fma_kernel(ty)?;
    let n = groups * u64::from(kernel.info.workgroup_size[0]);
    // The time of its writes is negligible beside its arithmetic.
    let work = Work::new(n as f64 * operations, 0.0);
    let work = if ty == "f16" { work.half() } else { work };
    bench.time_with(
        &format!("fma {ty}"),
        work,
        |device| Ok(device.alloc(n * 4)?),
        |y| {
            let launch = device.launch(&kernel).u32("n", n as usize);
            Ok(launch.f32("a", 0.5).f32("b", 0.5).bind(y).groups(groups)?)
        },
    )
}

fn matrix(bench: &mut Bench) -> Result<()> {
    let device = bench.device.clone();
    let Some(unit) = device.matrix_unit() else {
        let why = "the adapter has no cooperative matrices";
        bench.add(Row::skipped("matrix units", why));
        return Ok(());
    };
    const GROUPS: u64 = 1 << 15;
    let (kernel, operations) = device.matrix_kernel(unit)?;
    let work = Work::new(GROUPS as f64 * operations, 0.0);
    let work = if unit.half { work.half() } else { work };
    let area = u64::from(unit.side * unit.side);
    bench.time_with(
        &format!("matrix units {unit}"),
        work,
        |device| {
            let x = device.alloc(area * 4)?;
            device.zero(&x)?;
            Ok((x, device.alloc(GROUPS * area * 4)?))
        },
        |(x, y)| {
            let launch = device.launch(&kernel).bind(x).bind(y);
            Ok(launch.grid([GROUPS, 1, 1])?)
        },
    )
}

/// By the host's clock, because the host's time counts here.
fn launches(bench: &mut Bench) -> Result<()> {
    const LAUNCHES: usize = 100;
    let cost = bench.meter.launch_cost();
    let device = bench.device.clone();
    let kernel = device.kernel("peak_empty", &Defines::new())?;
    let y = device.alloc(4)?;
    let launch = || device.launch(&kernel).bind(&y).groups(1);
    let name = format!("{LAUNCHES} empty launches, one submit and the wait, by the clock");
    let all = bench.meter.measure_by_clock(&mut || {
        for _ in 0..LAUNCHES {
            launch()?;
        }
        Ok(())
    })?;
    let row = Row::measured(bench.title(&name), Work::default(), all.clone());
    bench.add(row.figure("device us a launch", cost * 1e6));
    let name = "one empty launch, its submit and the wait, by the clock";
    let one = bench.meter.measure_by_clock(&mut || Ok(launch()?))?;
    let each = (all.time.median - one.time.median) / (LAUNCHES - 1) as f64;
    let row = Row::measured(bench.title(name), Work::default(), one);
    bench.add(row.figure("us of each further launch", each * 1e6));
    Ok(())
}
