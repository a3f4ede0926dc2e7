//! The open device below the handle: its limits and its failures. Nothing here depends on memory, kernels or
//! recordings.

#[cfg(feature = "emulator")]
pub(crate) mod emulated;
pub(crate) mod failure;
pub(crate) mod limits;
pub(crate) mod open;
pub(crate) mod options;
