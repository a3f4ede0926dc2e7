//! `cargo xtask adapters`: the op matrix on three software drivers, which differ as GPUs' drivers do: the installed one,
//! a newer Mesa, and SwiftShader.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::debian::{self, Packages};
use crate::options::Options;
use crate::{adapter, demo, fetch, json, readable};

/// SwiftShader is a part of Chromium. Debian 12's C library is old enough for its files to run anywhere.
const SWIFTSHADER: Packages = Packages {
    suite: "bookworm",
    name: "chromium-common",
    whole: false,
    size: "27 MB",
    folder: "swiftshader",
    kept: ("usr/lib/chromium", "swiftshader"),
};

/// Mesa with its C library, which is newer than that of most machines.
const MESA: Packages = Packages {
    suite: "forky",
    name: "mesa-vulkan-drivers",
    whole: true,
    size: "90 MB",
    folder: "mesa",
    kept: ("usr", ""),
};

/// What the matrix may take on one driver.
const MOST_BYTES: u64 = 8 << 30;
const MOST_MINUTES: u64 = 10;

/// A driver, and how to run a program on it.
struct Driver {
    name: &'static str,
    /// A part of the name that its adapter has.
    adapter: &'static str,
    /// The manifest, where it is not the installed one.
    manifest: Option<PathBuf>,
    /// Words in front of the program.
    prefix: Vec<PathBuf>,
}

/// How the matrix went.
struct Run {
    passed: bool,
    text: String,
}

/// Runs `wgrad doctor` on each driver.
pub fn run(options: &Options) -> Result<(), String> {
    adapter::ensure()?;
    let cache = fetch::cache(options)?;
    let named = options.adapter.as_deref().unwrap_or("").to_lowercase();
    let mut drivers = Vec::new();
    for (name, find) in DRIVERS {
        if name.to_lowercase().contains(&named) {
            drivers.push(find(&cache)?);
        }
    }
    if drivers.is_empty() {
        let names: Vec<&str> = DRIVERS.iter().map(|(name, _)| *name).collect();
        return Err(format!(
            "--adapter `{named}` is none of {}",
            names.join(", ")
        ));
    }
    let wgrad = match &options.wgrad {
        Some(given) => given.clone(),
        None => demo::build()?,
    };
    let minutes = options.minutes.unwrap_or(MOST_MINUTES);
    let mut failed = Vec::new();
    let mut lines = Vec::new();
    for driver in &drivers {
        println!("\n{}", driver.name);
        let run = driver.doctor(&wgrad, Duration::from_secs(60 * minutes))?;
        if !run.passed {
            failed.push(driver.name);
        }
        lines.push(format!("{}: {}", driver.name, run.text));
    }
    println!("\n{}", lines.join("\n"));
    match failed.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "the op matrix did not pass on {}",
            failed.join(", ")
        )),
    }
}

type Find = fn(&Path) -> Result<Driver, String>;

const DRIVERS: [(&str, Find); 3] = [
    ("installed Mesa", |_| {
        Ok(Driver {
            name: "installed Mesa",
            adapter: "llvmpipe",
            manifest: None,
            prefix: Vec::new(),
        })
    }),
    ("newer Mesa", |cache| {
        newer_mesa(&debian::obtain(&MESA, cache)?)
    }),
    ("SwiftShader", |cache| {
        let folder = debian::obtain(&SWIFTSHADER, cache)?;
        Ok(Driver {
            name: "SwiftShader",
            adapter: "SwiftShader",
            manifest: Some(folder.join("vk_swiftshader_icd.json")),
            prefix: Vec::new(),
        })
    }),
];

