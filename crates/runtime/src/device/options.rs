//! The options for opening a device.

#[cfg(feature = "emulator")]
use super::emulated::Emulated;
use crate::variants::VariantTable;

/// How to open a device.
#[derive(Debug, Clone, Default)]
pub struct DeviceOptions {
    /// An index of [`crate::adapters`] or a part of an adapter's name; the best one if `None`.
    pub adapter: Option<String>,
    /// Ask for no more than WebGPU's default limits and no subgroups, as a browser might give.
    pub webgpu_limits: bool,
    /// Compile kernels with bounds checks, loop bounds and zeroed workgroup memory.
    pub checked: bool,
    /// Read ids, indices and targets back before `embedding`, `gather`, `index_select` and `cross_entropy` run, and
    /// refuse those out of range. The host waits for the device each time: for finding mistakes, not for training.
    pub check_indices: bool,
    /// Put guard bytes behind every buffer and poison fresh ones (see [`crate::Device::check_guards`]).
    pub guard: bool,
    /// Run kernels on the host, as a GPU of this shape would, and report races and stray indices. This checks kernels
    /// that no adapter of this machine can run. Needs the feature `emulator`.
    #[cfg(feature = "emulator")]
    pub emulated: Option<Emulated>,
    /// Lowers the most bytes that one kernel binding reaches, so that small tensors take the path of tensors beyond
    /// one binding: for tests.
    pub max_binding_bytes: Option<u64>,
    /// Lowers the largest buffer that the device makes, in bytes: for tests.
    pub max_buffer_bytes: Option<u64>,
    /// Choose small kernels, as on adapters whose compiler is weak: for tests (see [`crate::Device::small_kernels`]).
    pub small_kernels: bool,
    /// Run the first launch of each kernel alone, and time it with the compilation: see [`crate::Device::compile_times`].
    pub time_compilation: bool,
    /// The bytes that an earlier [`crate::Device::pipeline_cache`] returned on the same adapter and driver.
    pub pipeline_cache: Option<Vec<u8>>,
    /// Tuned choices of the user's own; they win over the shipped ones (see [`crate::Device::variant`]).
    pub variants: VariantTable,
}
