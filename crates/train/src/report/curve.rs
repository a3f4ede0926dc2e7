//! Series of points made fit to draw: smoothed, and thinned to what an eye can tell apart.

/// A point: step and value.
pub type Point = (f64, f64);

/// True for a value that can be drawn; the bound keeps sums and ranges from overflowing.
pub fn drawable(value: f64) -> bool {
    value.abs() < 1e100
}

/// Weight of the past in the moving average: it looks back over about a twentieth of the run, 5 to 50 points.
pub fn smoothing_factor(points: usize) -> f64 {
    1.0 - 1.0 / (points as f64 / 20.0).clamp(5.0, 50.0)
}

/// Exponential moving average with the bias of its start divided out (as Adam does, Kingma & Ba 2015). Values that
/// cannot be drawn are passed over.
pub fn smooth(points: &[Point], factor: f64) -> Vec<Point> {
    let (mut sum, mut weight) = (0.0, 0.0);
    let mut smoothed = Vec::with_capacity(points.len());
    for &(x, y) in points.iter().filter(|point| drawable(point.1)) {
        sum = factor * sum + (1.0 - factor) * y;
        weight = factor * weight + (1.0 - factor);
        smoothed.push((x, sum / weight));
    }
    smoothed
}

/// At most `limit` points (two at least): the first and last, and of each stretch between its lowest and highest, so
/// that spikes stay. Values that cannot be drawn stay one to a stretch, to show as a gap.
pub fn thin(points: &[Point], limit: usize) -> Vec<Point> {
    if points.len() <= limit.max(2) {
        return points.to_vec();
    }
    let [first, middle @ .., last] = points else {
        return points.to_vec();
    };
    let stretch = middle.len().div_ceil((limit.max(4) - 2) / 2);
    let mut kept = vec![*first];
    for chunk in middle.chunks(stretch) {
        if let Some(gap) = chunk.iter().find(|point| !drawable(point.1)) {
            kept.push(*gap);
            continue;
        }
        let by_value = |&a: &usize, &b: &usize| chunk[a].1.total_cmp(&chunk[b].1);
        let (low, high) = (
            (0..chunk.len()).min_by(by_value),
            (0..chunk.len()).max_by(by_value),
        );
        if let (Some(low), Some(high)) = (low, high) {
            kept.push(chunk[low.min(high)]);
            if low != high {
                kept.push(chunk[low.max(high)]);
            }
        }
    }
    kept.push(*last);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[f64]) -> Vec<Point> {
        (0u32..)
            .map(f64::from)
            .zip(values.iter().copied())
            .collect()
    }

    #[test]
    fn smoothing_keeps_a_constant_and_starts_unbiased() {
        for (_, y) in smooth(&series(&[3.0; 20]), 0.9) {
            assert!((y - 3.0).abs() < 1e-12);
        }
        // By hand: 1, (0.5·1 + 2)/1.5, (0.25·1 + 0.5·2 + 4)/1.75.
        let by_hand = [1.0, 2.5 / 1.5, 5.25 / 1.75];
        for ((_, y), expected) in smooth(&series(&[1.0, 2.0, 4.0]), 0.5).iter().zip(by_hand) {
            assert!((y - expected).abs() < 1e-12);
        }
        let with_nan = smooth(&series(&[1.0, f64::NAN, 1.0]), 0.9);
        assert_eq!(with_nan.iter().map(|p| p.0).collect::<Vec<_>>(), [0.0, 2.0]);
    }

    #[test]
    fn thinning_keeps_ends_spikes_and_gaps() {
        let mut values = vec![0.0; 10_001];
        values[7777] = 9.0;
        values[3333] = f64::NAN;
        values[10_000] = 0.5;
        let thinned = thin(&series(&values), 400);
        assert!(
            thinned.len() <= 400 && thinned.len() > 100,
            "{}",
            thinned.len()
        );
        assert_eq!(thinned.first(), Some(&(0.0, 0.0)));
        assert_eq!(thinned.last(), Some(&(10_000.0, 0.5)));
        assert!(thinned.contains(&(7777.0, 9.0)));
        assert!(thinned.iter().any(|p| p.1.is_nan()));
        assert!(thinned.windows(2).all(|w| w[0].0 < w[1].0));
        for n in 0..20 {
            assert!(thin(&series(&vec![1.0; n]), 5).len() <= n.min(5));
        }
    }
}
