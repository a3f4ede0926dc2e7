//! Reads the stopwatch again until it gives a valid time.

use anyhow::{Result, bail};
use wgrad_runtime::Stopwatch;

/// Consecutive invalid readings that are accepted before giving up.
const TRIES: usize = 5;

/// Seconds of `work`. Repeats the work while the device's timestamps are equal or run backwards: such a reading is
/// invalid, and would be taken for the fastest of all.
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
