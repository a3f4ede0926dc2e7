//! A stopwatch that is read until it gives a time.

use anyhow::{Result, bail};
use wgrad_runtime::Stopwatch;

/// Readings that give no time in a row, at most.
const TRIES: usize = 5;

/// Seconds of `work`, which is done again where the device's stamps were equal or ran backwards: such a reading is
/// none, and counted as a very short one it would be the best of all.
pub fn seconds(watch: &mut Stopwatch, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    first_time(|| watch.time(&mut work))
}

fn first_time(mut read: impl FnMut() -> Result<f64>) -> Result<f64> {
    for _ in 0..TRIES {
        let seconds = read()?;
        if seconds > 0.0 {
            return Ok(seconds);
        }
    }
    bail!("the adapter's clock gave no time {TRIES} times in a row; is the call too short for it?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_stands_still_gives_no_sample() {
        let mut stamps = [0.0, 0.0, 3e-6].into_iter();
        let read = first_time(|| Ok(stamps.next().unwrap())).unwrap();
        assert_eq!(read, 3e-6);
        let none = first_time(|| Ok(0.0)).unwrap_err().to_string();
        assert!(none.contains("gave no time"), "{none}");
    }
}
