//! A row of a result: what was timed, how much work it is, and what share of the roofline it reaches.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wgrad_runtime::Peak;

use super::settings::Measurement;
use super::stats::Interval;

/// What a call must do at least.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Work {
    /// Floating-point operations; a multiply-add is two.
    pub operations: f64,
    /// Bytes: each input read once and each output written once.
    pub bytes: f64,
    /// Which of the adapter's rates the operations are held against.
    #[serde(default)]
    pub unit: Unit,
}

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// f32 multiply-adds.
    #[default]
    F32,
    /// f16 multiply-adds, or cooperative matrices where the adapter has them and they are faster.
    F16,
}

impl Work {
    /// In f32.
    pub fn new(operations: f64, bytes: f64) -> Self {
        Self {
            operations,
            bytes,
            unit: Unit::F32,
        }
    }

    /// In f16.
    pub fn half(self) -> Self {
        Self {
            unit: Unit::F16,
            ..self
        }
    }
}

/// What an adapter was measured to reach: 10^9 operations and 10^9 bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Roof {
    /// 10^9 bytes a second of a copy, reads and writes counted.
    pub copy_gbps: f64,
    /// 10^9 f32 operations a second of multiply-adds, each counted as two.
    pub fma_gflops: f64,
    /// The better of f16 multiply-adds and cooperative matrices, where the adapter has either.
    pub half_gflops: Option<f64>,
}

impl From<Peak> for Roof {
    fn from(peak: Peak) -> Self {
        Self {
            copy_gbps: peak.copy_gbps,
            fma_gflops: peak.fma_gflops,
            half_gflops: [peak.fma_f16_gflops, peak.matrix_gflops]
                .into_iter()
                .flatten()
                .reduce(f64::max),
        }
    }
}

impl Roof {
    /// 10^9 operations a second at most in `unit`. f32 units can compute f16 work as well.
    pub fn gflops(&self, unit: Unit) -> f64 {
        match unit {
            Unit::F32 => self.fma_gflops,
            Unit::F16 => self.half_gflops.unwrap_or(0.0).max(self.fma_gflops),
        }
    }

    /// Whether a rate differs from that of `other` by more than 1 %.
    pub fn differs(&self, other: &Roof) -> bool {
        let rates = |r: &Roof| [r.copy_gbps, r.fma_gflops, r.half_gflops.unwrap_or(1.0)];
        let pairs = rates(self).into_iter().zip(rates(other));
        pairs.into_iter().any(|(a, b)| (a / b).ln().abs() > 0.01)
    }

    /// The least seconds for `work`: min(peak, intensity * bandwidth) as a time.
    pub fn seconds(&self, work: &Work) -> f64 {
        let compute = work.operations / (self.gflops(work.unit) * 1e9);
        compute.max(work.bytes / (self.copy_gbps * 1e9))
    }
}

/// A row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was timed; rows of two results that have the same name are compared.
    pub name: String,
    /// What the call computes and moves at least.
    #[serde(flatten)]
    pub work: Work,
    /// The timing, or why there is none.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The comparison with another row that was timed by turns with this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<Against>,
    /// Further figures of the row by name, such as dispatches.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, f64>,
}

/// How many times as fast as another row a row is: the median of the ratios of all turns, with its interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Against {
    /// The name of the other row.
    pub name: String,
    /// The time of the other row over the time of this one.
    pub times_as_fast: Interval,
}

/// How a row went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Outcome {
    /// It ran and was timed.
    Measured(Measurement),
    /// It could not run.
    Skipped {
        /// Why the row could not run here.
        skipped: String,
    },
}

impl Row {
    /// A row that was measured. Its single samples are dropped.
    pub fn measured(name: impl Into<String>, work: Work, mut measurement: Measurement) -> Self {
        measurement.samples.clear();
        Self {
            name: name.into(),
            work,
            outcome: Outcome::Measured(measurement),
            against: None,
            figures: BTreeMap::new(),
        }
    }

