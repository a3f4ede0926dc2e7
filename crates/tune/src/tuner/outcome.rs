//! The outcome of a candidate.

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
    /// It computed wrong values, wrote outside of its buffers, or gave different bytes in two runs.
    Correctness,
    /// The device or the worker was lost while it ran.
    Runtime,
    /// It took longer than the limit.
    Timeout,
    /// Beyond the device's limits, or forbidden by the spec.
    Constraint,
}

impl Status {
    /// The status in results files.
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

/// The result of running a candidate on an emulated GPU (see [`wgrad_runtime::Emulated`]), as all that take the lead do.
/// Better ones come first.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Watched {
    /// It never took the lead, or emulation was off.
    #[default]
    No,
    /// It ran without a fault.
    Clean,
    /// It uses something that is not emulated, or was too slow on the emulator: it cannot win.
    Unknown(String),
    /// A race, a stray index, or a barrier that not all invocations reach: its results on this device are right by luck.
    Fault(String),
}

/// What a launch needs of a device. A table's choice is used only on devices that have it.
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
    /// The time of one launch; `None` unless the candidate is correct.
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
    /// What the kernel needs of the adapter.
    #[serde(default)]
    pub needs: Needs,
    /// The result on the emulated GPU.
    #[serde(default)]
    pub watched: Watched,
    /// Seconds that a launch costs whatever it does; `time` is without.
    #[serde(default)]
    pub launch_seconds: f64,
}

/// A candidate replaces the incumbent if it is certainly faster by this share.
const CLEARLY: f64 = 0.99;

impl Outcome {
    /// Its time over the incumbent's, if that is clearly less than 1.
    pub fn lead(&self) -> Option<f64> {
        let ratio = self.ratio.filter(|ratio| ratio.high < CLEARLY);
        ratio.map(|ratio| ratio.median)
    }

    /// Whether its figures are such as a run writes: a file may be damaged, or made by hand.
    pub fn is_sound(&self) -> bool {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let ordered = |t: &Interval| {
            positive(t.low) && t.low <= t.median && t.median <= t.high && positive(t.high)
        };
        let seconds = [
            self.compile_seconds,
            self.check_seconds,
            self.launch_seconds,
        ];
        self.time.as_ref().is_none_or(ordered)
            && self.ratio.as_ref().is_none_or(ordered)
            && (self.status == Status::Correct) == self.time.is_some()
            && self.samples.iter().all(|sample| positive(*sample))
            && seconds.iter().all(|s| s.is_finite() && *s >= 0.0)
    }

    /// A candidate that failed before it was timed.
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
            launch_seconds: 0.0,
        }
    }
}
