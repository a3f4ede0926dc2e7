//! Set-up and checks on a fresh machine: `cargo xtask demo`, `fetch`, `test` and `adapters`.
//!
//! Uses only the standard library, so that it builds in seconds and works on machines where the rest does not build
//! yet.

mod adapter;
mod adapters;
mod chat;
mod dataset;
mod debian;
mod demo;
mod dependencies;
mod fetch;
mod interrupt;
mod json;
mod options;
mod packages;
mod plan;
mod pytorch;
mod sha256;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use options::Options;

const USAGE: &str = "\
usage: cargo xtask <command> [options]

commands:
  demo    fine-tune a pretrained BERT on movie reviews and show what it learnt:
          finds or installs a Vulkan adapter, builds, fetches model and data, trains
  demo chat
          let a small language model answer two questions, then yours from standard input
  fetch   only fetch and unpack model and data, and print the two folders
  test    find or install a Vulkan adapter, then check formatting, packages, dependencies, lints
          and documentation, run all tests and examples, and compare with PyTorch where it is installed
  adapters
          run the op matrix (`wgrad doctor`) on three software drivers: the installed Mesa, and a
          newer Mesa and SwiftShader, which are fetched from Debian into the cache folder

options of demo:
  --small             short run for a machine without GPU (chosen by itself there)
  --full              one full epoch over the whole model (chosen by itself on a GPU)
  --adapter NAME      index or part of the name of the adapter, as `wgrad info` lists them
  --output_dir DIR    where the fine-tuned model and the report go
options of adapters:
  --adapter NAME      only the drivers with this part in their names
  --minutes N         the time that the matrix may take on each (else 10)
  --wgrad FILE        the program to run (else one is built)
options of demo, demo chat, fetch and adapters:
  --cache-dir DIR     where model, data and drivers are kept (else the user's cache folder)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, mut rest)) = arguments.split_first() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let chat = command == "demo" && rest.first().is_some_and(|word| word == "chat");
    if chat {
        rest = &rest[1..];
    }
    let accepted: &[&str] = match command.as_str() {
        "demo" if chat => &["adapter", "cache_dir"],
        "demo" => &["small", "full", "adapter", "output_dir", "cache_dir"],
        "fetch" => &["cache_dir"],
        "test" => &[],
        "adapters" => &["adapter", "cache_dir", "minutes", "wgrad"],
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => {
            eprintln!("error: there is no command `{other}`\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if rest.iter().any(|a| a == "--help" || a == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(rest, accepted) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("error: {message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let outcome = match command.as_str() {
        "demo" if chat => chat::run(&options),
        "demo" => demo::run(&options),
        "fetch" => fetch::run(&options),
        "adapters" => adapters::run(&options),
        _ => test::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's top folder.
fn repository() -> PathBuf {
    // Cargo sets the variable for `cargo run`; the compiled-in path serves a binary run directly.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest
        .ancestors()
        .nth(2)
        .map(PathBuf::from)
        .unwrap_or(manifest)
}

/// The cargo that runs this program.
fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// `75.3 s` below two minutes, `2 min 05 s` above.
fn readable(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 120.0 {
        format!("{seconds:.1} s")
    } else {
        let whole = seconds.round() as u64;
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        assert_eq!(readable(Duration::from_millis(75_340)), "75.3 s");
        assert_eq!(readable(Duration::from_millis(125_000)), "2 min 05 s");
        assert_eq!(readable(Duration::from_millis(3_599_900)), "60 min 00 s");
    }

    #[test]
    fn repository_holds_this_crate() {
        assert!(repository().join("crates/xtask/Cargo.toml").is_file());
    }
}
