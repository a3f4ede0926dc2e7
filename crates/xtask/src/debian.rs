//! Software Vulkan drivers from Debian's packages, unpacked to a cache folder and not installed.
//!
//! apt downloads them, with the user's own proxies, from Debian's archive into lists of its own: the machine's lists and
//! packages stay as they are. apt checks Debian's signature of the lists; the lists hold each package's SHA-256, which
//! is checked here once more. Debian's archive keeps only the newest version, so none is pinned (docs/decisions/0022).

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::fetch::Scratch;
use crate::sha256;

/// Packages of one release of Debian.
pub struct Packages {
    /// The release's name.
    pub suite: &'static str,
    /// The package that is wanted.
    pub name: &'static str,
    /// Whether everything that it depends on is fetched too, the C library included.
    pub whole: bool,
    /// The download's size in words.
    pub size: &'static str,
    /// The folder it is unpacked to, inside the cache folder.
    pub folder: &'static str,
    /// The part of the packages that is kept: a folder, and of its entries those whose names hold this.
    pub kept: (&'static str, &'static str),
}

const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Holds the packages' versions and hashes in an unpacked folder: it is whole.
const STAMP: &str = "packages.sha256";

/// A package as Debian's signed list has it.
#[derive(Debug, PartialEq)]
struct Listed {
    name: String,
    version: String,
    sha256: String,
}

/// The packages' folder in the cache, fetched if it is not whole there.
pub fn obtain(packages: &Packages, cache: &Path) -> Result<PathBuf, String> {
    let Packages { suite, name, .. } = packages;
    let target = cache.join(packages.folder);
    if target.join(STAMP).is_file() {
        println!("fetch: {name} of Debian {suite} is here already");
        return Ok(target);
    }
    if !Path::new(KEYS).is_file() {
        return Err(format!(
            "{name} of Debian {suite} cannot be checked: there is no {KEYS}; on Debian and Ubuntu install \
             debian-archive-keyring, elsewhere set VK_DRIVER_FILES to a driver and run `wgrad doctor`"
        ));
    }
    println!("fetch: {name} of Debian {suite} ({})", packages.size);
    let scratch = Scratch::new(cache)?;
    let apt = Apt::new(&scratch.0.join("apt"), &archive()?, suite)?;
    apt.run("apt-get", &["update"])?;
    let unpacked = scratch.0.join("unpacked");
    let mut stamp = String::new();
    for package in apt.download(&apt.wanted(packages)?)? {
        let file = apt.verified(&package)?;
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("-x").arg(&file).arg(&unpacked);
        output(&mut unpack)?;
        let Listed {
            name,
            version,
            sha256,
        } = package;
        stamp += &format!("{sha256}  {name} {version}\n");
    }
    let (kept, part) = packages.kept;
    let kept = unpacked.join(kept);
    let place = || -> std::io::Result<()> {
        for entry in fs::read_dir(&kept)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().contains(part) {
                continue;
            }
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
        fs::write(kept.join(STAMP), &stamp)?;
        if target.exists() {
            fs::remove_dir_all(&target)?;
        }
        fs::rename(&kept, &target)
    };
    place().map_err(|e| format!("cannot put {} in place: {e}", target.display()))?;
    print!("{stamp}");
    Ok(target)
}

/// The archive that this machine's own apt has Debian's packages from.
fn archive() -> Result<String, String> {
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(ORIGIN) $(SITE)"]);
    debian_site(&output(&mut targets)?).ok_or_else(|| {
        "apt of this machine knows no archive of Debian; add one to its sources, or set VK_DRIVER_FILES to a driver and \
         run `wgrad doctor`"
            .to_owned()
    })
}

/// The first site of Debian that is not one of security updates.
fn debian_site(targets: &str) -> Option<String> {
    let sites = targets
        .lines()
        .filter_map(|line| line.strip_prefix("Debian "));
    let mut plain = sites.filter(|site| !site.trim_end_matches('/').ends_with("-security"));
    plain.next().map(str::to_owned)
}

