//! Axis ranges, round tick values and their texts.

/// A range of values and round numbers in it to write at an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// Value at the axis's start.
    pub min: f64,
    /// Value at its end, greater than `min`.
    pub max: f64,
    /// Distance of neighbouring ticks: 1, 2 or 5 times a power of ten.
    pub step: f64,
    /// Tick values from `min` to `max`.
    pub ticks: Vec<f64>,
}

impl Scale {
    /// A scale that holds `min..=max` with about `count` ticks; `round_ends` widens it to begin and end on a tick.
    /// Both ends must be finite; equal ends are spread.
    pub fn new(min: f64, max: f64, count: usize, round_ends: bool) -> Scale {
        let (mut min, mut max) = (min.min(max), min.max(max));
        let size = min.abs().max(max.abs());
        if max - min <= size * 1e-9 {
            let pad = if size == 0.0 { 0.5 } else { size * 0.1 };
            (min, max) = (min - pad, max + pad);
        }
        let step = round_step((max - min) / count.max(1) as f64);
        // Ticks are whole multiples of the step, so that no sum of steps drifts; the slack keeps an end that is a tick.
        let slack = 1e-9;
        let (first, last) = if round_ends {
            ((min / step + slack).floor(), (max / step - slack).ceil())
        } else {
            ((min / step - slack).ceil(), (max / step + slack).floor())
        };
        if round_ends {
            (min, max) = (first * step, last * step);
        }
        let count = (last - first).max(0.0) as usize;
        // Adding zero turns -0 into 0.
        let ticks = (0..=count)
            .map(|i| (first + i as f64) * step + 0.0)
            .collect();
        Scale {
            min,
            max,
            step,
            ticks,
        }
    }

    /// The position of `value` between the ends, 0 to 1.
    pub fn position(&self, value: f64) -> f64 {
        (value - self.min) / (self.max - self.min)
    }
}

/// The smallest of 1, 2, 5 times a power of ten that is at least `step`, a positive number.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|f| f * power >= step * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// How values of an axis are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As a number, in scientific form where it is very small or large.
    Number,
    /// A share of 1 as a percentage.
    Percent,
}

/// The text of a tick, with just the digits that tell ticks `step` apart.
pub fn format_tick(value: f64, step: f64, format: Format) -> String {
    let (value, step, unit) = match format {
        Format::Number => (value, step, ""),
        Format::Percent => (value * 100.0, step * 100.0, "%"),
    };
    let exponent = |x: f64| (x.abs().log10() + 1e-9).floor() as i32;
    if value == 0.0 {
        return format!("0{unit}");
    }
    if exponent(step) < -3 || exponent(value) >= 6 {
        let digits = (exponent(value) - exponent(step)).clamp(0, 6) as usize;
        return format!("{value:.digits$e}{unit}");
    }
    let digits = (-exponent(step)).max(0) as usize;
    format!("{}{unit}", group_thousands(&format!("{value:.digits$}")))
}

/// Commas between the thousands of a decimal number.
pub fn group_thousands(number: &str) -> String {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (number, None),
    };
    let (sign, digits) = match whole.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", whole),
    };
    let mut grouped = sign.to_string();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if let Some(fraction) = fraction {
        grouped.push('.');
        grouped.push_str(fraction);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(scale: &Scale, format: Format) -> Vec<String> {
        scale
            .ticks
            .iter()
            .map(|&t| format_tick(t, scale.step, format))
            .collect()
    }

    #[test]
    fn ticks_are_round_and_hold_the_data() {
        let loss = Scale::new(0.283, 0.71, 5, true);
        assert_eq!(
            texts(&loss, Format::Number),
            ["0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8"]
        );
        assert!(loss.min <= 0.283 && loss.max >= 0.71);
        let rate = Scale::new(0.0, 5e-5, 5, true);
        assert_eq!(
            texts(&rate, Format::Number),
            ["0", "1e-5", "2e-5", "3e-5", "4e-5", "5e-5"]
        );
        let steps = Scale::new(1.0, 12_345.0, 6, false);
        assert_eq!(texts(&steps, Format::Number), ["5,000", "10,000"]);
        assert_eq!((steps.min, steps.max), (1.0, 12_345.0));
        let accuracy = Scale::new(0.68, 0.84, 4, true);
        assert_eq!(
            texts(&accuracy, Format::Percent),
            ["65%", "70%", "75%", "80%", "85%"]
        );
        let both = Scale::new(-0.3, 0.3, 4, true);
        assert_eq!(
            texts(&both, Format::Number),
            ["-0.4", "-0.2", "0", "0.2", "0.4"]
        );
        let large = Scale::new(0.0, 2.5e9, 5, true);
        assert_eq!(texts(&large, Format::Number)[1], "5e8");
    }

    #[test]
    fn odd_ranges_give_a_usable_scale() {
        let tiny_gap = 1.0 + 1e-15;
        for (min, max) in [
            (0.0, 0.0),
            (0.7, 0.7),
            (-3.0, -3.0),
            (1.0, tiny_gap),
            (5.0, 2.0),
            (1e-30, 1e90),
            (1.0, 2.0),
        ] {
            for round_ends in [true, false] {
                let scale = Scale::new(min, max, 5, round_ends);
                assert!(
                    scale.min < scale.max && scale.step > 0.0,
                    "{min} {max} {scale:?}"
                );
                assert!(
                    (1..=13).contains(&scale.ticks.len()),
                    "{min} {max} {scale:?}"
                );
                for value in [min, max].into_iter().chain(scale.ticks.iter().copied()) {
                    assert!(
                        (-1e-6..=1.0 + 1e-6).contains(&scale.position(value)),
                        "{value} {scale:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn thousands() {
        for (number, grouped) in [
            ("1", "1"),
            ("999", "999"),
            ("1000", "1,000"),
            ("-1234567.25", "-1,234,567.25"),
        ] {
            assert_eq!(group_thousands(number), grouped);
        }
    }
}
