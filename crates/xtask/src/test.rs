//! `cargo xtask test`: what must hold before a change goes in.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{adapter, cargo, readable, repository};

/// The checks, cheapest first; doc tests are part of `cargo test`.
const STEPS: &[(&str, &[&str])] = &[
    ("formatting", &["fmt", "--all", "--check"]),
    (
        "clippy",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    ),
    ("tests", &["test", "--workspace"]),
];

/// Runs the checks in order and stops at the first that fails. A missing adapter is a failure: no
/// test may pass by not running.
pub fn run() -> Result<(), String> {
    adapter::ensure()?;
    components()?;
    let mut times: Vec<(&str, Duration)> = Vec::new();
    for (name, arguments) in STEPS {
        println!("{name}: cargo {}", arguments.join(" "));
        let start = Instant::now();
        let status = Command::new(cargo())
            .args(*arguments)
            .current_dir(repository())
            .status()
            .map_err(|e| format!("cannot run cargo: {e}"))?;
        times.push((name, start.elapsed()));
        if !status.success() {
            summary(&times);
            return Err(format!(
                "{name} failed: cargo {} ({status})",
                arguments.join(" ")
            ));
        }
    }
    summary(&times);
    println!("all checks passed");
    Ok(())
}

fn summary(times: &[(&str, Duration)]) {
    for (name, time) in times {
        println!("{name}: {}", readable(*time));
    }
}

/// A toolchain of the "minimal" profile lacks rustfmt and clippy.
fn components() -> Result<(), String> {
    let missing: Vec<&str> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(command, _)| {
            !Command::new(cargo())
                .args([command, "--version"])
                .current_dir(repository())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        })
        .map(|(_, component)| component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} is missing from this Rust toolchain; add it with: rustup component add {}",
        missing.join(" and "),
        missing.join(" ")
    ))
}
