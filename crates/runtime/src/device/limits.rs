//! What a device is asked for and what kernels may use of it: the adapter's features and limits, less what the
//! options take away.

use super::options::DeviceOptions;
use crate::adapter::{self, AdapterDescription, MatrixUnit};

/// Features and limits of a device that is about to open.
pub(crate) struct Capabilities {
    /// What the driver is asked for.
    pub(crate) requested: (wgpu::Features, wgpu::Limits),
    /// What kernels may use: of an emulated GPU more than the adapter beneath has.
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
        // An emulated GPU asks the adapter beneath for no more than that has.
        let requested = (features, limits.clone());
        let mut capabilities = Self {
            requested,
            features,
            limits,
            description,
            matrix_unit: adapter::matrix_unit(adapter),
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

    /// Gives kernels what an emulated GPU of this shape has.
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

/// What [`DeviceOptions::webgpu_limits`] takes away.
fn beyond_webgpu() -> wgpu::Features {
    wgpu::Features::SUBGROUP
        | wgpu::Features::SUBGROUP_BARRIER
        | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
}
