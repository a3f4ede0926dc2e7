//! What launches gather in, how it is submitted, and reading back.

pub(crate) mod emulated;
pub(crate) mod readback;
pub(crate) mod recording;
