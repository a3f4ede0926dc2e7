//! Settings of a measurement, and its result.

use serde::{Deserialize, Serialize};

use super::stats::Interval;

/// The content of the caches when a sample starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cache {
    /// The data of the call before.
    Warm,
    /// Other data: memory larger than the last cache is copied before each sample, and a sample is one call.
    Cold,
}

/// Settings of a measurement. Times in seconds.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The longest warm-up. It ends earlier, but not before a quarter of this, when three calls in a row were no
    /// faster than those before.
    pub warmup: f64,
    /// The least time of a sample: a short call is repeated, and the mean is the sample.
    pub sample: f64,
    /// The least number of samples kept ([`ENOUGH`](super::stats::ENOUGH) for an interval).
    pub floor: usize,
    /// The largest number of samples taken.
    pub most: usize,
    /// Sampling ends when half of the median's interval is this share of the median, or less.
    pub uncertainty: f64,
    /// Sampling also ends after this time if enough samples were kept, and after four times this in any case.
    pub budget: f64,
    /// What the caches hold.
    pub cache: Cache,
    /// A sample is thrown away if the reference kernel before or behind it is off its median by more
    /// than this share. `None`: no reference kernel.
    pub drift: Option<f64>,
    /// By the host's clock, from an idle device to an idle device again, with all that launches and
    /// submits cost. Else by the device's timestamps where it has them, without the cost of launches.
    pub by_clock: bool,
}

impl Default for Settings {
    /// For a table: up to two seconds a row.
    fn default() -> Self {
        Self {
            warmup: 0.5,
            sample: 0.005,
            floor: 12,
            most: 200,
            uncertainty: 0.01,
            budget: 2.0,
            cache: Cache::Warm,
            drift: Some(0.2),
            by_clock: false,
        }
    }
}

impl Settings {
    /// For many small rows or many candidates: some hundredths of a second each.
    pub fn quick() -> Self {
        Self {
            warmup: 0.02,
            sample: 0.001,
            floor: 7,
            most: 40,
            uncertainty: 0.05,
            budget: 0.04,
            ..Self::default()
        }
    }
}

/// The result of a measurement. Times in seconds of one call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// The median of the samples kept, with its interval.
    #[serde(flatten)]
    pub time: Interval,
    /// The fastest sample.
    pub best: f64,
    /// Distance of the quartiles over the median.
    pub spread: f64,
    /// How many samples were kept.
    pub count: usize,
    /// The samples kept, in their order; empty where they were let go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<f64>,
    /// Samples thrown away because the reference kernel drifted.
    pub discarded: usize,
    /// Whether the reference kernel was steady often enough. If not, no sample was discarded.
    pub steady: bool,
    /// Calls in one sample.
    pub calls: usize,
    /// Launches of one call.
    pub launches: f64,
    /// The cost of its empty launches, subtracted from every call.
    pub overhead: f64,
    /// The first call by the clock, with the compilation of its kernels.
    pub first: f64,
    /// Whether the device's timestamps were read, not the clock.
    pub by_device: bool,
    /// Seconds of the reference kernel during the measurement, where it ran. The width of the range shows how quiet the
    /// machine was. Results of older versions lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Interval>,
}
