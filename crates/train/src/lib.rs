//! Training, from a table of texts to a report.
//!
//! Most parts are plain structs and functions that know neither a device nor a tensor:
//! - [`data`]: TSV, CSV and JSON Lines tables of texts and labels
//! - [`sampler`]: the batches of an epoch, a pure function of seed and epoch
//! - [`metrics`]: metrics of classes, of sets of labels and of numbers, and the direction of a metric
//! - [`early_stopping`]: stopping when a metric no longer improves
//! - [`log`]: the JSON Lines log
//! - [`progress`]: the live progress line
//! - [`report`]: a self-contained HTML report with curves
//! - [`host_memory`]: how much memory is free
//! - [`fs`]: files and folders that are replaced whole or not at all
//!
//! On top of them stand [`train`], the loop over a [`Task`], and [`checkpoint`], from which it resumes.

mod arguments;
mod callbacks;
pub mod checkpoint;
pub mod data;
pub mod early_stopping;
mod fact;
pub mod fs;
pub mod host_memory;
pub mod log;
pub mod metrics;
pub mod progress;
pub mod report;
pub mod sampler;
mod strategy;
mod task;
mod trainer;

pub use arguments::TrainingArguments;
#[doc(hidden)]
pub use arguments::setting;
pub use callbacks::{Callbacks, EvalLog, Flow, OnEvaluate, OnGradients, OnStep, StepLog};
pub use early_stopping::BestMetric;
pub use fact::{ContentHash, Fact};
pub use strategy::{Steps, Strategy};
pub use task::{Evaluation, Loss, Task};
pub use trainer::{Outcome, StopReason, train};
