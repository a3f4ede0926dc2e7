//! Statistics of timings: medians, intervals without an assumed distribution, and verdicts on ratios.

use serde::{Deserialize, Serialize};

/// The confidence of the interval of one median. The ratio of two such medians then lies in the quotient of
/// their intervals with 95 %.
pub const CONFIDENCE: f64 = 0.975;

/// Samples that an interval at [`CONFIDENCE`] takes: the range of n holds the median with 1 - 2^(1 - n).
pub const ENOUGH: usize = 7;

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

/// The median; NaN without values.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which a share `q` of the values lies, interpolated between neighbours; NaN of nothing.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let sorted = sorted(values);
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let at = q * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

/// The distance of the quartiles over the median: how scattered single samples are.
pub fn spread(values: &[f64]) -> f64 {
    (quantile(values, 0.75) - quantile(values, 0.25)) / quantile(values, 0.5)
}

/// The interval that holds the true median with `confidence`, from order statistics: the k-th smallest
/// and k-th largest sample, where 2 P(B < k) <= 1 - confidence for B binomial (n, 1/2). It assumes
/// independent samples and nothing else. With too few samples for the confidence (7 give 97.5 %) it is
/// their whole range. (NaN, NaN) of nothing.
///
/// W. J. Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2.
pub fn median_interval(values: &[f64], confidence: f64) -> (f64, f64) {
    let values = sorted(values);
    let n = values.len();
    if n == 0 {
        return (f64::NAN, f64::NAN);
    }
    let allowed = (1.0 - confidence) / 2.0;
    // P(B = i) in steps, in logarithms because 2^-n is no number for many samples.
    let mut log_term = -(n as f64) * std::f64::consts::LN_2;
    let mut below = 0.0;
    let mut k = 0;
    while k < n / 2 {
        below += log_term.exp();
        if below > allowed {
            break;
        }
        log_term += ((n - k) as f64 / (k + 1) as f64).ln();
        k += 1;
    }
    // k is now the largest number with P(B < k) within the allowance.
    let at = k.saturating_sub(1);
    (values[at], values[n - 1 - at])
}

/// Which readings of a reference lie within `drift` (relative) of their median.
pub fn steady(readings: &[f64], drift: f64) -> Vec<bool> {
    let middle = median(readings);
    readings
        .iter()
        .map(|r| (r / middle - 1.0).abs() <= drift)
        .collect()
}

/// A median with its interval, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Interval {
    /// The median.
    pub median: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

impl Interval {
    /// Of samples, at [`CONFIDENCE`].
    pub fn of(samples: &[f64]) -> Self {
        let (low, high) = median_interval(samples, CONFIDENCE);
        Self {
            median: median(samples),
            low,
            high,
        }
    }

    /// The median of values with the range of eight out of ten of them. This scatter does not get narrower with more
    /// values.
    pub fn range(values: &[f64]) -> Self {
        let [low, median, high] = [0.1, 0.5, 0.9].map(|q| quantile(values, q));
        Self { median, low, high }
    }

    /// Half of the interval's width over the median: the relative uncertainty of the median.
    pub fn uncertainty(&self) -> f64 {
        (self.high - self.low) / 2.0 / self.median
    }

    /// The interval widened by an error in seconds at each end. The low end stays above 0.
    pub fn widened(&self, below: f64, above: f64) -> Interval {
        Interval {
            low: (self.low - below).max(self.low / 20.0),
            high: self.high + above,
            ..*self
        }
    }

    /// This over `other`, for medians that were measured separately; at least 95 % confidence.
    pub fn over(&self, other: &Interval) -> Interval {
        Interval {
            median: self.median / other.median,
            low: self.low / other.high,
            high: self.high / other.low,
        }
    }
}

/// The ratio `new / old` of samples taken by turns, from the ratio of each pair: a load that slows down both of a pair
/// cancels out.
pub fn paired_ratio(new: &[f64], old: &[f64]) -> Interval {
    let ratios: Vec<f64> = new.iter().zip(old).map(|(n, o)| n / o).collect();
    Interval::of(&ratios)
}

/// The verdict on a ratio of times new / old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// The whole interval lies within the band.
    Same,
    /// The new time is certainly smaller, by more than the band.
    Faster,
    /// The new time is certainly larger, by more than the band.
    Slower,
    /// The interval allows more than one answer.
    Unclear,
}

impl Verdict {
    /// `band` is the relative difference that does not matter. SAME: the whole interval is within the
    /// band. FASTER, SLOWER: the interval excludes 1 and the median is beyond the band. Else UNCLEAR.
    pub fn of(ratio: &Interval, band: f64) -> Self {
        if ratio.low >= 1.0 - band && ratio.high <= 1.0 + band {
            Verdict::Same
        } else if ratio.high < 1.0 && ratio.median < 1.0 - band {
            Verdict::Faster
        } else if ratio.low > 1.0 && ratio.median > 1.0 + band {
            Verdict::Slower
        } else {
            Verdict::Unclear
        }
    }