/// apt with a folder of its own for lists, packages and state.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn new(folder: &Path, archive: &str, suite: &str) -> Result<Apt, String> {
        let shown = folder.display();
        let lines = format!(
            "Dir::State \"{shown}\";\nDir::State::status \"{shown}/status\";\nDir::Cache \"{shown}/cache\";\n\
             Dir::Etc::sourcelist \"{shown}/sources.list\";\nDir::Etc::sourceparts \"{shown}/none\";\n\
             Acquire::Languages \"none\";\nAcquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
             APT::Sandbox::User \"root\";\nAcquire::Retries \"2\";\n"
        );
        let make = || -> std::io::Result<()> {
            fs::create_dir_all(folder.join("lists/partial"))?;
            fs::create_dir_all(folder.join("cache/archives/partial"))?;
            fs::write(folder.join("status"), "")?;
            fs::write(
                folder.join("sources.list"),
                format!("deb [signed-by={KEYS}] {archive} {suite} main\n"),
            )?;
            fs::write(folder.join("apt.conf"), lines)
        };
        make().map_err(|e| format!("cannot write to {shown}: {e}"))?;
        Ok(Apt {
            folder: folder.to_owned(),
        })
    }

    /// Standard output of one of apt's programs.
    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("APT_CONFIG", self.folder.join("apt.conf"))
            .current_dir(&self.folder);
        output(&mut command)
    }

    /// The names of the packages to download.
    fn wanted(&self, packages: &Packages) -> Result<Vec<String>, String> {
        if !packages.whole {
            return Ok(vec![packages.name.to_owned()]);
        }
        let simulated = self.run(
            "apt-get",
            &["install", "-s", "--no-install-recommends", packages.name],
        )?;
        Ok(installed(&simulated))
    }

    /// Downloads packages into the folder, all in one call: each call reads the whole list.
    fn download(&self, names: &[String]) -> Result<Vec<Listed>, String> {
        let names = names.iter().map(String::as_str);
        let show = ["show", "--no-all-versions"]
            .into_iter()
            .chain(names.clone());
        let show = self.run("apt-cache", &show.collect::<Vec<_>>())?;
        let listed: Vec<Listed> = show.split("\n\n").filter_map(described).collect();
        if let Some(missing) = names
            .clone()
            .find(|name| listed.iter().all(|package| package.name != *name))
        {
            return Err(format!(
                "Debian's list says neither version nor SHA-256 of {missing}"
            ));
        }
        let wanted: Vec<String> = listed
            .iter()
            .map(|package| format!("{}={}", package.name, package.version))
            .collect();
        let wanted = wanted.iter().map(String::as_str);
        let arguments = std::iter::once("download").chain(wanted);
        self.run("apt-get", &arguments.collect::<Vec<_>>())?;
        Ok(listed)
    }

    /// The downloaded file of a package, if it has the listed SHA-256.
    fn verified(&self, package: &Listed) -> Result<PathBuf, String> {
        let Listed {
            name,
            version,
            sha256: expected,
        } = package;
        let start = format!("{name}_");
        let found = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .find(|entry| entry.file_name().to_string_lossy().starts_with(&start));
        let file = found
            .ok_or_else(|| format!("apt-get downloaded no {name}"))?
            .path();
        let computed = File::open(&file)
            .and_then(sha256::hex)
            .map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        if &computed != expected {
            return Err(format!(
                "{name} {version} has the SHA-256 {computed}, Debian's signed list says {expected}; nothing was kept"
            ));
        }
        Ok(file)
    }
}

/// The packages that `apt-get install -s` would install.
fn installed(simulated: &str) -> Vec<String> {
    let lines = simulated
        .lines()
        .filter_map(|line| line.strip_prefix("Inst "));
    lines
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// A package's description.
fn described(show: &str) -> Option<Listed> {
    let field = |name: &str| {
        let mut lines = show.lines();
        lines.find_map(|line| line.strip_prefix(name).map(|value| value.trim().to_owned()))
    };
    Some(Listed {
        name: field("Package:")?,
        version: field("Version:")?,
        sha256: field("SHA256:").filter(|hash| hash.len() == 64)?,
    })
}

/// Standard output of a command that succeeded; else the last line that it wrote about an error.
fn output(command: &mut Command) -> Result<String, String> {
    let program: OsString = command.get_program().to_owned();
    let program = program.to_string_lossy();
    let output = command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cannot run {program}: {e}; it comes with Debian and Ubuntu"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let mut lines = stderr.lines().rev().filter(|line| !line.trim().is_empty());
    let reason = lines.next().unwrap_or("it gave no reason").to_owned();
    Err(format!(
        "{program}: {reason}; is this machine offline? Correct that and run this again"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_is_understood() {
        let simulated = "NOTE: only a simulation\nInst libc6 (2.43-7 Debian:testing [amd64])\n\
                         Inst libz1 (1.3 Debian:testing [amd64]) []\nConf libc6 (2.43-7)\n";
        assert_eq!(installed(simulated), ["libc6", "libz1"]);
        let hash = "a".repeat(64);
        let show = format!("Package: p\nVersion: 1:2.3-4\nDepends: q\nSHA256: {hash}\n");
        let listed = Listed {
            name: "p".to_owned(),
            version: "1:2.3-4".to_owned(),
            sha256: hash,
        };
        assert_eq!(described(&show), Some(listed));
        let targets =
            "Debian http://a/debian-security\nUbuntu http://b/ubuntu\nDebian http://c/debian\n";
        assert_eq!(debian_site(targets).as_deref(), Some("http://c/debian"));
        assert_eq!(debian_site("Ubuntu http://b/ubuntu"), None);
        assert_eq!(described("Package: p\nVersion: 1\nSHA256: short\n"), None);
    }

    #[test]
    fn failures_are_one_line() {
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            "echo first >&2; echo 'E: no such release' >&2; exit 100",
        ]);
        let message = output(&mut shell).unwrap_err();
        assert!(message.starts_with("sh: E: no such release; is this machine offline?"));
        let missing = output(&mut Command::new("no-such-program")).unwrap_err();
        assert!(missing.contains("cannot run no-such-program"), "{missing}");
    }
}
