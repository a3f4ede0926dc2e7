//! Measures an adapter's limits: the roof that kernels are compared with.

use std::sync::Arc;
use std::time::Instant;

use crate::adapter::MatrixUnit;
use crate::error::Result;
use crate::handle::Device;
use crate::kernel::{Defines, Kernel};
use crate::memory::buffer::Buffer;

/// Best of this many samples at least.
const SAMPLES: usize = 5;
/// Samples are taken by turns for at least this long, because clock rates and other programs change within tenths of a
/// second and the limit is the best rate without disturbance.
const SECONDS: f64 = 1.0;
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
    /// The rate of the adapter's matrix units, if it has any: products of f16 (or f32, as
    /// [`Device::matrix_unit`] says) summed in f32.
    pub matrix_gflops: Option<f64>,
}

impl Device {
    /// Operations of one invocation of the kernel `peak_fma` in a round: 12 chains, 16 links, a multiplication and an
    /// addition each.
    pub const FMA_OPERATIONS: f64 = 12.0 * 16.0 * 2.0;

    /// Measures copy bandwidth and multiply-add rates: one to two seconds, a little more on a software adapter. By
    /// the device's timestamps where it has them, else by the clock. A profile that is under way is ended.
    pub fn measure_peak(&self) -> Result<Peak> {
        let mut copies = self.copy_probes()?;
        let mut f32s = self.fma_probe("f32")?;
        let mut f16s = self.has_f16().then(|| self.fma_probe("f16")).transpose()?;
        let unit = self.matrix_unit();
        let mut matrix = unit.map(|unit| self.matrix_probe(unit)).transpose()?;
        let start = Instant::now();
        let mut rounds = 0;
        while rounds < SAMPLES || start.elapsed().as_secs_f64() < SECONDS {
            let probes = copies.iter_mut().chain([&mut f32s]);
            for probe in probes.chain(&mut f16s).chain(&mut matrix) {
                probe.sample()?;
            }
            rounds += 1;
        }
        let rate = |probe: &Option<Probe>| probe.as_ref().map(|probe| probe.rate() / 1e9);
        let peak = Peak {
            copy_gbps: copies.iter().map(Probe::rate).fold(0.0, f64::max) / 1e9,
            fma_gflops: f32s.rate() / 1e9,
            fma_f16_gflops: rate(&f16s),
            matrix_gflops: rate(&matrix),
        };
        drop((copies, f32s, f16s, matrix));
        self.trim()?;
        Ok(peak)
    }

    /// Copies by a kernel and by the driver.
    fn copy_probes(&self) -> Result<[Probe<'_>; 2]> {
        // A GPU's last-level cache holds up to 100 MB, a CPU's share of one less.
        let most_bytes = if self.adapter().is_software() {
            64
        } else {
            256
        } << 20;
        let bytes = self.max_binding_bytes().min(most_bytes);
        let (x, y) = (self.alloc(bytes)?, self.alloc(bytes)?);
        let kernel = self.kernel("peak_copy", &Defines::new())?;
        let amount = 2.0 * bytes as f64;
        let n = self.driver_copies(&x, &y, bytes)?;
        let (from, to) = (x.clone(), y.clone());
        let by_driver = Probe::new(amount, move || Ok(Some(self.copies(&from, &to, bytes, n)?)));
        let by_kernel = Probe::new(amount, move || {
            self.seconds(&kernel, || {
                let n = bytes / 16;
                let launch = self.launch(&kernel).u32("n", n as usize);
                launch.bind(&x).bind(&y).invocations(n)
            })
        });
        let mut both = [by_kernel, by_driver];
        // The first compiles.
        both[0].sample()?;
        both[0].best = f64::INFINITY;
        Ok(both)
    }

    /// How many copies by the driver make a sample.
    fn driver_copies(&self, x: &Buffer, y: &Buffer, bytes: u64) -> Result<usize> {
        let once = self
            .copies(x, y, bytes, 1)?
            .min(self.copies(x, y, bytes, 1)?);
        Ok((COPY_SECONDS / once).clamp(1.0, 64.0) as usize)
    }

