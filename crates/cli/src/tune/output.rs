//! The output of `wgrad tune`: a progress line while it works, a table at the end.

use std::io::{IsTerminal, Write};

use wgrad_tune::tuner::expr::Scope;
use wgrad_tune::tuner::outcome::{Outcome, Status, Watched};
use wgrad_tune::tuner::session::{Event, Report};
use wgrad_tune::tuner::spec::show;

/// The progress line. If standard error is not a terminal, each new best gets a line on standard output.
pub struct Progress {
    name: String,
    terminal: bool,
    sizes: usize,
    rejected: usize,
    best: f64,
}

impl Progress {
    pub fn new(name: &str) -> Self {
        Progress {
            name: name.to_owned(),
            terminal: std::io::stderr().is_terminal(),
            sizes: 1,
            rejected: 0,
            best: f64::INFINITY,
        }
    }

    /// Shows an event.
    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Opened {
                machine,
                allowed,
                forbidden,
                known,
            } => {
                self.sizes = machine.bytes.len();
                let known = if *known > 0 {
                    format!(", {known} known already")
                } else {
                    String::new()
                };
                println!(
                    "{} on {}: {allowed} choices, {forbidden} more forbidden{known}",
                    self.name, machine.adapter
                );
            }
            Event::Tried {
                outcome,
                incumbent,
                tried,
                allowed,
                best,
                seconds,
            } => {
                self.rejected += usize::from(outcome.status != Status::Correct);
                let size = match self.sizes {
                    1 => String::new(),
                    n => format!("size {}/{n}, ", outcome.size + 1),
                };
                let line = format!(
                    "{seconds:6.1} s  {size}{tried}/{allowed} tried, {} rejected, best {:.2} x",
                    self.rejected,
                    1.0 / best
                );
                if self.terminal {
                    eprint!("\r\x1b[K{line}");
                    let _ = std::io::stderr().flush();
                } else if *best < self.best {
                    println!("{line}  {}", show(incumbent));
                }
                self.best = *best;
            }
        }
    }

    /// Clears the progress line.
    pub fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

/// The final table and the counts of what was rejected.
pub fn table(report: &Report) {
    let header = [
        "size", "default", "best", "speed-up", "roofline", "tried", "choice",
    ]
    .map(str::to_owned);
    let mut rows = vec![header.to_vec()];
    for row in &report.tuned {
        let speedup = &row.speedup;
        rows.push(vec![
            show(&row.sizes),
            time(row.default_time.median),
            time(row.best_time.median),
            match row.best.values == row.default {
                _ if row.no_winner.is_some() => "no winner".to_owned(),
                true if row.launch_bound => "1 x (launch-bound)".to_owned(),
                true => "1 x (the default)".to_owned(),
                false => format!(
                    "{:.2} x [{:.2}, {:.2}]",
                    speedup.median, speedup.low, speedup.high
                ),
            },
            row.roofline
                .map_or("-".into(), |share| format!("{:.0} %", 100.0 * share)),
            format!("{}{}", row.tried, if row.exhausted { " (all)" } else { "" }),
            changed(&row.best.values, &row.default),
        ]);
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|c| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0))
        .collect();
    println!();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, w)| format!("{cell:<w$}"))
            .collect();
        println!("{}", cells.join("  ").trim_end());
    }
    println!();
    for row in report.tuned.iter().filter(|row| row.launch_bound) {
        println!(
            "launch-bound at {}: a launch costs more than the kernel does in it, so no choice can be told from another; time larger sizes",
            show(&row.sizes)
        );
    }
    rejected(report);
    watched(report);
}

/// The faults that an emulated GPU found in the kernel.
fn watched(report: &Report) {
    match &report.watched {
        Watched::No => {}
        Watched::Clean => {
            println!(
                "emulated: no race, stray index or divergent barrier in the default and the best"
            );
        }
        Watched::Fault(message) => {
            println!("warning: the default breaks WGSL's rules and cannot win: {message}");
        }
        Watched::Unknown(message) => println!("not checked for races: {message}"),
    }
}

/// The number of rejected candidates for each reason, and an example of each.
fn rejected(report: &Report) {
    let counts: Vec<String> = report
        .counts
        .iter()
        .filter(|(status, count)| **status != Status::Correct && **count > 0)
        .map(|(status, count)| format!("{count} {}", status.name()))
        .collect();
    if counts.is_empty() {
        return;
    }
    println!("rejected: {}", counts.join(", "));
    for status in report.counts.keys() {
        let of_status = |o: &&Outcome| o.status == *status && o.message.is_some();
        if let Some(one) = report.outcomes.iter().find(of_status) {
            let message = one.message.as_deref().unwrap_or_default();
            let message: String = message.chars().take(200).collect();
            println!(
                "  {}, such as {}: {message}",
                status.name(),
                show(&one.values)
            );
        }
    }
}

/// The values of a choice that differ from the default.
fn changed(values: &Scope, default: &Scope) -> String {
    let mut differ = values.clone();
    differ.retain(|name, value| default.get(name) != Some(value));
    show(&differ)
}

/// Seconds in a unit that suits them.
fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", s * 1e3),
        s => format!("{:.1} us", s * 1e6),
    }
}
