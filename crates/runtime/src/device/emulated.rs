//! The shape of a GPU that exists only in the emulator (`wgrad-emulator`).

use std::time::Duration;

use crate::adapter::{AdapterDescription, MatrixUnit};

/// The shape of an emulated GPU. It is a discrete one under Vulkan with `f16` and 48 KiB of workgroup memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Emulated {
    /// Invocations in a subgroup: a power of two.
    pub subgroup_size: u32,
    /// The product that its matrix units compute, if it has matrix units.
    pub matrix_unit: Option<MatrixUnit>,
    /// How long a launch may take; beyond it the launch fails.
    pub limit: Option<Duration>,
    /// Whether the work of kernels is counted (see [`crate::Device::take_counts`]).
    pub counts: bool,
}

/// The limits of an emulated GPU's kernels: bytes of workgroup memory, and invocations.
const WORKGROUP_BYTES: u32 = 48 << 10;
const INVOCATIONS: u32 = 1024;

impl Emulated {
    /// Changes `description`, `features` and `limits` of an adapter to those of this GPU.
    pub(crate) fn describe(
        self,
        description: &mut AdapterDescription,
        features: &mut wgpu::Features,
        limits: &mut wgpu::Limits,
    ) {
        use wgpu::Features as F;
        features.insert(F::SHADER_F16 | F::SUBGROUP | F::SUBGROUP_BARRIER);
        features.remove(F::TIMESTAMP_QUERY | F::PIPELINE_CACHE);
        features.set(
            F::EXPERIMENTAL_COOPERATIVE_MATRIX,
            self.matrix_unit.is_some(),
        );
        limits.max_compute_workgroup_storage_size = WORKGROUP_BYTES;
        limits.max_compute_invocations_per_workgroup = INVOCATIONS;
        let beneath = format!("{} {}", description.name, description.driver);
        description.driver = format!("wgrad-emulator over {}", beneath.trim());
        description.name = format!("emulated GPU, subgroups of {}", self.subgroup_size);
        description.backend = "Vulkan".into();
        description.device_type = "DiscreteGpu".into();
        description.subgroup_sizes = Some((self.subgroup_size, self.subgroup_size));
        description.features = features.iter_names().map(|(name, _)| name.into()).collect();
        for (name, value) in &mut description.limits {
            match *name {
                "maxComputeWorkgroupStorageSize" => *value = WORKGROUP_BYTES.into(),
                "maxComputeInvocationsPerWorkgroup" => *value = INVOCATIONS.into(),
                _ => {}
            }
        }
    }
}
