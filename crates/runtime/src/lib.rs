//! The runtime of wgrad: one device, its memory, its kernels, and the recording that every launch
//! goes into. It knows WGSL and wgpu; it knows neither tensors nor gradients.
//!
//! The path of a launch: [`Device::kernel`] (source, reflection, pipeline) → [`Device::launch`]
//! (parameters, tensors, grid) → the recording → [`Device::flush`] (the only submit) →
//! [`Device::read`] (the only wait).

mod adapter;
mod device;
mod error;
mod handle;
mod kernel;
mod launch;
mod measure;
mod memory;
mod panics;
mod submit;
pub mod variants;

pub use adapter::{AdapterDescription, MatrixUnit, adapters, adapters_async};
#[cfg(feature = "emulator")]
pub use device::emulated::Emulated;
pub use device::options::DeviceOptions;
pub use error::{Error, Result};
pub use handle::{CompileTime, Device, SelfTest};
pub use kernel::reflect::{BindingInfo, BindingKind, KernelInfo, Padding, ParamInfo, reflect};
pub use kernel::source::{Defines, assemble, assemble_text};
pub use kernel::{Kernel, KernelText};
pub use launch::{Launch, MAX_GROUPS};
pub use measure::peak::Peak;
pub use measure::stopwatch::Stopwatch;
pub use memory::buffer::Buffer;
pub use memory::pack::PACK_ALIGN;
pub use memory::pool::MemoryReport;
pub use memory::transfer::TEXTURE_WIDTH;
pub use memory::watch::{Access, Watch};
pub use panics::{catch_panic, panic_is_an_error};
#[cfg(feature = "emulator")]
pub use submit::emulated::KernelCounts;
pub use submit::timestamps::KernelTime;
pub use variants::text_hash;
#[cfg(feature = "emulator")]
pub use wgrad_emulator::Counts;
