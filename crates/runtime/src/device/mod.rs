//! Adapters, and the device opened on one.

pub(crate) mod adapter;
mod open;

pub(crate) use open::Inner;
pub use open::{Device, DeviceOptions, SelfTest};
