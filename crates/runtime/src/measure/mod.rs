//! Time on the device: by kernel, of a piece of work, and the adapter's limits.

pub(crate) mod peak;
pub(crate) mod profile;
pub(crate) mod stopwatch;
