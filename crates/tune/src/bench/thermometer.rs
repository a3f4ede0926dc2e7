//! The reference kernel: always the same work, timed between samples. What makes it slower (a clock that
//! drops, another program) makes samples slower too, and they are thrown away.

use std::sync::Arc;

use anyhow::Result;
use wgrad_runtime::{Buffer, Defines, Device, Kernel, Stopwatch};

/// A reading lasts at least this long, where the grid allows.
const SECONDS: f64 = 3e-4;
/// Links of the chains in the kernel are 16 times this.
const ROUNDS: u32 = 16;

/// A launch of multiplications and additions in registers, long enough to be timed.
pub struct Thermometer {
    device: Device,
    kernel: Arc<Kernel>,
    y: Buffer,
    groups: u64,
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
            };
            // The first compiles.
            this.read(watch)?;
            if this.read(watch)? >= SECONDS || groups >= 1 << 16 {
                return Ok(this);
            }
            groups *= 2;
        }
    }

    /// Seconds of one launch: the better of two, because a single one may be interrupted.
    pub fn read(&mut self, watch: &mut Stopwatch) -> Result<f64> {
        let n = self.groups * u64::from(self.kernel.info.workgroup_size[0]);
        let mut once = || {
            watch.time(|| {
                self.device
                    .launch(&self.kernel)
                    .u32("n", n as usize)
                    .f32("a", 0.5)
                    .f32("b", 0.5)
                    .bind(&self.y)
                    .groups(self.groups)
            })
        };
        Ok(once()?.min(once()?))
    }
}
