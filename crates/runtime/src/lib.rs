//! The runtime of wgrad: one device, its memory, its kernels, and the recording that every launch
//! goes into. It knows WGSL and wgpu; it knows neither tensors nor gradients.
//!
//! The path of a launch: [`Device::kernel`] (source, reflection, pipeline) → [`Device::launch`]
//! (parameters, tensors, grid) → the recording → [`Device::flush`] (the only submit) →
//! [`Device::read`] (the only wait).

mod adapter;
mod device;
mod emulated;
mod error;
mod gather;
mod kernel;
mod launch;
mod peak;
mod pool;
mod profile;
mod readback;
mod recording;
mod stopwatch;
mod texture;
pub mod variants;

pub use adapter::{AdapterDescription, MatrixUnit, adapters};
pub use device::{Device, DeviceOptions, Verdict};
pub use emulated::{Counts, Emulated, KernelCounts};
pub use error::{Error, Result};
pub use gather::GATHER_ALIGN;
pub use kernel::reflect::{BindingInfo, BindingKind, KernelInfo, ParamInfo, reflect};
pub use kernel::source::{Defines, assemble, assemble_text};
pub use kernel::{Kernel, KernelText};
pub use launch::{Launch, MAX_GROUPS};
pub use peak::Peak;
pub use pool::{Buffer, MemoryReport};
pub use profile::KernelTime;
pub use readback::panic_is_an_error;
pub use stopwatch::Stopwatch;
pub use texture::TEXTURE_WIDTH;
pub use variants::text_hash;
