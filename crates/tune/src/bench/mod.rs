//! Timings: samples until they are stable, medians with intervals, shares of the roofline, comparison
//! with earlier results.
//!
//! [`measure`] times one piece of device work, [`Meter`] several on one calibrated stopwatch, by turns
//! where they are to be compared.

mod meter;
#[cfg(test)]
mod meter_tests;
pub mod stats;
mod thermometer;

pub use meter::{Cache, Call, Measurement, Meter, Settings, cache_bytes, measure};
