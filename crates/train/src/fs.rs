//! Files and folders that are either as they were or wholly new, whenever the process dies.
//!
//! Work happens under fixed hidden names beside the final one: `.NAME.tmp` (being made, or being deleted) and
//! `.NAME.old` (the last whole version, for the moment in which the new one takes its place). Fixed names mean that a
//! leftover of a killed process is found and removed by the next; they also mean one writer for a path at a time.

mod atomic_dir;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};

pub use atomic_dir::{AtomicDir, recover};

/// Writes `bytes` to `path` so that a reader, or a crash at any moment, sees the old file or the new one, never a part:
/// to a temporary name in the same folder, flushed to the disk, renamed over `path`. A symbolic link at `path` is
/// replaced, not followed.
///
/// # Errors
/// The folder does not exist or allows no writing, or the disk is full; `path` is then as it was and the temporary
/// file is gone.
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    let names = Names::of(path)?;
    let write = || -> io::Result<()> {
        let mut file = create_anew(&names.temp)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&names.temp, path)
    };
    write().map_err(|e| {
        // Best effort: the error that matters is the first.
        let _ = fs::remove_file(&names.temp);
        anyhow!(
            "{}: cannot be written: {e}; check that its folder exists and allows writing, and that the disk has space",
            path.display()
        )
    })?;
    sync_dir(&names.parent);
    Ok(())
}

/// Makes the file `path`. What is there already is removed: a symbolic link is not followed.
fn create_anew(path: &Path) -> io::Result<File> {
    if exists(path) {
        fs::remove_file(path)?;
    }
    File::options().write(true).create_new(true).open(path)
}

/// Makes the folder `path` and its parents where missing, and writes and removes a small file in it, so that an
/// unusable output folder shows before an hour of training, not after.
///
/// # Errors
/// One line naming the folder, the reason and the fix.
pub fn ensure_writable_dir(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let shown = path.display();
    if exists(path) && !path.is_dir() {
        bail!("{shown}: is not a folder; remove it or name another output folder");
    }
    fs::create_dir_all(path).map_err(|e| {
        anyhow!("{shown}: the folder cannot be made: {e}; name another output folder or mend the parent's permissions")
    })?;
    let probe = path.join(".writable.tmp");
    let written = create_anew(&probe)
        .and_then(|mut file| file.write_all(b"x"))
        .and_then(|()| fs::remove_file(&probe));
    written.map_err(|e| {
        let _ = fs::remove_file(&probe);
        anyhow!(
            "{shown}: the folder cannot be written to: {e}; name another output folder, mend its permissions or free \
             some space"
        )
    })
}

/// The names a path's temporary and old versions go by.
#[derive(Debug)]
struct Names {
    parent: PathBuf,
    temp: PathBuf,
    old: PathBuf,
}

impl Names {
    fn of(path: &Path) -> Result<Names> {
        let Some(name) = path.file_name() else {
            bail!(
                "{}: has no name of its own to write under; name a file or folder in it",
                path.display()
            );
        };
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let hidden = |suffix: &str| {
            let mut hidden = OsString::from(".");
            hidden.push(name);
            hidden.push(suffix);
            parent.join(hidden)
        };
        Ok(Names {
            temp: hidden(".tmp"),
            old: hidden(".old"),
            parent,
        })
    }
}

/// True also for a symbolic link that leads nowhere.
fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Makes renames in `dir` outlive a power cut. Only Unix can open a folder for that, and some network file systems
/// refuse; by then the rename is done, so a refusal is no reason to call it failed.
fn sync_dir(dir: &Path) {
    if cfg!(unix) {
        let _ = File::open(dir).and_then(|dir| dir.sync_all());
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A fresh folder for one test, deleted with the value.
    pub(crate) fn test_dir(name: &str) -> TestDir {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!(
            "wgrad-train-{name}-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(unique);
        fs::create_dir_all(&path).expect("temporary folder");
        TestDir { path }
    }

    pub(crate) struct TestDir {
        path: PathBuf,
    }

    impl TestDir {
        pub(crate) fn path(&self) -> &Path {
            &self.path
        }
    }

    impl Drop for TestDir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.path);
        }
    }

    pub(super) fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub(super) fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn write_atomic_replaces_and_leaves_nothing_else() {
        let dir = test_dir("fs");
        let path = dir.path().join("a.json");
        // What a killed writer left.
        fs::write(
            dir.path().join(".a.json.tmp"),
            "half of something much longer",
        )
        .unwrap();
        write_atomic(&path, b"one").unwrap();
        assert_eq!(read(&path), "one");
        write_atomic(&path, b"two").unwrap();
        assert_eq!(read(&path), "two");
        assert_eq!(names(dir.path()), ["a.json"]);
    }

    #[test]
    fn write_atomic_cleans_up_when_it_fails() {
        let dir = test_dir("fs");
        // A folder that is not empty cannot be renamed over.
        let path = dir.path().join("taken");
        fs::create_dir_all(path.join("inside")).unwrap();
        let message = write_atomic(&path, b"x").unwrap_err().to_string();
        assert!(message.contains("taken: cannot be written"), "{message}");
        assert_eq!(names(dir.path()), ["taken"]);
        assert!(write_atomic(dir.path().join("no/a"), b"x").is_err());
        assert!(write_atomic("/", b"x").is_err());
    }

    #[test]
    fn unusable_output_folders_are_named_at_once() {
        let dir = test_dir("fs");
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below")] {
            let message = ensure_writable_dir(&path).unwrap_err().to_string();
            assert!(
                message.contains("file") && !message.contains('\n'),
                "{message}"
            );
        }
        assert!(AtomicDir::new(&file).is_err());
        let fine = dir.path().join("a/b");
        ensure_writable_dir(&fine).unwrap();
        assert!(names(&fine).is_empty());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_that_takes_no_files_is_named() {
        // The kernel refuses files here to everyone, the superuser included.
        let message = ensure_writable_dir("/proc/self").unwrap_err().to_string();
        assert!(
            message.contains("/proc/self: the folder cannot be written to"),
            "{message}"
        );
        let message = ensure_writable_dir("/proc/none").unwrap_err().to_string();
        assert!(
            message.contains("/proc/none: the folder cannot be made"),
            "{message}"
        );
    }
}
