//! How long a piece of device work takes, by the clock, many calls to one wait: as all engines of the
//! comparison are timed.

use std::time::Instant;

use anyhow::Result;
use wgrad_runtime::Device;

/// How long to measure.
#[derive(Clone, Copy)]
pub struct Budget {
    /// Seconds of calls before the first sample.
    pub settle: f64,
    /// Seconds that one sample lasts at least.
    pub sample: f64,
    /// Seconds of samples in all; there are five at least.
    pub total: f64,
}

impl Budget {
    /// What all engines of the comparison table use.
    pub const FULL: Budget = Budget {
        settle: 0.5,
        sample: 0.06,
        total: 2.0,
    };
}

/// Seconds of one call.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Of the very first call, with the compilation of its kernels and the wait for it.
    pub first: f64,
    pub median: f64,
    pub best: f64,
}

/// Times `call`, which records one piece of work and need not wait for it.
pub fn measure(
    device: &Device,
    budget: Budget,
    mut call: impl FnMut() -> Result<()>,
) -> Result<Timing> {
    device.synchronize()?;
    let mut calls = |n: usize| -> Result<f64> {
        let start = Instant::now();
        for _ in 0..n {
            call()?;
        }
        device.synchronize()?;
        Ok(start.elapsed().as_secs_f64())
    };
    let first = calls(1)?;
    let mut settled = 0;
    let start = Instant::now();
    while settled < 3 || (start.elapsed().as_secs_f64() < budget.settle && settled < 50) {
        calls(1)?;
        settled += 1;
    }
    let once = start.elapsed().as_secs_f64() / f64::from(settled);
    let n = (budget.sample / once) as usize + 1;
    let n = n.clamp(1, 100);
    let mut samples = Vec::new();
    let start = Instant::now();
    while samples.len() < 5 || (start.elapsed().as_secs_f64() < budget.total && samples.len() < 40)
    {
        samples.push(calls(n)? / n as f64);
    }
    Ok(Timing {
        first,
        median: median(&mut samples),
        best: samples[0],
    })
}

/// The middle value; sorts `values`, which must not be empty.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len().is_multiple_of(2) {
        (values[half - 1] + values[half]) / 2.0
    } else {
        values[half]
    }
}

/// The device time of `run` by kernel, the longest first: a line each.
///
/// Errors: those of `run`, an adapter without timestamps.
pub fn by_kernel(device: &Device, run: impl FnOnce() -> Result<()>) -> Result<String> {
    device.start_profile()?;
    run()?;
    let mut rows: Vec<_> = device.stop_profile()?.into_iter().collect();
    rows.sort_by(|a, b| b.1.nanoseconds.total_cmp(&a.1.nanoseconds));
    let all: f64 = rows.iter().map(|(_, row)| row.nanoseconds).sum();
    let lines = rows.iter().map(|(name, row)| {
        format!(
            "       {name:<32} {:>5} launches {:>9.2} ms {:>5.1} % {:>9.1} MB\n",
            row.launches,
            row.nanoseconds / 1e6,
            100.0 * row.nanoseconds / all,
            row.bytes as f64 / 1e6
        )
    });
    Ok(lines.collect())
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
