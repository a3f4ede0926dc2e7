//! Opening a device, and the one place that submits to it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::device::adapter::{self, AdapterDescription, MatrixUnit};
use crate::error::{Error, Result};
use crate::kernel::{Defines, Kernel};
use crate::measure::profile::Profile;
use crate::memory::pool::Pool;
use crate::submit::emulated::{Emulated, KernelCounts};
use crate::submit::readback::Staging;
use crate::submit::recording::{ARENA_BYTES, Recorder};
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
    /// Put guard bytes behind every buffer and poison fresh ones (see [`Device::check_guards`]).
    pub guard: bool,
    /// Run kernels on the host, as a GPU of this shape would, and report races and stray indices: for checks of
    /// kernels that no adapter at hand takes.
    pub emulated: Option<Emulated>,
    /// Lowers the most bytes that one kernel binding reaches, so that small tensors take the path of tensors beyond
    /// one binding: for tests.
    pub max_binding_bytes: Option<u64>,
    /// Lowers the largest buffer that the device makes, in bytes: for tests.
    pub max_buffer_bytes: Option<u64>,
    /// What an earlier [`Device::pipeline_cache`] returned on the same adapter and driver.
    pub pipeline_cache: Option<Vec<u8>>,
    /// Tuned choices of the user's own; they win over the shipped ones (see [`Device::variant`]).
    pub variants: VariantTable,
}

/// An open device. Cheap to clone; all clones are the same device.
#[derive(Clone)]
pub struct Device(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) raw: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) limits: wgpu::Limits,
    pub(crate) features: wgpu::Features,
    pub(crate) options: DeviceOptions,
    pub(crate) variants: VariantTable,
    pub(crate) description: AdapterDescription,
    pub(crate) matrix_unit: Option<MatrixUnit>,
    self_tests: Mutex<HashMap<&'static str, SelfTest>>,
    pub(crate) pipeline_cache: Option<wgpu::PipelineCache>,
    pub(crate) kernels: Mutex<HashMap<String, HashMap<Defines, Arc<Kernel>>>>,
    pub(crate) pool: Mutex<Pool>,
    pub(crate) recorder: Mutex<Recorder>,
    /// Of an emulated device, by kernel.
    pub(crate) counts: Mutex<BTreeMap<String, KernelCounts>>,
    pub(crate) staging: Mutex<Staging>,
    pub(crate) profile: Mutex<Option<Profile>>,
    failure: Arc<Mutex<Option<Failure>>>,
    ids: AtomicU64,
}

/// Whether something gives right results, or what is wrong.
pub type SelfTest = std::result::Result<(), String>;

#[derive(Debug, Clone)]
enum Failure {
    Lost(String),
    OutOfMemory,
    Refused(String),
}

