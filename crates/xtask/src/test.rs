//! `cargo xtask test`: the checks that every change must pass.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{adapter, cargo, dependencies, json, pytorch, readable, repository};

/// Examples that need files from the user and are not run here.
const NEED_FILES: &[&str] = &["finetune"];

/// A check, by its name in the summary.
type Step = (&'static str, fn() -> Result<(), String>);

/// The checks, cheapest first; doc tests are part of `cargo test`.
const STEPS: &[Step] = &[
    ("formatting", || run_cargo(&["fmt", "--all", "--check"])),
    ("packages", packages),
    ("dependencies", check_dependencies),
    ("clippy", clippy),
    ("documentation", documentation),
    ("tests", || run_cargo(&["test", "--workspace"])),
    ("examples", examples),
    ("PyTorch", pytorch::compare),
];

/// Runs the checks in order and stops at the first that fails. A missing adapter is a failure: no
/// test may pass by not running.
pub fn run() -> Result<(), String> {
    adapter::ensure()?;
    components()?;
    let mut times: Vec<(&str, Duration)> = Vec::new();
    for (name, check) in STEPS {
        let start = Instant::now();
        let outcome = check();
        times.push((name, start.elapsed()));
        if let Err(message) = outcome {
            summary(&times);
            return Err(format!("{name}: {message}"));
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

/// Prints a cargo command, for people to repeat, and runs it in the repository.
fn run_cargo(arguments: &[&str]) -> Result<(), String> {
    run_cargo_with(arguments, &[])
}

fn run_cargo_with(arguments: &[&str], variables: &[(&str, &str)]) -> Result<(), String> {
    let shown: String = variables
        .iter()
        .map(|(name, value)| format!("{name}={value:?} "))
        .collect();
    let line = format!("{shown}cargo {}", arguments.join(" "));
    println!("$ {line}");
    let status = Command::new(cargo())
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .current_dir(repository())
        .status()
        .map_err(|e| format!("cannot run cargo: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{line} failed ({status})"))
    }
}

/// Every crate that is published can be packaged: complete manifests, versions beside paths.
fn packages() -> Result<(), String> {
    let package = [
        "package",
        "--workspace",
        "--exclude",
        "xtask",
        "--no-verify",
        "--allow-dirty",
        "--quiet",
    ];
    // With the index in cargo's cache this takes a second; a fresh machine has to fetch it first.
    let offline = Command::new(cargo())
        .args(package)
        .arg("--offline")
        .stderr(Stdio::null())
        .current_dir(repository())
        .status();
    if offline.is_ok_and(|status| status.success()) {
        println!("$ cargo {} --offline", package.join(" "));
        return Ok(());
    }
    run_cargo(&package)
}

/// Licences, sources and minimum Rust versions of the dependencies.
fn check_dependencies() -> Result<(), String> {
    let metadata = Command::new(cargo())
        .args(["metadata", "--format-version", "1", "--locked"])
        .stderr(Stdio::inherit())
        .current_dir(repository())
        .output()
        .map_err(|e| format!("cannot run cargo: {e}"))?;
    if !metadata.status.success() {
        return Err("cargo metadata --locked failed: is Cargo.lock up to date?".to_string());
    }
    let path = repository().join("deny.toml");
    let deny = std::fs::read_to_string(&path)
        .map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    let found = dependencies::check(&String::from_utf8_lossy(&metadata.stdout), &deny)?;
    println!("dependencies: {found}");
    if has_command("deny") {
        run_cargo(&["deny", "--offline", "check", "licenses", "bans", "sources"])
    } else {
        println!("dependencies: cargo-deny is not installed, its other checks were skipped");
        Ok(())
    }
}

/// Lints, among them `missing_docs` and uses of a standard library newer than `rust-version`.
fn clippy() -> Result<(), String> {
    run_cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ])
}

/// The documentation builds without a broken link or another warning.
fn documentation() -> Result<(), String> {
    run_cargo_with(
        &["doc", "--workspace", "--no-deps"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    )
}

/// Runs every example; each asserts what it shows.
fn examples() -> Result<(), String> {
    let all = executables()?;
    let mut examples: Vec<&PathBuf> = all
        .iter()
        .filter(|path| path.parent().is_some_and(|p| p.ends_with("examples")))
        .filter(|path| {
            !path
                .file_stem()
                .is_some_and(|stem| NEED_FILES.iter().any(|name| stem == *name))
        })
        .collect();
    examples.sort();
    if examples.is_empty() {
        return Err("cargo built no example".to_string());
    }
    for path in examples {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        println!("$ cargo run --example {name}");
        let start = Instant::now();
        let status = Command::new(path)
            .stdin(Stdio::null())
            .current_dir(repository())
            .status()
            .map_err(|e| format!("cannot run {}: {e}", path.display()))?;
        if !status.success() {
            return Err(format!("example {name} failed ({status})"));
        }
        println!("example {name}: {}", readable(start.elapsed()));
    }
    Ok(())
}

/// All programs and examples, built with the features that the tests were built with, so that nothing is
/// compiled a second time.
pub fn executables() -> Result<Vec<PathBuf>, String> {
    let output = Command::new(cargo())
        .args(["build", "--workspace", "--bins", "--examples", "--quiet"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(repository())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("cannot run cargo: {e}"))?;
    if !output.status.success() {
        return Err(format!("the build failed ({})", output.status));
    }
    Ok(json::objects(&String::from_utf8_lossy(&output.stdout))
        .iter()
        .filter_map(|message| message.get("executable"))
        .filter(|path| *path != "null")
        .map(PathBuf::from)
        .collect())
}

/// A toolchain of the "minimal" profile lacks rustfmt and clippy.
fn components() -> Result<(), String> {
    let missing: Vec<&str> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(command, _)| !has_command(command))
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

/// Whether `cargo NAME` is installed.
fn has_command(name: &str) -> bool {
    Command::new(cargo())
        .args([name, "--version"])
        .current_dir(repository())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
