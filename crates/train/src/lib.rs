//! Training, from a table of texts to a report.
//!
//! Most parts are plain structs and functions that know neither a device nor a tensor:
//! - [`data`]: TSV, CSV and JSON Lines tables of texts and labels
//! - [`sampler`]: the batches of an epoch, a pure function of seed and epoch
//! - [`metrics`]: accuracy, precision, recall, F1, Matthews correlation, confusion matrix
//! - [`early_stopping`]: stopping when a metric no longer improves
//! - [`log`]: the JSON Lines log
//! - [`progress`]: the live progress line
//! - [`report`]: a self-contained HTML report with curves
//! - [`fs`]: files and folders that are replaced whole or not at all
//!
//! On top of them stand [`trainer`], the loop, and [`checkpoint`], from which it resumes.

pub mod checkpoint;
pub mod data;
pub mod early_stopping;
pub mod fs;
pub mod log;
pub mod metrics;
pub mod progress;
pub mod report;
pub mod sampler;
pub mod trainer;
