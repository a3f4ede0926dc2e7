//! The recording of launches, the place that submits it, the place that waits, and reading back. Nothing here imports
//! the handle.

pub(crate) mod command;
#[cfg(feature = "emulator")]
pub(crate) mod emulated;
mod encode;
pub(crate) mod queue;
pub(crate) mod readback;
pub(crate) mod recording;
pub(crate) mod timestamps;
pub(crate) mod wait;
