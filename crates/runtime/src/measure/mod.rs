//! Time on the device: by kernel, of a stretch of work, and what the adapter reaches at best.

pub(crate) mod peak;
pub(crate) mod profile;
pub(crate) mod stopwatch;
