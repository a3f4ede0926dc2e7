//! The runtime of wgrad: one device, its memory, its kernels, and the recording that every launch
//! goes into. It knows WGSL and wgpu; it knows neither tensors nor gradients.
//!
//! The path of a launch: [`Device::kernel`] (source, reflection, pipeline) → [`Device::launch`]
//! (parameters, tensors, grid) → the recording → [`Device::flush`] (the only submit) →
//! [`Device::read`] (the only wait).

mod device;
mod error;
mod kernel;
mod launch;
mod measure;
mod memory;
mod submit;
pub mod variants;

pub use device::adapter::{AdapterDescription, MatrixUnit, adapters};
pub use device::{Device, DeviceOptions, SelfTest};
pub use error::{Error, Result};
pub use kernel::reflect::{BindingInfo, BindingKind, KernelInfo, ParamInfo, reflect};
pub use kernel::source::{Defines, assemble, assemble_text};
pub use kernel::{Kernel, KernelText};
pub use launch::{Launch, MAX_GROUPS};
pub use measure::peak::Peak;
pub use measure::profile::KernelTime;
pub use measure::stopwatch::Stopwatch;
pub use memory::pack::PACK_ALIGN;
pub use memory::pool::{Buffer, MemoryReport};
pub use memory::texture::TEXTURE_WIDTH;
pub use submit::emulated::{Counts, Emulated, KernelCounts};
pub use submit::readback::panic_is_an_error;
pub use variants::text_hash;
