//! The cost of an empty launch. It is subtracted for every launch of a measured call.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use wgrad_runtime::{Buffer, Defines, Device, Kernel, Stopwatch};

use super::clock;
use super::stats::{self, Interval};

/// Empty launches in one reading.
const LAUNCHES: u32 = 64;
/// Readings taken at the start.
const FIRST: usize = 16;
/// Readings kept; a new one replaces the oldest.
const KEPT: usize = 48;

/// The costs of measuring itself, measured again while the rows are measured.
pub struct LaunchCost {
    device: Device,
    kernel: Arc<Kernel>,
    y: Buffer,
    /// Seconds of a reading with nothing in it.
    empty: f64,
    /// Seconds of an empty launch among others.
    readings: VecDeque<f64>,
    /// The same by the host's clock, with submit and wait: an upper bound of the device's share.
    by_clock: f64,
}

impl LaunchCost {
    /// Some milliseconds.
    pub fn new(device: &Device, watch: &mut Stopwatch) -> Result<Self> {
        let mut empty = Vec::new();
        for _ in 0..16 {
            empty.push(clock::seconds(watch, || Ok(()))?);
        }
        let mut this = Self {
            device: device.clone(),
            kernel: device.kernel("peak_empty", &Defines::new())?,
            y: device.alloc(4)?,
            empty: stats::quantile(&empty[1..], 0.5),
            readings: VecDeque::new(),
            by_clock: f64::INFINITY,
        };
        // The first compiles.
        this.read(watch)?;
        this.readings.clear();
        for _ in 0..FIRST {
            this.read(watch)?;
        }
        Ok(this)
    }

    /// Takes one more reading.
    pub fn read(&mut self, watch: &mut Stopwatch) -> Result<()> {
        self.device.synchronize()?;
        let mut start = Instant::now();
        let seconds = clock::seconds(watch, || {
            start = Instant::now();
            for _ in 0..LAUNCHES {
                self.device.launch(&self.kernel).bind(&self.y).groups(1)?;
            }
            Ok(())
        })?;
        let each = f64::from(LAUNCHES);
        self.by_clock = self.by_clock.min(start.elapsed().as_secs_f64() / each);
        self.readings
            .push_back((seconds - self.empty).max(0.0) / each);
        if self.readings.len() > KEPT {
            self.readings.pop_front();
        }
        Ok(())
    }

    /// Seconds of a reading with nothing in it.
    pub fn empty(&self) -> f64 {
        self.empty
    }

    /// Seconds of an empty launch.
    pub fn seconds(&self) -> Interval {
        estimate(self.readings.iter().copied(), self.by_clock)
    }
}

/// The lower quartile, because other programs can only add time. At most `most`.
fn estimate(readings: impl Iterator<Item = f64>, most: f64) -> Interval {
    let readings: Vec<f64> = readings.map(|seconds| seconds.min(most)).collect();
    let [low, median, high] = [0.0, 0.25, 0.5].map(|q| stats::quantile(&readings, q));
    Interval { median, low, high }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_does_not_raise_the_launch_cost() {
        // Half of the readings were disturbed.
        let readings = [14.0, 15.0, 14.0, 33.0, 35.0, 14.0, 16.0, 40.0, 31.0];
        let cost = estimate(readings.into_iter(), f64::INFINITY);
        assert_eq!((cost.low, cost.median, cost.high), (14.0, 14.0, 16.0));
        // The device cannot take longer than the host waited for it.
        let cost = estimate(readings.into_iter(), 9.0);
        assert_eq!((cost.low, cost.median, cost.high), (9.0, 9.0, 9.0));
    }
}
