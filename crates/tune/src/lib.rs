//! Measuring and tuning kernels: honest timings against the adapter's measured limits, and the search
//! for a kernel's best parameters, for wgrad's own kernels and for anyone's WGSL.

pub mod bench;
pub mod tuner;
