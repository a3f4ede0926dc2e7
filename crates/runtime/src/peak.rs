//! What an adapter reaches at best, measured: the roof that kernels are held against.

use std::sync::Arc;
use std::time::Instant;

use crate::adapter::MatrixUnit;
use crate::device::Device;
use crate::error::Result;
use crate::kernel::{Defines, Kernel};
use crate::pool::Buffer;

/// Best of this many samples.
const SAMPLES: usize = 5;
/// A sample of the driver's copy lasts at least this long, so that the submit does not count.
const COPY_SECONDS: f64 = 0.02;
/// A launch of the multiply-add kernel lasts at least this long, where the grid allows.
const FMA_SECONDS: f64 = 0.01;
/// Iterations of the multiply-add loop. Mesa's software adapter ends every loop of an invocation after
/// 65,535 in all.
const ROUNDS: u32 = 256;

/// Measured rates of one adapter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// 10^9 bytes a second, read and written bytes both counted: the better of a copying kernel and the
    /// driver's own copy, over buffers beyond the caches.
    pub copy_gbps: f64,
    /// 10^9 f32 operations a second; a fused multiply-add counts as two.
    pub fma_gflops: f64,
    /// The same in f16, where kernels may use it.
    pub fma_f16_gflops: Option<f64>,
    /// The same by the adapter's matrix units, where it has some: products of f16 (or f32, as
    /// [`Device::matrix_unit`] says) summed in f32.
    pub matrix_gflops: Option<f64>,
}

impl Device {
    /// Measures copy bandwidth and multiply-add rates: one to two seconds on a software adapter, less on
    /// a GPU. By the device's timestamps where it has them, else by the clock. A profile that is under
    /// way is ended.
    pub fn measure_peak(&self) -> Result<Peak> {
        let copy_gbps = self.copy_rate()? / 1e9;
        let fma_gflops = self.fma_rate("f32")? / 1e9;
        let half = self.has_f16().then(|| self.fma_rate("f16")).transpose()?;
        let matrix = self.matrix_unit().map(|unit| self.matrix_rate(unit));
        let matrix = matrix.transpose()?;
        self.trim()?;
        Ok(Peak {
            copy_gbps,
            fma_gflops,
            fma_f16_gflops: half.map(|rate| rate / 1e9),
            matrix_gflops: matrix.map(|rate| rate / 1e9),
        })
    }

    /// Bytes a second.
    fn copy_rate(&self) -> Result<f64> {
        // A GPU's last-level cache holds up to 100 MB, a CPU's share of one less.
        let wanted = if self.adapter().is_software() {
            64
        } else {
            256
        } << 20;
        let bytes = self.max_binding_bytes().min(wanted);
        let x = self.alloc(bytes)?;
        let y = self.alloc(bytes)?;
        let kernel = self.kernel("peak_copy", &Defines::new())?;
        let by_kernel = self.fastest(&kernel, || {
            let n = bytes / 16;
            self.launch(&kernel)
                .u32("n", n as usize)
                .bind(&x)
                .bind(&y)
                .invocations(n)
        })?;
        let by_driver = self.fastest_copy(&x, &y, bytes)?;
        Ok(2.0 * bytes as f64 / by_kernel.min(by_driver))
    }

    /// Seconds of one copy by the driver.
    fn fastest_copy(&self, x: &Buffer, y: &Buffer, bytes: u64) -> Result<f64> {
        let copies = |n: usize| -> Result<f64> {
            let start = Instant::now();
            for _ in 0..n {
                self.copy(x, 0, y, 0, bytes)?;
            }
            self.synchronize()?;
            Ok(start.elapsed().as_secs_f64() / n as f64)
        };
        let once = copies(1)?.min(copies(1)?);
        let n = (COPY_SECONDS / once).clamp(1.0, 64.0) as usize;
        let mut best = once;
        for _ in 0..SAMPLES {
            best = best.min(copies(n)?);
        }
        Ok(best)
    }

    /// The kernel that multiplies and adds in `ty`, with the operations of one of its invocations: 12 chains, 16 links
    /// a round, two operations each.
    pub fn fma_kernel(&self, ty: &str) -> Result<(Arc<Kernel>, f64)> {
        let defines = Defines::new().alias("T", ty).constant("ROUNDS", ROUNDS);
        let kernel = self.kernel("peak_fma", &defines)?;
        Ok((kernel, 12.0 * 16.0 * 2.0 * f64::from(ROUNDS)))
    }

    /// Operations a second in `ty`.
    fn fma_rate(&self, ty: &str) -> Result<f64> {
        let (kernel, operations) = self.fma_kernel(ty)?;
        let width = u64::from(kernel.info.workgroup_size[0]);
        // From a few groups upwards until a launch is long enough to measure.
        let mut groups = 16;
        loop {
            let n = groups * width;
            let y = self.alloc(n * 4)?;
            let seconds = self.fastest(&kernel, || {
                self.launch(&kernel)
                    .u32("n", n as usize)
                    .f32("a", 0.5)
                    .f32("b", 0.5)
                    .bind(&y)
                    .groups(groups)
            })?;
            if seconds >= FMA_SECONDS || groups >= 1 << 16 {
                return Ok(n as f64 * operations / seconds);
            }
            groups *= 8;
        }
    }

    /// The kernel that measures the matrix units, with the operations of one of its groups.
    pub fn matrix_kernel(&self, unit: MatrixUnit) -> Result<(Arc<Kernel>, f64)> {
        // A group is one subgroup; where their sizes vary, the largest holds it whole.
        let width = self.adapter().subgroup_sizes.map_or(32, |sizes| sizes.1);
        let defines = Defines::new()
            .matrices(unit)
            .constant("WIDTH", width)
            .constant("ROUNDS", ROUNDS);
        let kernel = self.kernel("peak_matrix", &defines)?;
        let operations = 8.0 * 2.0 * f64::from(unit.side).powi(3) * f64::from(ROUNDS);
        Ok((kernel, operations))
    }

    /// Operations a second by matrix units.
    fn matrix_rate(&self, unit: MatrixUnit) -> Result<f64> {
        let (kernel, operations) = self.matrix_kernel(unit)?;
        let area = u64::from(unit.side) * u64::from(unit.side);
        let x = self.alloc(area * 4)?;
        self.zero(&x)?;
        let mut groups = 64;
        loop {
            let y = self.alloc(groups * area * 4)?;
            let seconds = self.fastest(&kernel, || {
                self.launch(&kernel).bind(&x).bind(&y).grid([groups, 1, 1])
            })?;
            if seconds >= FMA_SECONDS || groups >= 1 << 15 {
                return Ok(groups as f64 * operations / seconds);
            }
            groups *= 8;
        }
    }

    /// Seconds of the fastest of some launches, after one that compiles.
    fn fastest(&self, kernel: &Arc<Kernel>, launch: impl Fn() -> Result<()>) -> Result<f64> {
        launch()?;
        self.synchronize()?;
        let mut best = f64::INFINITY;
        for _ in 0..SAMPLES {
            let seconds = if self.has_timestamps() {
                self.start_profile()?;
                launch()?;
                let rows = self.stop_profile()?;
                rows.get(&kernel.name).map(|row| row.nanoseconds * 1e-9)
            } else {
                let start = Instant::now();
                launch()?;
                self.synchronize()?;
                Some(start.elapsed().as_secs_f64())
            };
            // A driver may give equal stamps for something very short; that is no measurement.
            if let Some(seconds) = seconds.filter(|s| *s > 0.0) {
                best = best.min(seconds);
            }
        }
        Ok(best)
    }
}