    /// `SAME`, `FASTER`, `SLOWER` or `UNCLEAR`.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Same => "SAME",
            Verdict::Faster => "FASTER",
            Verdict::Slower => "SLOWER",
            Verdict::Unclear => "UNCLEAR",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_spread_is_between_the_quartiles() {
        // Quartiles of 1..=5 are 2 and 4.
        assert_eq!(spread(&[5.0, 1.0, 4.0, 2.0, 3.0]), 2.0 / 3.0);
        assert_eq!(spread(&[7.0; 9]), 0.0);
    }

    #[test]
    fn intervals_are_those_of_the_tables() {
        let ordered = |n: usize| -> Vec<f64> { (1..=n).map(|i| i as f64).collect() };
        // Ranks for 95 %, as tabulated for the sign test: n = 6: 1, 10: 2, 20: 6, 50: 18, 100: 40.
        for (n, low) in [(6, 1), (10, 2), (20, 6), (50, 18), (100, 40)] {
            let (low, high) = (low as f64, (n + 1 - low) as f64);
            assert_eq!(median_interval(&ordered(n), 0.95), (low, high), "n = {n}");
        }
        // Five samples reach 93.75 % only: their whole range.
        assert_eq!(median_interval(&ordered(5), 0.95), (1.0, 5.0));
        assert_eq!(median_interval(&[3.0], 0.95), (3.0, 3.0));
        // 2^-5000 is zero as a float; the rank is near n / 2 - 1.96 sqrt(n) / 2 = 2431.
        let (low, high) = median_interval(&ordered(5000), 0.95);
        assert!((2429.0..=2433.0).contains(&low), "{low}");
        assert_eq!(low + high, 5001.0);
    }

    #[test]
    fn the_interval_holds_the_median_as_often_as_it_says() {
        // A skewed distribution with the median 0.25 (the square of a uniform number).
        let mut state = 1u64;
        let mut draw = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let uniform = (state >> 11) as f64 / (1u64 << 53) as f64;
            uniform * uniform
        };
        let trials = 4000;
        let hits = (0..trials)
            .filter(|_| {
                let samples: Vec<f64> = (0..15).map(|_| draw()).collect();
                let (low, high) = median_interval(&samples, 0.95);
                (low..=high).contains(&0.25)
            })
            .count();
        // Exactly 96.48 % for 15 samples (ranks 4 and 12); four standard deviations are 1.2 %.
        let share = hits as f64 / f64::from(trials);
        assert!((share - 0.9648).abs() < 0.012, "{share}");
    }

    #[test]
    fn an_error_that_no_sample_shows_widens() {
        let time = Interval::of(&[4.0, 5.0, 6.0]).widened(1.0, 2.0);
        assert_eq!((time.low, time.median, time.high), (3.0, 5.0, 8.0));
        assert_eq!(time.widened(9.0, 0.0).low, 0.15);
    }

    #[test]
    fn a_range_holds_most_values() {
        let values: Vec<f64> = (0..=10).map(f64::from).collect();
        let range = Interval::range(&values);
        assert_eq!((range.low, range.median, range.high), (1.0, 5.0, 9.0));
    }

    #[test]
    fn drift_is_seen() {
        let readings = [1.0, 1.02, 0.99, 1.4, 1.0, 0.7];
        let kept = [true, true, true, false, true, false];
        assert_eq!(steady(&readings, 0.1), kept);
    }

    #[test]
    fn verdicts() {
        let ratio = |low, median, high| Interval { median, low, high };
        let of = |low, median, high| Verdict::of(&ratio(low, median, high), 0.05);
        assert_eq!(of(0.97, 1.0, 1.03), Verdict::Same);
        assert_eq!(of(0.96, 0.97, 0.98), Verdict::Same);
        assert_eq!(of(0.45, 0.5, 0.55), Verdict::Faster);
        assert_eq!(of(0.93, 0.94, 0.955), Verdict::Faster);
        assert_eq!(of(1.8, 2.0, 2.2), Verdict::Slower);
        // Wide, or a difference that may or may not matter.
        assert_eq!(of(0.5, 1.0, 2.0), Verdict::Unclear);
        assert_eq!(of(0.5, 0.8, 1.1), Verdict::Unclear);
        assert_eq!(of(0.93, 0.96, 0.99), Verdict::Unclear);
        assert_eq!(of(f64::NAN, f64::NAN, f64::NAN), Verdict::Unclear);
    }

    #[test]
    fn ratios() {
        let new = Interval::of(&[1.0, 2.0, 3.0]);
        let old = Interval::of(&[4.0, 4.0, 8.0]);
        let ratio = new.over(&old);
        assert_eq!((ratio.low, ratio.median, ratio.high), (0.125, 0.5, 0.75));
        // Both get slower together: pairs tell what the medians alone do not.
        let old = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        let new = old.map(|t| t * 0.5);
        assert_eq!(paired_ratio(&new, &old).uncertainty(), 0.0);
        assert_eq!(paired_ratio(&new, &old).median, 0.5);
        let apart = Interval::of(&new).over(&Interval::of(&old));
        assert_eq!(Verdict::of(&apart, 0.05), Verdict::Unclear);
    }
}
