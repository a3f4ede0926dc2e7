//! How long the driver takes to compile each kernel. Some compile when a pipeline is made, others (Mesa's software
//! adapter) when it first runs.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Device;
use crate::error::Result;
use crate::kernel::Kernel;

/// The time that one variant of a kernel took.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CompileTime {
    /// From its text to the end of its first launch, which ran alone.
    pub time: Duration,
    /// The shader file's name.
    pub name: String,
    /// The variant, by [`crate::Defines::key`].
    pub variant: String,
}

impl Device {
    /// The kernels that were launched so far, slowest first, if [`crate::DeviceOptions::time_compilation`] is set.
    pub fn compile_times(&self) -> Vec<CompileTime> {
        let timed = self.0.kernels.compile_times().into_iter();
        let mut all: Vec<CompileTime> = timed
            .map(|(name, variant, time)| CompileTime {
                time,
                name,
                variant,
            })
            .collect();
        all.sort_by(|a, b| b.cmp(a));
        all
    }

    /// Records a launch of `kernel` by `record`. If compilation is timed, a first launch is submitted alone and waited for.
    pub(crate) fn timed_first(
        &self,
        kernel: &Kernel,
        record: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        if !self.0.gpu.options.time_compilation || kernel.first_nanos.load(Ordering::Relaxed) > 0 {
            return record();
        }
        self.synchronize()?;
        let start = Instant::now();
        record()?;
        self.synchronize()?;
        let nanos = start.elapsed().as_nanos().max(1) as u64;
        kernel.first_nanos.store(nanos, Ordering::Relaxed);
        Ok(())
    }
}
