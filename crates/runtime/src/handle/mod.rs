//! The device as callers hold it: a handle over memory, kernels and a recording, which do not import it.

mod capabilities;
mod compile_times;
mod kernels;
mod memory;
mod read;
mod self_tests;
mod submit;

use std::sync::{Arc, Mutex, MutexGuard};

use crate::device::open::Gpu;
use crate::device::options::DeviceOptions;
use crate::error::Result;
use crate::kernel::Kernels;
use crate::memory::pool::Pool;
use crate::memory::staging::Staging;
#[cfg(feature = "emulator")]
use crate::submit::emulated::Counted;
use crate::submit::recording::Recorder;
use crate::submit::timestamps::Profile;
use crate::submit::wait::Waiter;
use crate::variants::VariantTable;
use self_tests::SelfTests;

pub use compile_times::CompileTime;
pub use self_tests::SelfTest;

/// An open device. Cheap to clone; all clones are the same device.
#[derive(Clone)]
pub struct Device(pub(crate) Arc<Inner>);

/// The parts of a device. Locks are taken in this order: recorder; then one of profile, counts, or those within the
/// pool and staging. No thread waits for the device while it holds one, but for an emulated device's launches.
pub(crate) struct Inner {
    pub(crate) gpu: Arc<Gpu>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) kernels: Kernels,
    pub(crate) variants: VariantTable,
    pub(crate) recorder: Mutex<Recorder>,
    pub(crate) staging: Staging,
    pub(crate) profile: Mutex<Option<Profile>>,
    /// The counts of an emulated device, by kernel.
    #[cfg(feature = "emulator")]
    pub(crate) counted: Mutex<Counted>,
    self_tests: Mutex<SelfTests>,
    waiter: Waiter,
}

impl Device {
    /// Opens the adapter that `options` names.
    pub fn open(options: DeviceOptions) -> Result<Device> {
        pollster::block_on(Self::open_async(options))
    }

    /// [`Device::open`] for callers that must not block.
    pub async fn open_async(options: DeviceOptions) -> Result<Device> {
        let mut variants = options.variants.clone();
        variants.extend(VariantTable::shipped());
        let gpu = Arc::new(Gpu::open(options).await?);
        Ok(Device(Arc::new(Inner {
            pool: Pool::new(gpu.clone()),
            kernels: Kernels::default(),
            variants: variants.current(),
            recorder: Mutex::new(Recorder::new(&gpu)),
            staging: Staging::default(),
            profile: Mutex::default(),
            #[cfg(feature = "emulator")]
            counted: Mutex::default(),
            self_tests: Mutex::default(),
            waiter: Waiter::default(),
            gpu,
        })))
    }

    /// Locks, even if another thread panicked while it held the lock: the states behind these locks are valid after
    /// every statement that changes them.
    pub(crate) fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> MutexGuard<'a, T> {
        mutex
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.gpu.label())
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
