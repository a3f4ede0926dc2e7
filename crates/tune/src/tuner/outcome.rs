//! What became of a candidate.

use serde::{Deserialize, Serialize};

use super::expr::Scope;
use crate::bench::stats::Interval;

/// How a candidate ended; the names are those of results files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Built, checked and timed.
    Correct,
    /// The preprocessor, naga or the driver refused it.
    Compile,
    /// It computed something else, wrote where it must not, or not twice the same.
    Correctness,
    /// The device or the worker was lost while it ran.
    Runtime,
    /// It took longer than the limit.
    Timeout,
    /// Beyond the device's limits, or forbidden by the spec.
    Constraint,
}

impl Status {
    /// The word in results files.
    pub fn name(self) -> &'static str {
        match self {
            Status::Correct => "correct",
            Status::Compile => "compile",
            Status::Correctness => "correctness",
            Status::Runtime => "runtime",
            Status::Timeout => "timeout",
            Status::Constraint => "constraint",
        }
    }
}

/// What an emulated GPU saw of a candidate (see [`wgrad_runtime::Emulated`]): those that take the lead run there too.
/// Better ones come first.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Watched {
    /// It never led, or watching was off.
    #[default]
    No,
    /// It ran without a fault.
    Clean,
    /// Something that is not emulated, or too slow there.
    Unknown(String),
    /// A race, a stray index, a barrier that not all reach: right here by luck.
    Fault(String),
}

/// What a launch asks of a device; a table is used only where these are met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Invocations of a workgroup.
    pub invocations: u32,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u64,
}

/// One candidate at one problem size. Times in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The values of the tuned parameters.
    pub values: Scope,
    /// The index of the timed size.
    pub size: usize,
    /// How it ended.
    pub status: Status,
    /// Why it failed, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Of one launch; `None` unless correct.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Interval>,
    /// Its time over the incumbent's, from pairs of samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Interval>,
    /// The samples behind `time`, in seconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<f64>,
    /// Seconds spent on compiling.
    #[serde(default)]
    pub compile_seconds: f64,
    /// Seconds spent on checking.
    #[serde(default)]
    pub check_seconds: f64,
    /// What the kernel takes of the adapter.
    #[serde(default)]
    pub needs: Needs,
    /// What the emulated GPU saw of it.
    #[serde(default)]
    pub watched: Watched,
}

/// A candidate takes the incumbent's place if it is surely faster by this much.
const CLEARLY: f64 = 0.99;

impl Outcome {
    /// Its time over the incumbent's, if that is clearly less than 1.
    pub fn lead(&self) -> Option<f64> {
        let ratio = self.ratio.filter(|ratio| ratio.high < CLEARLY);
        ratio.map(|ratio| ratio.median)
    }

    /// One that did not get to be timed.
    pub fn failed(values: Scope, size: usize, status: Status, message: impl Into<String>) -> Self {
        let message: String = message.into();
        let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
        Outcome {
            values,
            size,
            status,
            message: Some(line),
            time: None,
            ratio: None,
            samples: Vec::new(),
            compile_seconds: 0.0,
            check_seconds: 0.0,
            needs: Needs::default(),
            watched: Watched::No,
        }
    }
}