/// Mesa of another release needs that release's C library: its loader runs the program with it.
fn newer_mesa(folder: &Path) -> Result<Driver, String> {
    let missing = |what: &str| {
        format!(
            "{} has no {what}; delete the folder and run this again",
            folder.display()
        )
    };
    let libraries = files(&folder.join("lib"))
        .into_iter()
        .find(|path| path.join("libvulkan_lvp.so").is_file())
        .ok_or_else(|| missing("libvulkan_lvp.so"))?;
    let loader = [libraries.clone(), folder.join("lib64"), folder.join("lib")]
        .iter()
        .flat_map(|folder| files(folder))
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("ld-linux") && path.is_file()
        })
        .ok_or_else(|| missing("ld-linux"))?;
    let manifest = files(&folder.join("share/vulkan/icd.d"))
        .into_iter()
        .find(|path| path.to_string_lossy().contains("lvp_icd"))
        .ok_or_else(|| missing("lvp_icd"))?;
    Ok(Driver {
        name: "newer Mesa",
        adapter: "llvmpipe",
        manifest: Some(manifest),
        prefix: vec![loader, "--library-path".into(), libraries],
    })
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

impl Driver {
    fn doctor(&self, wgrad: &Path, limit: Duration) -> Result<Run, String> {
        let mut words = self.prefix.clone();
        words.push(wgrad.to_owned());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(["doctor", "--json", "--adapter", self.adapter])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if let Some(manifest) = &self.manifest {
            // The second name is what older loaders read.
            command.env("VK_DRIVER_FILES", manifest);
            command.env("VK_ICD_FILENAMES", manifest);
        }
        let start = Instant::now();
        let mut child = command
            .spawn()
            .map_err(|e| format!("cannot run {}: {e}", words[0].display()))?;
        // Shown as it comes, and kept for the result at its end.
        let reader = child.stdout.take().map(|stdout| {
            std::thread::spawn(move || {
                let lines = BufReader::new(stdout).lines().map_while(Result::ok);
                lines.fold(String::new(), |text, line| {
                    println!("{line}");
                    text + &line + "\n"
                })
            })
        });
        let (stopped, peak) = watch(&mut child, limit)?;
        let text = reader
            .and_then(|reader| reader.join().ok())
            .unwrap_or_default();
        let (time, peak) = (readable(start.elapsed()), peak as f64 / (1 << 30) as f64);
        let result = json::objects(&text)
            .into_iter()
            .find(|object| object.contains_key("passed"));
        let get = |name: &str| result.as_ref().and_then(|object| object.get(name).cloned());
        let (passed, text) = match (stopped, get("passed"), get("failed"), get("skipped")) {
            (Some(why), ..) => (false, why),
            (None, Some(passed), Some(failed), Some(skipped)) => (
                failed == "0",
                format!("{passed} passed, {failed} failed, {skipped} skipped"),
            ),
            _ => (false, "it ended without a result".to_owned()),
        };
        let text = format!("{text}; {time}, {peak:.1} GiB");
        Ok(Run { passed, text })
    }
}

/// Waits for the child and ends it if it takes too long or too much memory: the reason, and the most memory it had.
fn watch(child: &mut Child, limit: Duration) -> Result<(Option<String>, u64), String> {
    let start = Instant::now();
    let mut peak = 0;
    loop {
        let ended = child.try_wait().map_err(|e| format!("cannot wait: {e}"))?;
        if ended.is_some() {
            return Ok((None, peak));
        }
        peak = peak.max(resident(child.id()));
        let reason = if peak > MOST_BYTES {
            "ended at 8 GiB of memory".to_owned()
        } else if start.elapsed() > limit {
            format!("ended after {}", readable(limit))
        } else {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        child
            .kill()
            .and_then(|()| child.wait())
            .map_err(|e| format!("cannot end it: {e}"))?;
        return Ok((Some(reason), peak));
    }
}

/// The resident bytes of a process; 0 where the system does not say.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    in_bytes(&status).unwrap_or(0)
}

fn in_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read() {
        assert_eq!(in_bytes("Name:\tx\nVmRSS:\t  2048 kB\n"), Some(2 << 20));
        assert_eq!(in_bytes("Name:\tx\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_child_that_takes_too_long_is_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let (reason, _) = watch(&mut child, Duration::from_millis(100)).unwrap();
        assert_eq!(reason.unwrap(), "ended after 0.1 s");
    }

    #[test]
    fn a_folder_without_the_driver_is_named() {
        let message = newer_mesa(Path::new("no-such-folder")).err().unwrap();
        assert!(
            message.contains("no-such-folder has no libvulkan_lvp.so"),
            "{message}"
        );
    }
}
