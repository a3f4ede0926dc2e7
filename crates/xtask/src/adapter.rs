//! Makes sure that there is a Vulkan adapter: on Linux a loader and a driver that can work here,
//! and if not, the system's software Vulkan. macOS (Metal) and Windows (DX12) bring their own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Finds an adapter's driver or installs one; the error says what to run by hand.
pub fn ensure() -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        println!("adapter: the system's own ({})", std::env::consts::OS);
        return Ok(());
    }
    let look = || {
        Found::look(
            Path::new("/"),
            &|name| std::env::var(name).ok(),
            &ldconfig(),
        )
    };
    let reason = match look().usable() {
        Ok(driver) => {
            println!("adapter: {driver}");
            return Ok(());
        }
        Err(reason) => reason,
    };
    let search: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    let Some(manager) = MANAGERS
        .iter()
        .find(|m| search.iter().any(|p| p.join(m.program).is_file()))
    else {
        return Err(format!(
            "no Vulkan adapter: {reason}, and none of apt-get, dnf, pacman, zypper and apk is here \
             to install one; install the Vulkan loader and Mesa's software driver (lavapipe), then \
             run this again"
        ));
    };
    let prefix: &[&str] = if output_of("id", &["-u"]).is_some_and(|id| id.trim() == "0") {
        &[]
    } else if output_of("sudo", &["-n", "true"]).is_some() {
        &["sudo", "-n"]
    } else {
        return Err(format!(
            "no Vulkan adapter: {reason}; run this line, then the same command again:\n{}",
            manager.line()
        ));
    };
    println!(
        "adapter: {reason}; installing {} with {}",
        manager.packages, manager.program
    );
    manager.install(prefix)?;
    match look().usable() {
        Ok(driver) => {
            println!("adapter: {driver}");
            Ok(())
        }
        Err(reason) => Err(format!(
            "no Vulkan adapter: {reason}, even after installing {} with {}",
            manager.packages, manager.program
        )),
    }
}

/// The parts of Vulkan on this machine.
#[derive(Debug, Default, PartialEq)]
struct Found {
    loader: bool,
    /// File names of the driver manifests, in the loader's order.
    drivers: Vec<String>,
    /// The variable that names the driver files, with its value, where one is set; the loader then
    /// looks nowhere else.
    named: Option<(&'static str, String)>,
    /// `/dev/dri/renderD*`: a GPU whose driver is Mesa's.
    render_node: bool,
    /// `/dev/nvidia*`: a GPU with NVIDIA's own driver.
    nvidia_node: bool,
}

impl Found {
    /// Looks below `root` (`/`, or a stand-in) with the given environment and the output of
    /// `ldconfig -p`.
    fn look(root: &Path, env: &dyn Fn(&str) -> Option<String>, ldconfig: &str) -> Self {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let below = |path: &str| root.join(path.trim_start_matches('/'));
        let named = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"]
            .into_iter()
            .find_map(|name| env(name).map(|value| (name, value)));
        let mut drivers = Vec::new();
        if let Some((_, value)) = &named {
            for file in value.split(':').filter(|file| below(file).is_file()) {
                drivers.push(file.rsplit('/').next().unwrap_or(file).to_string());
            }
        } else {
            for folder in driver_folders(&env) {
                let names = names_in(&below(&folder));
                drivers.extend(names.into_iter().filter(|name| name.ends_with(".json")));
            }
        }
        let has = |folder: &str, prefix: &str| {
            names_in(&below(folder))
                .iter()
                .any(|name| name.starts_with(prefix))
        };
        let arch = std::env::consts::ARCH;
        let mut library_folders = vec![
            "/lib".to_string(),
            "/usr/lib".to_string(),
            "/lib64".to_string(),
            "/usr/lib64".to_string(),
            "/usr/local/lib".to_string(),
            format!("/lib/{arch}-linux-gnu"),
            format!("/usr/lib/{arch}-linux-gnu"),
        ];
        if let Some(path) = env("LD_LIBRARY_PATH") {
            library_folders.extend(path.split(':').map(String::from));
        }
        Self {
            loader: ldconfig.contains("libvulkan.so.1")
                || library_folders
                    .iter()
                    .any(|f| below(f).join("libvulkan.so.1").exists()),
            drivers,
            named,
            render_node: has("/dev/dri", "renderD"),
            nvidia_node: has("/dev", "nvidia"),
        }
    }

