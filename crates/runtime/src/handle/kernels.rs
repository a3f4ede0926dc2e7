//! Kernels by name, and the tuned choices for them.

use std::sync::Arc;

use super::Device;
use crate::error::Result;
use crate::kernel::{Defines, Kernel, KernelText};
use crate::variants::{Choice, Target, text_hash};

impl Device {
    /// The kernel of shader file `name` in the variant `defines`, compiled on first use.
    pub fn kernel(&self, name: &str, defines: &Defines) -> Result<Arc<Kernel>> {
        self.0.kernels.get(&self.0.gpu, name, defines)
    }

    /// Every variant of every kernel file compiled on this device so far, by name.
    pub fn kernels(&self) -> Vec<KernelText> {
        self.0.kernels.texts()
    }

    /// Compiles any WGSL text that follows the conventions: a uniform `Params` struct at binding 0,
    /// tensors from binding 1. With checks: an index out of range reads and writes within the tensor, loops end, and
    /// workgroup memory begins as zeros.
    pub fn compile(&self, name: &str, text: &str) -> Result<Kernel> {
        Kernel::compile(&self.0.gpu, name, text, true)
    }

    /// [`Device::compile`] without the checks, as the library's own kernels are compiled, unless
    /// [`crate::DeviceOptions::checked`] asks for them.
    ///
    /// # Safety
    /// For every launch: no index is out of range of its tensor, every loop ends, and workgroup memory is written before
    /// it is read. Otherwise the kernel may read or write any memory of the device, or the device is lost.
    pub unsafe fn compile_trusted(&self, name: &str, text: &str) -> Result<Kernel> {
        let gpu = &self.0.gpu;
        Kernel::compile(gpu, name, text, gpu.options.checked)
    }

    /// The tuned choice for `kernel` at `sizes`, from the user's table, else from those shipped; `None` is the
    /// op's own default. Cheap enough for every launch.
    ///
    /// ```ignore
    /// let choice = device.variant("matmul", &[("m", 512), ("n", 512), ("k", 1024)]);
    /// let tiled = choice.as_ref().is_some_and(|c| c.file() == Some("matmul_tiled"));
    /// let rows = choice.and_then(|c| c.get("BM")).unwrap_or(64);
    /// ```
    pub fn variant(&self, kernel: &str, sizes: &[(&str, u64)]) -> Option<Choice> {
        let adapter = self.adapter();
        let target = Target {
            adapter: &adapter.name,
            driver: &adapter.driver,
            backend: &adapter.backend,
            device_type: &adapter.device_type,
            invocations: self.0.gpu.limits.max_compute_invocations_per_workgroup,
            workgroup_bytes: self.0.gpu.limits.max_compute_workgroup_storage_size.into(),
        };
        self.0.variants.lookup(kernel, sizes, &target)
    }

    /// A hash of the tuned tables in force. Other choices round sums in another order.
    pub fn tuned_hash(&self) -> String {
        text_hash(&[self.0.variants.to_text()])
    }
}
