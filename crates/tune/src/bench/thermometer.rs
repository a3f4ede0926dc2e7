//! The reference kernel: always the same work, timed between samples. When it is slower than usual (a lower clock,
//! another program), the samples beside it are slower too and are discarded.

use std::sync::Arc;

use anyhow::Result;
use wgrad_runtime::{Buffer, Defines, Device, Kernel, Stopwatch};

use super::clock;

/// A reading lasts at least this long, where the grid allows.
const SECONDS: f64 = 3e-4;
/// A long reading lasts about this long.
const LONG: f64 = 4e-3;
/// Readings are given as seconds of this many groups.
const GROUPS: u64 = 32;
/// Links of the chains in the kernel are 16 times this.
const ROUNDS: u32 = 16;
/// The rank of the reading that gives the adapter's rate: the very fastest may be an error of its clock.
const BEST: usize = 3;

/// A launch of multiplications and additions in registers, long enough to be timed.
pub struct Thermometer {
    device: Device,
    kernel: Arc<Kernel>,
    y: Buffer,
    groups: u64,
    /// The fastest readings, in order.
    fastest: Vec<f64>,
}

impl Thermometer {
    /// Finds a size that can be timed well.
    pub fn new(device: &Device, watch: &mut Stopwatch) -> Result<Self> {
        let defines = Defines::new().alias("T", "f32").constant("ROUNDS", ROUNDS);
        let kernel = device.kernel("peak_fma", &defines)?;
        let width = u64::from(kernel.info.workgroup_size[0]);
        let mut groups = 16;
        loop {
            let mut this = Self {
                device: device.clone(),
                kernel: kernel.clone(),
                y: device.alloc(groups * width * 4)?,
                groups,
                fastest: Vec::new(),
            };
            // The first compiles, and others may be interrupted.
            for _ in 0..5 {
                this.read(watch)?;
            }
            if this.fastest[0] >= SECONDS || groups >= 1 << 16 {
                this.fastest.clear();
                return Ok(this);
            }
            groups *= 2;
        }
    }

    /// Seconds of [`GROUPS`] groups by one launch: the better of two, because a single one may be interrupted.
    pub fn read(&mut self, watch: &mut Stopwatch) -> Result<f64> {
        let mut better = f64::INFINITY;
        for _ in 0..2 {
            let seconds = clock::seconds(watch, || self.launch())?;
            better = better.min(seconds);
            keep_least(&mut self.fastest, seconds);
        }
        Ok(better * self.scale())
    }

    /// Of the seconds of a launch: two runs may have found two sizes, and their readings are compared.
    fn scale(&self) -> f64 {
        GROUPS as f64 / self.groups as f64
    }

    /// The same by many launches one after another, about as long as a sample: another program that takes a core for a while shows
    /// here, and may not in one short launch.
    pub fn read_long(&mut self, watch: &mut Stopwatch) -> Result<f64> {
        let one = self.fastest.first().copied().unwrap_or(SECONDS);
        let n = (LONG / one).ceil().clamp(1.0, 64.0) as usize;
        let all = clock::seconds(watch, || (0..n).try_for_each(|_| self.launch()))?;
        Ok(all / n as f64 * self.scale())
    }

    fn launch(&self) -> Result<()> {
        let n = self.groups * u64::from(self.kernel.info.workgroup_size[0]);
        let launch = self.device.launch(&self.kernel).u32("n", n as usize);
        let launch = launch.f32("a", 0.5).f32("b", 0.5).bind(&self.y);
        Ok(launch.groups(self.groups)?)
    }

    /// 10^9 operations a second in its best readings.
    pub fn gflops(&self) -> Option<f64> {
        let seconds = self.fastest.get(BEST - 1)?;
        let n = self.groups * u64::from(self.kernel.info.workgroup_size[0]);
        let operations = Device::FMA_OPERATIONS * f64::from(ROUNDS);
        Some(n as f64 * operations / seconds / 1e9)
    }
}

fn keep_least(least: &mut Vec<f64>, value: f64) {
    let at = least.partition_point(|kept| *kept <= value);
    least.insert(at, value);
    least.truncate(BEST);
}

#[cfg(test)]
mod tests {
    use wgrad_runtime::DeviceOptions;

    use super::*;

    #[test]
    fn readings_do_not_depend_on_the_size_that_was_found() {
        let device = Device::open(DeviceOptions::default()).unwrap();
        let mut watch = device.stopwatch().unwrap();
        let mut this = Thermometer::new(&device, &mut watch).unwrap();
        let read = |this: &mut Thermometer, watch: &mut Stopwatch| {
            let readings = (0..9).map(|_| this.read(watch).unwrap());
            readings.fold(f64::INFINITY, f64::min)
        };
        let one = read(&mut this, &mut watch);
        this.groups *= 8;
        let width = u64::from(this.kernel.info.workgroup_size[0]);
        this.y = device.alloc(this.groups * width * 4).unwrap();
        let other = read(&mut this, &mut watch);
        // Eight times the work; bounds are wide because other programs may run.
        assert!((0.25..4.0).contains(&(one / other)), "{one} {other}");
    }

    #[test]
    fn the_least_are_kept_in_order() {
        let mut least = Vec::new();
        for value in [5.0, 3.0, 9.0, 1.0, 4.0, 3.0] {
            keep_least(&mut least, value);
        }
        assert_eq!(least, [1.0, 3.0, 3.0]);
    }
}
