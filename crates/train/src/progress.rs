//! Live progress of training: one line, rewritten on a terminal, repeated now and then elsewhere.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Steps over which the time of a step is judged. The median of them shrugs off a pause for validation or a checkpoint.
const WINDOW: usize = 50;
/// On a terminal the line is rewritten at most this often.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(100);

/// The figures after a step. Numbers that are not finite are shown as they are (`NaN`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StepProgress {
    /// Steps done, the first being 1.
    pub step: u64,
    /// Epochs done, with a fraction.
    pub epoch: f64,
    /// Training loss.
    pub loss: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: Option<f64>,
    /// Tokens trained on per second.
    pub tokens_per_second: Option<f64>,
    /// The metrics of the last evaluation.
    pub metrics: Vec<(String, f64)>,
}

/// Shows progress. A closed or full output is ignored: it must not end the training.
pub struct Progress {
    out: Box<dyn Write + Send>,
    terminal: bool,
    interval: Duration,
    total_steps: u64,
    step_times: VecDeque<f64>,
    last_step: Option<(Instant, u64)>,
    last_print: Option<Instant>,
    /// The newest line that was held back for coming too soon.
    pending: Option<String>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Progress");
        out.field("total_steps", &self.total_steps);
        out.finish_non_exhaustive()
    }
}

impl Progress {
    /// Progress on standard output, rewriting one line if that is a terminal, else a line every `interval` at most
    /// (5 s is a good one), the first and the last always.
    pub fn stdout(total_steps: u64, interval: Duration) -> Progress {
        let stdout = std::io::stdout();
        let terminal = stdout.is_terminal();
        Progress::new(Box::new(stdout), terminal, total_steps, interval)
    }

    /// Progress on `out`; `terminal` is whether it understands control sequences.
    pub fn new(
        out: Box<dyn Write + Send>,
        terminal: bool,
        total_steps: u64,
        interval: Duration,
    ) -> Progress {
        Progress {
            out,
            terminal,
            interval: if terminal {
                TERMINAL_INTERVAL
            } else {
                interval
            },
            total_steps,
            step_times: VecDeque::with_capacity(WINDOW),
            last_step: None,
            last_print: None,
            pending: None,
        }
    }

    /// Takes a step into account, and shows it if it is time to.
    pub fn update(&mut self, progress: &StepProgress) {
        self.update_at(progress, Instant::now());
    }

    /// Writes a line of its own (a warning, the result of a validation) without tearing the progress line.
    pub fn message(&mut self, text: &str) {
        let clear = if self.terminal { "\r\x1b[2K" } else { "" };
        self.write(&format!("{clear}{text}\n"));
    }

    /// Shows the last step if it was held back, and ends the line. Call it when training ends, also early.
    pub fn finish(&mut self) {
        if let Some(line) = self.pending.take() {
            self.show(&line);
        }
        if self.terminal && self.last_print.is_some() {
            self.write("\n");
        }
        self.last_print = None;
    }

    /// Seconds until the last step, from the median time of the recent ones; `None` before the second step.
    pub fn eta_seconds(&self) -> Option<f64> {
        let (_, step) = self.last_step?;
        let mut times: Vec<f64> = self.step_times.iter().copied().collect();
        times.sort_unstable_by(f64::total_cmp);
        let median = times.get(times.len() / 2)?;
        Some(median * self.total_steps.saturating_sub(step) as f64)
    }

    fn update_at(&mut self, progress: &StepProgress, now: Instant) {
        if let Some((before, step)) = self.last_step {
            let steps = progress.step.saturating_sub(step);
            if steps > 0 {
                if self.step_times.len() == WINDOW {
                    self.step_times.pop_front();
                }
                let seconds = now.duration_since(before).as_secs_f64();
                self.step_times.push_back(seconds / steps as f64);
            }
        }
        self.last_step = Some((now, progress.step));
        let line = format_line(progress, self.total_steps, self.eta_seconds());
        let due = self
            .last_print
            .is_none_or(|last| now.duration_since(last) >= self.interval);
        if due || progress.step >= self.total_steps {
            self.pending = None;
            self.last_print = Some(now);
            self.show(&line);
        } else {
            self.pending = Some(line);
        }
    }

