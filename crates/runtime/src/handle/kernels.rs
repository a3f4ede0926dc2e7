//! Kernels by name, and the tuned choices for them.

use std::sync::Arc;

use super::Device;
use crate::error::Result;
use crate::kernel::{Defines, Kernel, KernelText};
use crate::variants::{Choice, Wanted};

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
    /// tensors from binding 1.
    pub fn compile(&self, name: &str, text: &str) -> Result<Kernel> {
        Kernel::compile(&self.0.gpu, name, text)
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
        let wanted = Wanted {
            adapter: &adapter.name,
            driver: &adapter.driver,
            backend: &adapter.backend,
            device_type: &adapter.device_type,
            invocations: self.0.gpu.limits.max_compute_invocations_per_workgroup,
            workgroup_bytes: self.0.gpu.limits.max_compute_workgroup_storage_size.into(),
        };
        self.0.variants.lookup(kernel, sizes, &wanted)
    }
}
