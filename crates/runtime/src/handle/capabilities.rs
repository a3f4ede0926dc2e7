//! The device's features and limits.

use super::Device;
use crate::adapter::{AdapterDescription, MatrixUnit};
use crate::memory::buffer::Buffer;
use crate::memory::texture;

impl Device {
    /// The adapter this device was opened on.
    pub fn adapter(&self) -> &AdapterDescription {
        &self.0.gpu.description
    }

    /// Whether ops read indices back to check them (see [`crate::DeviceOptions::check_indices`]).
    pub fn checks_indices(&self) -> bool {
        self.0.gpu.options.check_indices
    }

    /// Whether kernels may use `f16` (`shader-f16`).
    pub fn has_f16(&self) -> bool {
        self.0.gpu.has(wgpu::Features::SHADER_F16)
    }

    /// The subgroup size where it is one fixed number and kernels may use it.
    pub fn subgroup_size(&self) -> Option<u32> {
        let (low, high) = self.0.gpu.description.subgroup_sizes?;
        (low == high && self.0.gpu.has(wgpu::Features::SUBGROUP)).then_some(low)
    }

    /// The product that the adapter's matrix units compute, if it has matrix units and kernels may use them.
    pub fn matrix_unit(&self) -> Option<MatrixUnit> {
        self.0.gpu.matrix_unit
    }

    /// Whether ops choose kernels that every compiler can compile in a second, rather than those that are fastest on GPUs.
    /// So it is where the adapter's compiler is weak.
    pub fn small_kernels(&self) -> bool {
        self.0.gpu.options.small_kernels || self.adapter().has_weak_compiler()
    }

    /// Whether the device can measure itself.
    pub fn has_timestamps(&self) -> bool {
        self.0.gpu.has(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// The most bytes of a buffer that one kernel binding can reach.
    pub fn max_binding_bytes(&self) -> u64 {
        self.0
            .gpu
            .limits
            .max_storage_buffer_binding_size
            .min(self.0.gpu.limits.max_buffer_size)
            & !255
    }

    /// The alignment of a binding's first byte in its buffer.
    pub(crate) fn binding_alignment(&self) -> u64 {
        self.0.gpu.limits.min_storage_buffer_offset_alignment.into()
    }

    /// About how many workgroups keep the whole adapter busy. No API reports the number of compute units.
    pub fn groups_to_fill(&self) -> usize {
        match self.0.gpu.description.device_type.as_str() {
            "DiscreteGpu" => 256,
            _ => 64,
        }
    }

    /// Workgroup memory of a kernel at most, in bytes.
    pub fn max_workgroup_bytes(&self) -> u32 {
        self.0.gpu.limits.max_compute_workgroup_storage_size
    }

    /// The largest buffer that the device makes, in bytes.
    pub fn max_buffer_bytes(&self) -> u64 {
        self.0.gpu.limits.max_buffer_size
    }

    /// The largest workgroup along x.
    pub fn max_workgroup_invocations(&self) -> u32 {
        self.0.gpu.limits.max_compute_invocations_per_workgroup
    }

    /// The driver's compiled pipelines, to be given back to [`crate::DeviceOptions::pipeline_cache`] later.
    pub fn pipeline_cache(&self) -> Option<Vec<u8>> {
        self.0
            .gpu
            .pipeline_cache
            .as_ref()
            .and_then(wgpu::PipelineCache::get_data)
    }

    /// Whether `buffer` can be read as a texture.
    pub fn fits_texture(&self, buffer: &Buffer) -> bool {
        texture::fits(&self.0.gpu.limits, buffer.padded_size())
    }

    /// Marks the device as lost, for tests of recovery.
    pub fn lose(&self, reason: &str) {
        self.0.gpu.lose(reason);
    }
}