    /// The usable adapter, or why there is none. A GPU's driver manifest without the GPU's
    /// device file does not count: distributions install all of Mesa's drivers together.
    fn usable(&self) -> Result<String, String> {
        let of = |part: &str| self.drivers.iter().any(|name| name.contains(part));
        let software = of("lvp") || of("swiftshader");
        let mesa_gpu = self.drivers.iter().any(|name| {
            !["lvp", "swiftshader", "nvidia"]
                .iter()
                .any(|part| name.contains(part))
        });
        if !self.loader {
            Err("there is no Vulkan loader (libvulkan.so.1)".to_string())
        } else if let Some((name, value)) = &self.named {
            if self.drivers.is_empty() {
                Err(format!("{name} names no file that exists (`{value}`)"))
            } else {
                Ok(format!(
                    "Vulkan driver from {name}: {}",
                    self.drivers.join(", ")
                ))
            }
        } else if self.nvidia_node && of("nvidia") {
            Ok("Vulkan with NVIDIA's driver".to_string())
        } else if self.render_node && mesa_gpu {
            Ok("Vulkan with a GPU's driver".to_string())
        } else if software {
            Ok("Vulkan in software (no GPU driver here)".to_string())
        } else if self.drivers.is_empty() {
            Err("there is no Vulkan driver".to_string())
        } else {
            Err("the Vulkan drivers here are for GPUs this machine lacks".to_string())
        }
    }
}

/// Where the Vulkan loader looks for driver manifests (Vulkan-Loader, LoaderDriverInterface.md).
fn driver_folders(env: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let home = env("HOME");
    let in_home = |name: &str, default: &str| {
        env(name).or_else(|| home.as_ref().map(|home| format!("{home}/{default}")))
    };
    let list = |name: &str, default: &str| env(name).unwrap_or_else(|| default.to_string());
    let mut bases = Vec::new();
    bases.extend(in_home("XDG_CONFIG_HOME", ".config"));
    bases.extend(
        list("XDG_CONFIG_DIRS", "/etc/xdg")
            .split(':')
            .map(String::from),
    );
    bases.push("/etc".to_string());
    bases.extend(in_home("XDG_DATA_HOME", ".local/share"));
    bases.extend(
        list("XDG_DATA_DIRS", "/usr/local/share:/usr/share")
            .split(':')
            .map(String::from),
    );
    // Built into distributions' loaders regardless of the variables.
    for fixed in ["/usr/local/share", "/usr/share", "/run/opengl-driver/share"] {
        bases.push(fixed.to_string());
    }
    let mut folders: Vec<String> = Vec::new();
    for base in bases.iter().filter(|base| base.starts_with('/')) {
        let folder = format!("{}/vulkan/icd.d", base.trim_end_matches('/'));
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// The names in a folder, sorted; none if it cannot be read.
fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn ldconfig() -> String {
    // Outside root's PATH on some systems.
    ["ldconfig", "/sbin/ldconfig"]
        .into_iter()
        .find_map(|program| output_of(program, &["-p"]))
        .unwrap_or_default()
}

/// Standard output of a command that succeeded.
fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// How a distribution installs its software Vulkan.
struct Manager {
    program: &'static str,
    /// Refreshes the package lists, where that is a step of its own.
    refresh: &'static str,
    install: &'static str,
    packages: &'static str,
}

const MANAGERS: &[Manager] = &[
    Manager {
        program: "apt-get",
        refresh: "update",
        install: "install -y --no-install-recommends",
        packages: "mesa-vulkan-drivers libvulkan1",
    },
    Manager {
        program: "dnf",
        refresh: "",
        install: "install -y",
        packages: "mesa-vulkan-drivers vulkan-loader",
    },
    Manager {
        program: "pacman",
        refresh: "",
        install: "-Sy --noconfirm --needed",
        packages: "vulkan-swrast vulkan-icd-loader",
    },
    Manager {
        program: "zypper",
        refresh: "",
        install: "--non-interactive install",
        packages: "libvulkan_lvp libvulkan1",
    },
    Manager {
        program: "apk",
        refresh: "",
        install: "add --update-cache",
        packages: "mesa-vulkan-swrast vulkan-loader",
    },
];

impl Manager {
    /// The line for a person to run.
    fn line(&self) -> String {
        let Self {
            program,
            refresh,
            install,
            packages,
        } = self;
        let install = format!("sudo {program} {install} {packages}");
        if refresh.is_empty() {
            install
        } else {
            format!("sudo {program} {refresh} && {install}")
        }
    }

    /// The words of each command, `prefix` (sudo or nothing) first.
    fn commands(&self, prefix: &[&'static str]) -> Vec<Vec<&'static str>> {
        let start: Vec<&str> = if self.program == "apt-get" {
            // Through `env`, because sudo drops variables. The lock is held for a while after
            // boot by unattended upgrades.
            let quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"];
            [prefix, &quiet, &["-o", "DPkg::Lock::Timeout=300"]].concat()
        } else {
            [prefix, &[self.program]].concat()
        };
        [(self.refresh, ""), (self.install, self.packages)]
            .into_iter()
            .filter(|(verb, _)| !verb.is_empty())
            .map(|(verb, packages)| {
                start
                    .iter()
                    .copied()
                    .chain(verb.split(' '))
                    .chain(packages.split_whitespace())
                    .collect()
            })
            .collect()
    }

    /// Runs the commands without showing their output. Only the last one must succeed: refreshing the package lists may
    /// fail because of an unrelated source.
    fn install(&self, prefix: &[&'static str]) -> Result<(), String> {
        let mut output_text = String::new();
        let mut succeeded = false;
        for words in self.commands(prefix) {
            let output = Command::new(words[0])
                .args(&words[1..])
                .stdin(Stdio::null())
                .output()
                .map_err(|e| format!("cannot run {}: {e}", words[0]))?;
            output_text += &format!("$ {}\n", words.join(" "));
            output_text += &String::from_utf8_lossy(&output.stdout);
            output_text += &String::from_utf8_lossy(&output.stderr);
            succeeded = output.status.success();
        }
        if succeeded {
            return Ok(());
        }
        let lines: Vec<&str> = output_text.lines().collect();
        let last = lines[lines.len().saturating_sub(20)..].join("\n");
        Err(format!(
            "installing {} with {} failed; correct that or run this line, then the same command \
             again:\n{}\nthe output of {}:\n{last}",
            self.packages,
            self.program,
            self.line(),
            self.program
        ))
    }
}

#[cfg(test)]
#[path = "adapter_tests.rs"]
mod tests;