impl Device {
    /// Opens the adapter that `options` names.
    pub fn open(options: DeviceOptions) -> Result<Device> {
        let (mut description, adapter) = adapter::choose(options.adapter.as_deref())?;
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
        let (asked, asked_limits) = (features, limits.clone());
        if let Some(shape) = options.emulated {
            shape.describe(&mut description, &mut features, &mut limits);
            if options.webgpu_limits {
                features.remove(beyond_webgpu());
                limits = asked_limits.clone();
            }
        }
        let matrix_unit = match options.emulated {
            Some(shape) => shape.matrix_unit,
            None => adapter::matrix_unit(&adapter),
        };
        let matrix_unit = matrix_unit
            .filter(|_| features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX))
            .filter(|unit| !unit.half || features.contains(wgpu::Features::SHADER_F16));
        let request = wgpu::DeviceDescriptor {
            label: Some("wgrad"),
            required_features: asked,
            required_limits: asked_limits,
            memory_hints: wgpu::MemoryHints::Performance,
            // SAFETY: the one experimental feature asked for is cooperative matrices; only kernels of our
            // own use them, which the shader test validates.
            experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
            ..Default::default()
        };
        let (raw, queue) = pollster::block_on(adapter.request_device(&request)).map_err(|e| {
            Error::Adapter(format!(
                "{}: the device cannot be opened: {e}",
                description.name
            ))
        })?;
        let failure = Arc::new(Mutex::new(None));
        let note = failure.clone();
        raw.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let failure = match error {
                wgpu::Error::OutOfMemory { .. } => Failure::OutOfMemory,
                refused => Failure::Refused(refused.to_string()),
            };
            if let Ok(mut slot) = note.lock() {
                slot.get_or_insert(failure);
            }
        }));
        let note = failure.clone();
        raw.set_device_lost_callback(move |reason, text| {
            if reason != wgpu::DeviceLostReason::Destroyed
                && let Ok(mut slot) = note.lock()
            {
                *slot = Some(Failure::Lost(text));
            }
        });
        let pipeline_cache = features.contains(wgpu::Features::PIPELINE_CACHE).then(|| {
            // SAFETY: the bytes come from `pipeline_cache()` below, and the driver checks their
            // header against itself and falls back to an empty cache.
            unsafe {
                raw.create_pipeline_cache(&wgpu::PipelineCacheDescriptor {
                    label: None,
                    data: options.pipeline_cache.as_deref(),
                    fallback: true,
                })
            }
        });
        let arena = raw.create_buffer(&wgpu::BufferDescriptor {
            label: Some("parameters"),
            size: ARENA_BYTES as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let stride = limits.min_uniform_buffer_offset_alignment.max(16);
        let mut variants = options.variants.clone();
        variants.extend(VariantTable::shipped());
        Ok(Device(Arc::new(Inner {
            raw,
            queue,
            limits,
            features,
            options,
            variants: variants.current(),
            description,
            matrix_unit,
            self_tests: Mutex::default(),
            pipeline_cache,
            kernels: Mutex::default(),
            pool: Mutex::default(),
            recorder: Mutex::new(Recorder::new(arena, stride)),
            counts: Mutex::default(),
            staging: Mutex::default(),
            profile: Mutex::default(),
            failure,
            ids: AtomicU64::new(1),
        })))
    }

    /// The adapter this device was opened on.
    pub fn adapter(&self) -> &AdapterDescription {
        &self.0.description
    }

    /// Whether kernels may use `f16` (`shader-f16`).
    pub fn has_f16(&self) -> bool {
        self.0.features.contains(wgpu::Features::SHADER_F16)
    }

    /// The subgroup size where it is one fixed number and kernels may use it.
    pub fn subgroup_size(&self) -> Option<u32> {
        let (low, high) = self.0.description.subgroup_sizes?;
        (low == high && self.0.features.contains(wgpu::Features::SUBGROUP)).then_some(low)
    }

    /// What the adapter's matrix units compute, where it has such units and kernels may use them.
    pub fn matrix_unit(&self) -> Option<MatrixUnit> {
        self.0.matrix_unit
    }

    /// Whether `what` passes its self-test on this device: `check` runs once. While it runs, other threads may run it
    /// too; the first result stands.
    ///
    /// # Errors
    /// What is wrong.
    pub fn self_test(&self, what: &'static str, check: impl FnOnce() -> SelfTest) -> SelfTest {
        let known = self.lock(&self.0.self_tests).get(what).cloned();
        known.unwrap_or_else(|| {
            let found = check();
            let mut self_tests = self.lock(&self.0.self_tests);
            self_tests.entry(what).or_insert(found).clone()
        })
    }

    /// Whether the device can measure itself.
    pub fn has_timestamps(&self) -> bool {
        self.0.features.contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// The most bytes of a buffer that one kernel binding can reach.
    pub fn max_binding_bytes(&self) -> u64 {
        self.0
            .limits
            .max_storage_buffer_binding_size
            .min(self.0.limits.max_buffer_size)
            & !255
    }

    /// About how many workgroups keep the whole adapter busy. No API tells how many units a GPU has.
    pub fn groups_to_fill(&self) -> usize {
        match self.0.description.device_type.as_str() {
            "DiscreteGpu" => 256,
            _ => 64,
        }
    }

    /// Workgroup memory of a kernel at most, in bytes.
    pub fn max_workgroup_bytes(&self) -> u32 {
        self.0.limits.max_compute_workgroup_storage_size
    }

    /// The largest buffer that the device makes, in bytes.
    pub fn max_buffer_bytes(&self) -> u64 {
        self.0.limits.max_buffer_size
    }

    /// The largest workgroup along x.
    pub fn max_workgroup_invocations(&self) -> u32 {
        self.0.limits.max_compute_invocations_per_workgroup
    }

    /// The driver's compiled pipelines, to be given back to [`DeviceOptions::pipeline_cache`] later.
    pub fn pipeline_cache(&self) -> Option<Vec<u8>> {
        self.0
            .pipeline_cache
            .as_ref()
            .and_then(wgpu::PipelineCache::get_data)
    }

    /// The error that came in since the last call, if any: asynchronous failures surface here.
    pub(crate) fn check(&self, recent: impl Fn() -> String) -> Result<()> {
        let mut slot = self.lock(&self.0.failure);
        match slot.clone() {
            None => Ok(()),
            Some(Failure::Lost(text)) => Err(Error::DeviceLost(text)),
            Some(Failure::OutOfMemory) => {
                *slot = None;
                drop(slot);
                Err(self.out_of_memory(format!("none was left while running [{}]", recent())))
            }
            Some(Failure::Refused(message)) => {
                *slot = None;
                Err(Error::Validation {
                    recent: recent(),
                    message,
                })
            }
        }
    }

    /// Acts as if the driver had given up on the device: for tests of recovery.
    pub fn lose(&self, reason: &str) {
        *self.lock(&self.0.failure) = Some(Failure::Lost(reason.to_owned()));
        self.0.raw.destroy();
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.0.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Locks, and goes on if another thread panicked while it held the lock: all states behind these
    /// locks are valid between any two statements that change them.
    pub(crate) fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> MutexGuard<'a, T> {
        mutex
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What [`DeviceOptions::webgpu_limits`] takes away.
fn beyond_webgpu() -> wgpu::Features {
    wgpu::Features::SUBGROUP
        | wgpu::Features::SUBGROUP_BARRIER
        | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Device({})", self.0.description.name)
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
