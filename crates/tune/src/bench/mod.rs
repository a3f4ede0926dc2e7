//! Timings: samples until they are stable, medians with intervals, shares of the roofline, comparison
//! with earlier results.
//!
//! [`measure`] times one piece of device work, [`Meter`] several on one calibrated stopwatch, by turns
//! where they are to be compared. A [`Bench`] gathers rows of such timings into [`Results`].

pub mod attention;
mod clock;
mod compare;
pub mod format;
mod launch_cost;
pub mod matmul;
mod meter;
#[cfg(test)]
mod meter_tests;
pub mod ops;
pub mod peak;
pub mod report;
mod results;
mod row;
pub mod rows;
mod session;
mod settings;
pub mod stats;
mod thermometer;
pub mod values;

pub use compare::{BAND, Compared};
pub use meter::{Call, Meter, cache_bytes, measure};
pub use results::{Results, check_name};
pub use row::{Against, Outcome, Roof, Row, Unit, Work};
pub use session::{Bench, Way};
pub use settings::{Cache, Measurement, Settings};
