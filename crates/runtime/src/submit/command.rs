//! The commands of a recording, as data.

use std::sync::Arc;

use crate::kernel::Kernel;
use crate::memory::transfer::Transfer;

/// Commands in one submit at most, however short they are.
pub(super) const MOST_COMMANDS: u64 = 2048;

/// One recorded step.
pub(crate) enum Command {
    Dispatch {
        kernel: Arc<Kernel>,
        pipeline: wgpu::ComputePipeline,
        /// Bytes that it reads and writes.
        moved: u64,
        bind_group: wgpu::BindGroup,
        params: Option<u32>,
        grid: [u32; 3],
    },
    Transfer(Transfer),
    /// A timestamp.
    Stamp(Stamp),
    /// A launch on an emulated device.
    #[cfg(feature = "emulator")]
    Emulate(Emulate),
}

impl Command {
    /// Bytes that it reads and writes in device memory.
    pub(crate) fn moved(&self) -> u64 {
        match self {
            Command::Dispatch { moved, .. } => *moved,
            Command::Transfer(transfer) => transfer.moved(),
            Command::Stamp(_) => 0,
            #[cfg(feature = "emulator")]
            Command::Emulate(launch) => launch.moved,
        }
    }

    /// The kernel that it launches.
    pub(crate) fn kernel(&self) -> Option<&str> {
        match self {
            Command::Dispatch { kernel, .. } => Some(&kernel.name),
            #[cfg(feature = "emulator")]
            Command::Emulate(launch) => Some(&launch.kernel.name),
            Command::Transfer(_) | Command::Stamp(_) => None,
        }
    }
}

/// A launch on an emulated device.
#[cfg(feature = "emulator")]
pub(crate) struct Emulate {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) moved: u64,
    pub(crate) params: Vec<u8>,
    /// Buffer, offset and size of each binding.
    pub(crate) bindings: Vec<(wgpu::Buffer, u64, u64)>,
    pub(crate) grid: [u32; 3],
}

/// A timestamp in the recording.
pub(crate) struct Stamp {
    pub(crate) queries: wgpu::QuerySet,
    pub(crate) index: u32,
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) bind_group: wgpu::BindGroup,
}

impl Stamp {
    pub(crate) fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        // The first timestamp comes after its launch, all others before theirs.
        let (begin, end) = match self.index {
            0 => (None, Some(0)),
            n => (Some(n), None),
        };
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: None,
            timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                query_set: &self.queries,
                beginning_of_pass_write_index: begin,
                end_of_pass_write_index: end,
            }),
        });
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    }
}
