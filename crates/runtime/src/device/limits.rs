//! The features and limits that a device is opened with, and those that kernels may use: the adapter's, reduced by the
//! options.

use super::options::DeviceOptions;
use crate::adapter::{self, AdapterDescription, MatrixUnit};

/// Features and limits of a device that is about to open.
pub(crate) struct Capabilities {
    /// The features and limits requested from the driver.
    pub(crate) requested: (wgpu::Features, wgpu::Limits),
    /// The features and limits that kernels may use; an emulated GPU may have more than the real adapter.
    pub(crate) features: wgpu::Features,
    pub(crate) limits: wgpu::Limits,
    pub(crate) description: AdapterDescription,
    pub(crate) matrix_unit: Option<MatrixUnit>,
}

impl Capabilities {
    pub(crate) fn of(
        adapter: &wgpu::Adapter,
        description: AdapterDescription,
        options: &DeviceOptions,
    ) -> Self {
        let mut features = adapter.features() & adapter::wanted_features();
        let mut limits = adapter.limits();
        if options.webgpu_limits {
            features.remove(beyond_webgpu());
            limits = wgpu::Limits::default();
        }
        if let Some(bytes) = options.max_binding_bytes {
            let limit = &mut limits.max_storage_buffer_binding_size;
            *limit = bytes.min(*limit);
        }
        if let Some(bytes) = options.max_buffer_bytes {
            limits.max_buffer_size = bytes.min(limits.max_buffer_size);
        }
        // Mesa's software adapter computes cooperative matrices without such units: it gains nothing, and compiles each
        // kernel for minutes.
        let matrix_unit = adapter::matrix_unit(adapter).filter(|_| !description.is_software());
        // With an emulated GPU, request no more than the real adapter has.
        let requested = (features, limits.clone());
        let mut capabilities = Self {
            requested,
            features,
            limits,
            description,
            matrix_unit,
        };
        #[cfg(feature = "emulator")]
        if let Some(shape) = options.emulated {
            capabilities.emulate(shape, options.webgpu_limits);
        }
        let features = capabilities.features;
        capabilities.matrix_unit = capabilities
            .matrix_unit
            .filter(|_| features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX))
            .filter(|unit| !unit.half || features.contains(wgpu::Features::SHADER_F16));
        capabilities
    }

    /// Sets the kernels' limits to those of an emulated GPU of this shape.
    #[cfg(feature = "emulator")]
    fn emulate(&mut self, shape: super::emulated::Emulated, webgpu_limits: bool) {
        shape.describe(&mut self.description, &mut self.features, &mut self.limits);
        self.matrix_unit = shape.matrix_unit;
        if webgpu_limits {
            self.features.remove(beyond_webgpu());
            self.limits = self.requested.1.clone();
        }
    }
}

/// Removes what [`DeviceOptions::webgpu_limits`] forbids.
fn beyond_webgpu() -> wgpu::Features {
    wgpu::Features::SUBGROUP
        | wgpu::Features::SUBGROUP_BARRIER
        | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
}