    fn show(&mut self, line: &str) {
        if self.terminal {
            // With wrapping off, a window narrower than the line cuts it; wrapped lines could not be rewritten.
            self.write(&format!("\r\x1b[2K\x1b[?7l{line}\x1b[?7h"));
        } else {
            self.write(&format!("{line}\n"));
        }
    }

    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }
}

/// The progress line, the most important first, parts that are not known left out.
pub fn format_line(progress: &StepProgress, total_steps: u64, eta_seconds: Option<f64>) -> String {
    let mut line = format!(
        "step {:>width$}/{total_steps}  epoch {:.2}",
        progress.step,
        progress.epoch,
        width = total_steps.to_string().len()
    );
    if let Some(seconds) = eta_seconds {
        line += &format!("  ETA {}", format_duration(seconds));
    }
    line += &format!(
        "  loss {:.4}  lr {}",
        progress.loss,
        format_learning_rate(progress.learning_rate)
    );
    if let Some(norm) = progress.grad_norm {
        line += &format!("  grad {norm:.3}");
    }
    if let Some(rate) = progress.tokens_per_second {
        line += &format!("  {} tok/s", format_count(rate));
    }
    for (name, value) in &progress.metrics {
        line += &format!("  eval_{name} {value:.3}");
    }
    line
}

/// A duration in at most two units: `35ms`, `4.2s`, `42s`, `1m05s`, `2h03m`, `3d04h`; `?` if negative or not finite.
pub fn format_duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "?".to_string();
    }
    // Each bound is where rounding would reach the next unit, so that nothing reads "60s".
    if seconds < 0.9995 {
        return format!("{:.0}ms", seconds * 1e3);
    }
    if seconds < 9.95 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds.round() as u64;
    let (minutes, hours) = (
        ((seconds / 60.0).round()) as u64,
        (seconds / 3600.0).round() as u64,
    );
    if whole < 60 {
        format!("{whole}s")
    } else if whole < 3600 {
        format!("{}m{:02}s", whole / 60, whole % 60)
    } else if minutes < 24 * 60 {
        format!("{}h{:02}m", minutes / 60, minutes % 60)
    } else {
        format!("{}d{:02}h", hours / 24, hours % 24)
    }
}

/// Two significant digits in scientific form, as learning rates are written: `4.2e-5`, `5e-5`, `0`.
pub fn format_learning_rate(rate: f64) -> String {
    if rate == 0.0 {
        return "0".to_string();
    }
    format!("{rate:.1e}").replace(".0e", "e")
}