    /// Seconds of one of `n` copies by the driver.
    fn copies(&self, x: &Buffer, y: &Buffer, bytes: u64, n: usize) -> Result<f64> {
        let start = Instant::now();
        for _ in 0..n {
            self.copy(x, 0, y, 0, bytes)?;
        }
        self.synchronize()?;
        Ok(start.elapsed().as_secs_f64() / n as f64)
    }

    /// The kernel that multiplies and adds in `ty`, with the operations of one of its invocations.
    pub fn fma_kernel(&self, ty: &str) -> Result<(Arc<Kernel>, f64)> {
        let defines = Defines::new().alias("T", ty).constant("ROUNDS", ROUNDS);
        let kernel = self.kernel("peak_fma", &defines)?;
        Ok((kernel, Self::FMA_OPERATIONS * f64::from(ROUNDS)))
    }

    /// Operations in `ty`.
    fn fma_probe(&self, ty: &str) -> Result<Probe<'_>> {
        let (kernel, operations) = self.fma_kernel(ty)?;
        let width = u64::from(kernel.info.workgroup_size[0]);
        self.grown(16, 1 << 16, |groups| {
            let (kernel, n) = (kernel.clone(), groups * width);
            let y = self.alloc(n * 4)?;
            Ok(Probe::new(n as f64 * operations, move || {
                self.seconds(&kernel, || {
                    let launch = self.launch(&kernel).u32("n", n as usize);
                    launch.f32("a", 0.5).f32("b", 0.5).bind(&y).groups(groups)
                })
            }))
        })
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

    /// Operations of matrix units.
    fn matrix_probe(&self, unit: MatrixUnit) -> Result<Probe<'_>> {
        let (kernel, operations) = self.matrix_kernel(unit)?;
        let area = u64::from(unit.side) * u64::from(unit.side);
        let x = self.alloc(area * 4)?;
        self.zero(&x)?;
        self.grown(64, 1 << 15, |groups| {
            let (kernel, x) = (kernel.clone(), x.clone());
            let y = self.alloc(groups * area * 4)?;
            Ok(Probe::new(groups as f64 * operations, move || {
                self.seconds(&kernel, || {
                    self.launch(&kernel).bind(&x).bind(&y).grid([groups, 1, 1])
                })
            }))
        })
    }

    /// The probe that `of` makes for a number of groups, with enough groups for a launch long enough to measure.
    fn grown<'a>(
        &'a self,
        mut groups: u64,
        most: u64,
        of: impl Fn(u64) -> Result<Probe<'a>>,
    ) -> Result<Probe<'a>> {
        loop {
            let mut probe = of(groups)?;
            // The first may compile.
            for _ in 0..3 {
                probe.sample()?;
            }
            if (FMA_SECONDS..f64::INFINITY).contains(&probe.best) || groups >= most {
                return Ok(probe);
            }
            groups = (4 * groups).min(most);
        }
    }

    /// Seconds of one launch; `None` where the driver gave equal stamps for something very short.
    fn seconds(
        &self,
        kernel: &Arc<Kernel>,
        launch: impl FnOnce() -> Result<()>,
    ) -> Result<Option<f64>> {
        if self.has_timestamps() {
            self.start_profile()?;
            launch()?;
            let rows = self.stop_profile()?;
            let row = rows.get(&kernel.name);
            return Ok(row.map(|row| row.nanoseconds * 1e-9).filter(|s| *s > 0.0));
        }
        let start = Instant::now();
        launch()?;
        self.synchronize()?;
        Ok(Some(start.elapsed().as_secs_f64()))
    }
}

/// Work of a known amount, and the least seconds that it took.
struct Probe<'a> {
    amount: f64,
    call: Box<dyn Fn() -> Result<Option<f64>> + 'a>,
    best: f64,
}

impl<'a> Probe<'a> {
    fn new(amount: f64, call: impl Fn() -> Result<Option<f64>> + 'a) -> Self {
        Self {
            amount,
            call: Box::new(call),
            best: f64::INFINITY,
        }
    }

    fn sample(&mut self) -> Result<()> {
        if let Some(seconds) = (self.call)()? {
            self.best = self.best.min(seconds);
        }
        Ok(())
    }

    /// The amount a second.
    fn rate(&self) -> f64 {
        self.amount / self.best
    }
}
