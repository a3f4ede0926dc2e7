//! Finding adapters and choosing one.

use crate::error::{Error, Result};

/// What an adapter is and can do, in plain values (nothing of wgpu leaves this crate).
#[derive(Debug, Clone)]
pub struct AdapterDescription {
    /// The position in the list, as `--adapter INDEX` takes it.
    pub index: usize,
    /// The name that the driver gives.
    pub name: String,
    /// `Vulkan`, `Metal` or `Dx12`.
    pub backend: String,
    /// `DiscreteGpu`, `IntegratedGpu`, `VirtualGpu`, `Cpu` or `Other`.
    pub device_type: String,
    /// The driver's name and version.
    pub driver: String,
    /// The optional features that wgrad uses, by wgpu's names.
    pub features: Vec<String>,
    /// Smallest and largest subgroup, where the adapter has subgroups.
    pub subgroup_sizes: Option<(u32, u32)>,
    /// Limits that shape the kernels, by WebGPU's names.
    pub limits: Vec<(&'static str, u64)>,
}

impl AdapterDescription {
    /// Whether the adapter is a program on the CPU, such as Mesa's lavapipe.
    pub fn is_software(&self) -> bool {
        self.device_type == "Cpu"
    }

    /// Whether the driver's compiler may fail at large kernels, or take minutes and gigabytes for them. SwiftShader's does.
    /// Of software adapters only Mesa's is known to compile all of wgrad's kernels.
    pub fn has_weak_compiler(&self) -> bool {
        self.is_software() && !self.name.starts_with("llvmpipe")
    }
}

/// The product that an adapter's matrix units compute: square matrices, sums in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatrixUnit {
    /// Rows and columns of each matrix: 8 or 16.
    pub side: u32,
    /// Whether the factors are f16, else f32.
    pub half: bool,
}

impl std::fmt::Display for MatrixUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let MatrixUnit { side, half } = self;
        let ty = if *half { "f16" } else { "f32" };
        write!(f, "{ty} {side}x{side}x{side}")
    }
}

/// The best product of cooperative matrices that the adapter has and wgrad's kernels can use.
pub(crate) fn matrix_unit(adapter: &wgpu::Adapter) -> Option<MatrixUnit> {
    use wgpu::CooperativeScalarType as S;
    let all = adapter.cooperative_matrix_properties();
    let has = |side: u32, ab: S| {
        let found = all.iter().find(|p| {
            (p.m_size, p.n_size, p.k_size) == (side, side, side)
                && p.ab_type == ab
                && p.cr_type == S::F32
        });
        found.map(|_| MatrixUnit {
            side,
            half: ab == S::F16,
        })
    };
    has(16, S::F16)
        .or_else(|| has(8, S::F16))
        .or_else(|| has(8, S::F32))
}

/// The features that are enabled if the adapter has them.
pub(crate) fn wanted_features() -> wgpu::Features {
    use wgpu::Features as F;
    F::SHADER_F16
        | F::SUBGROUP
        | F::SUBGROUP_BARRIER
        | F::TIMESTAMP_QUERY
        | F::PIPELINE_CACHE
        | F::EXPERIMENTAL_COOPERATIVE_MATRIX
}

fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    descriptor.flags = wgpu::InstanceFlags::empty();
    wgpu::Instance::new(descriptor)
}

pub(crate) fn describe(index: usize, adapter: &wgpu::Adapter) -> AdapterDescription {
    let info = adapter.get_info();
    let features = adapter.features();
    let limits = adapter.limits();
    let names = (features & wanted_features())
        .iter_names()
        .map(|(name, _)| name.to_owned())
        .collect();
    let subgroup_sizes = match (info.backend, info.name.starts_with("Apple")) {
        // wgpu reports 4 to 64 for every Metal adapter; Apple's own GPUs have 32.
        (wgpu::Backend::Metal, true) => (32, 32),
        _ => (info.subgroup_min_size, info.subgroup_max_size),
    };
    AdapterDescription {
        index,
        name: info.name,
        backend: format!("{:?}", info.backend),
        device_type: format!("{:?}", info.device_type),
        driver: format!("{} {}", info.driver, info.driver_info)
            .trim()
            .to_owned(),
        features: names,
        subgroup_sizes: features
            .contains(wgpu::Features::SUBGROUP)
            .then_some(subgroup_sizes),
        limits: vec![
            ("maxBufferSize", limits.max_buffer_size),
            (
                "maxStorageBufferBindingSize",
                limits.max_storage_buffer_binding_size,
            ),
            (
                "maxStorageBuffersPerShaderStage",
                limits.max_storage_buffers_per_shader_stage.into(),
            ),
            (
                "maxComputeWorkgroupStorageSize",
                limits.max_compute_workgroup_storage_size.into(),
            ),
            (
                "maxComputeInvocationsPerWorkgroup",
                limits.max_compute_invocations_per_workgroup.into(),
            ),
            (
                "maxComputeWorkgroupsPerDimension",
                limits.max_compute_workgroups_per_dimension.into(),
            ),
            (
                "maxTextureDimension2D",
                limits.max_texture_dimension_2d.into(),
            ),
        ],
    }
}

/// All adapters of this machine, best first: discrete, integrated, virtual, then software.
pub fn adapters() -> Vec<AdapterDescription> {
    pollster::block_on(adapters_async())
}

/// [`adapters`] for callers that must not block.
pub async fn adapters_async() -> Vec<AdapterDescription> {
    let found = sorted().await;
    found
        .iter()
        .enumerate()
        .map(|(i, a)| describe(i, a))
        .collect()
}

async fn sorted() -> Vec<wgpu::Adapter> {
    let mut found = instance().enumerate_adapters(wgpu::Backends::all()).await;
    found.sort_by_key(|a| {
        let info = a.get_info();
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 3,
            wgpu::DeviceType::Cpu => 4,
        };
        (kind, info.backend == wgpu::Backend::Dx12)
    });
    found
}

/// The adapter at an index, the first whose name holds `requested` (case ignored), or the best.
pub(crate) async fn choose(requested: Option<&str>) -> Result<(AdapterDescription, wgpu::Adapter)> {
    let found = sorted().await;
    if found.is_empty() {
        return Err(Error::Adapter(
            "no Vulkan, Metal or DX12 adapter found; install a GPU driver, or the software one \
             (Debian/Ubuntu: apt-get install mesa-vulkan-drivers libvulkan1)"
                .into(),
        ));
    }
    let at = match requested.map(str::trim).filter(|w| !w.is_empty()) {
        None => 0,
        Some(text) => {
            let by_index = text.parse::<usize>().ok().filter(|i| *i < found.len());
            let lower = text.to_lowercase();
            let by_name = || {
                found
                    .iter()
                    .position(|a| a.get_info().name.to_lowercase().contains(&lower))
            };
            by_index.or_else(by_name).ok_or_else(|| {
                let names: Vec<String> = found
                    .iter()
                    .enumerate()
                    .map(|(i, a)| format!("{i}: {}", a.get_info().name))
                    .collect();
                Error::Adapter(format!(
                    "no adapter matches \"{text}\"; there is {} (give an index or a part of the name)",
                    names.join(", ")
                ))
            })?
        }
    };
    let adapter = found
        .into_iter()
        .nth(at)
        .ok_or_else(|| Error::Adapter("no adapter".into()))?;
    Ok((describe(at, &adapter), adapter))
}