    /// A row that could not run.
    pub fn skipped(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            work: Work::default(),
            outcome: Outcome::Skipped {
                skipped: why.into(),
            },
            against: None,
            figures: BTreeMap::new(),
        }
    }

    /// With one more figure.
    pub fn figure(mut self, name: &str, value: f64) -> Self {
        self.figures.insert(name.to_owned(), value);
        self
    }

    /// The timing, if there is one.
    pub fn measurement(&self) -> Option<&Measurement> {
        match &self.outcome {
            Outcome::Measured(measurement) => Some(measurement),
            Outcome::Skipped { .. } => None,
        }
    }

    /// 10^9 operations a second; `None` where nothing is computed.
    pub fn gflops(&self) -> Option<f64> {
        self.rate(self.work.operations)
    }

    /// 10^9 bytes a second, of the bytes that must be moved.
    pub fn gbps(&self) -> Option<f64> {
        self.rate(self.work.bytes)
    }

    fn rate(&self, amount: f64) -> Option<f64> {
        let time = self.measurement()?.time.median;
        (amount > 0.0).then(|| amount / time / 1e9)
    }

    /// The share of the roofline: 1 is the limit of the adapter's memory or arithmetic. It exceeds 1 where caches hold
    /// the data.
    pub fn share(&self, roof: &Roof) -> Option<f64> {
        let least = roof.seconds(&self.work);
        let time = self.measurement()?.time.median;
        (least > 0.0).then(|| least / time)
    }

    /// The row as JSON, with the rates that follow from it. Figures that are no numbers, such as the loss of a step
    /// that went wrong, are left out: JSON cannot hold them.
    pub fn to_json(&self, roof: &Roof) -> serde_json::Result<Value> {
        let mut row = self.clone();
        row.figures.retain(|_, value| value.is_finite());
        let mut value = serde_json::to_value(row)?;
        let rates = [
            ("gflops", self.gflops()),
            ("gbps", self.gbps()),
            ("roofline", self.share(roof)),
        ];
        for (name, rate) in rates {
            if let Some(rate) = rate {
                value[name] = Value::from((rate * 1e4).round() / 1e4);
            }
        }
        Ok(value)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const ROOF: Roof = Roof {
        copy_gbps: 10.0,
        fma_gflops: 100.0,
        half_gflops: None,
    };

    /// A row that took `median` seconds, give or take a share.
    pub(crate) fn row(name: &str, work: Work, median: f64, share: f64) -> Row {
        let measurement = Measurement {
            time: Interval {
                median,
                low: median * (1.0 - share),
                high: median * (1.0 + share),
            },
            best: median * (1.0 - share),
            spread: share,
            count: 9,
            samples: vec![median; 9],
            discarded: 1,
            steady: true,
            calls: 3,
            launches: 2.0,
            overhead: 1e-6,
            first: 0.5,
            by_device: true,
            reference: None,
        };
        Row::measured(name, work, measurement)
    }

    #[test]
    fn the_roof_is_the_lower_of_two() {
        // 10 operations a byte is where 100 GFLOP/s meet 10 GB/s.
        let bound_by_memory = Work::new(1e9, 1e9);
        let bound_by_arithmetic = Work::new(1e11, 1e9);
        assert_eq!(ROOF.seconds(&bound_by_memory), 0.1);
        assert_eq!(ROOF.seconds(&bound_by_arithmetic), 1.0);
        assert_eq!(row("", bound_by_memory, 0.2, 0.0).share(&ROOF), Some(0.5));
        assert_eq!(row("", bound_by_memory, 0.2, 0.0).gflops(), Some(5.0));
        assert_eq!(row("", bound_by_arithmetic, 2.0, 0.0).gbps(), Some(0.5));
        // Without a rate of its own f16 is held against f32's, with a lower one too.
        assert_eq!(ROOF.seconds(&bound_by_arithmetic.half()), 1.0);
        let fast = Roof {
            half_gflops: Some(200.0),
            ..ROOF
        };
        assert_eq!(fast.seconds(&bound_by_arithmetic.half()), 0.5);
        // A launch that does nothing has no roof.
        let nothing = row("", Work::default(), 1.0, 0.0);
        assert_eq!((nothing.gflops(), nothing.share(&ROOF)), (None, None));
    }

    #[test]
    fn rows_come_back_from_json() {
        let measured =
            row("matmul", Work::new(2e9, 1e8).half(), 0.5, 0.1).figure("dispatches", 3.0);
        let skipped = Row::skipped("matrix", "not available");
        let mut faster = measured.clone();
        faster.against = Some(Against {
            name: "plain".to_owned(),
            times_as_fast: Interval {
                median: 3.0,
                low: 2.0,
                high: 4.0,
            },
        });
        for row in [measured, skipped, faster] {
            let json = row.to_json(&ROOF).unwrap();
            let back: Row = serde_json::from_value(json).unwrap();
            assert_eq!(back, row);
        }
    }
}