/// A count or rate in at most four characters and a letter: `87`, `5.2k`, `31k`, `1.4M`.
pub fn format_count(count: f64) -> String {
    if !count.is_finite() {
        return "?".to_string();
    }
    for (unit, letter) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        // From where the smaller unit would round up to "1000".
        if count.abs() >= 0.9995 * unit {
            let scaled = count / unit;
            let digits = usize::from(scaled.abs() < 9.95);
            return format!("{scaled:.digits$}{letter}");
        }
    }
    format!("{count:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Shared {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn progress(terminal: bool, total: u64) -> (Progress, Shared) {
        let out = Shared::default();
        let progress = Progress::new(
            Box::new(out.clone()),
            terminal,
            total,
            Duration::from_secs(5),
        );
        (progress, out)
    }

    fn at(step: u64) -> StepProgress {
        StepProgress {
            step,
            ..StepProgress::default()
        }
    }

    #[test]
    fn durations() {
        for (seconds, text) in [
            (0.0, "0ms"),
            (0.0354, "35ms"),
            (0.9996, "1.0s"),
            (4.2, "4.2s"),
            (9.96, "10s"),
            (42.4, "42s"),
            (59.7, "1m00s"),
            (65.0, "1m05s"),
            (3599.6, "1h00m"),
            (7380.0, "2h03m"),
            (86_399.0, "1d00h"),
            (273_600.0, "3d04h"),
            (-1.0, "?"),
            (f64::NAN, "?"),
        ] {
            assert_eq!(format_duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn rates_and_counts() {
        assert_eq!(format_learning_rate(5e-5), "5e-5");
        assert_eq!(format_learning_rate(4.167e-5), "4.2e-5");
        assert_eq!(format_learning_rate(0.0), "0");
        assert_eq!(format_learning_rate(0.1), "1e-1");
        let counts = [
            (87.4, "87"),
            (999.6, "1.0k"),
            (5234.0, "5.2k"),
            (31_000.0, "31k"),
            (1.4e6, "1.4M"),
        ];
        for (count, text) in counts {
            assert_eq!(format_count(count), text);
        }
    }

    #[test]
    fn a_line_holds_what_is_known() {
        let full = StepProgress {
            step: 12,
            epoch: 0.5,
            loss: 0.43125,
            learning_rate: 4.2e-5,
            grad_norm: Some(2.5),
            tokens_per_second: Some(5200.0),
            metrics: vec![("accuracy".to_owned(), 0.8125), ("f1".to_owned(), 0.75)],
        };
        assert_eq!(
            format_line(&full, 900, Some(65.0)),
            "step  12/900  epoch 0.50  ETA 1m05s  loss 0.4313  lr 4.2e-5  grad 2.500  5.2k tok/s  eval_accuracy 0.812  eval_f1 0.750"
        );
        assert_eq!(
            format_line(&at(1), 900, None),
            "step   1/900  epoch 0.00  loss 0.0000  lr 0"
        );
    }

    #[test]
    fn the_eta_ignores_a_pause() {
        let (mut progress, _) = progress(false, 100);
        let start = Instant::now();
        assert_eq!(progress.eta_seconds(), None);
        for step in 1..=20 {
            // A validation of 1000 s after step 10.
            let pause = if step > 10 { 1000.0 } else { 0.0 };
            let seconds = 2.0 * step as f64 + pause;
            progress.update_at(&at(step), start + Duration::from_secs_f64(seconds));
        }
        assert!((progress.eta_seconds().unwrap() - 160.0).abs() < 1e-3);
    }

    #[test]
    fn a_pipe_gets_a_line_every_interval_and_the_last() {
        let (mut progress, out) = progress(false, 100);
        let start = Instant::now();
        for step in 1..=100 {
            progress.update_at(&at(step), start + Duration::from_secs(step));
        }
        progress.finish();
        let text = out.text();
        assert!(!text.contains(['\r', '\x1b']));
        let steps: Vec<&str> = text
            .lines()
            .filter_map(|l| l.split_whitespace().nth(1))
            .collect();
        assert_eq!(steps.len(), 21);
        assert_eq!(&steps[..3], ["1/100", "6/100", "11/100"]);
        assert_eq!(steps[20], "100/100");
    }

    #[test]
    fn stopping_early_shows_the_step_held_back() {
        let (mut progress, out) = progress(false, 100);
        let start = Instant::now();
        progress.update_at(&at(1), start);
        progress.update_at(&at(2), start + Duration::from_secs(1));
        assert!(!out.text().contains("2/100"));
        progress.finish();
        progress.finish();
        assert_eq!(out.text().matches("2/100").count(), 1);
    }

    #[test]
    fn a_terminal_rewrites_one_line_and_messages_stand_apart() {
        let (mut progress, out) = progress(true, 10);
        let start = Instant::now();
        progress.update_at(&at(1), start);
        progress.update_at(&at(2), start + Duration::from_secs(1));
        assert!(!out.text().contains('\n'));
        progress.message("saved");
        assert!(out.text().ends_with("\r\x1b[2Ksaved\n"));
        progress.update_at(&at(10), start + Duration::from_secs(2));
        progress.finish();
        assert_eq!(out.text().matches('\n').count(), 2);
    }
}
