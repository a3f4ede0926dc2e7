//! Files and folders that are either as they were or wholly new, whenever the process dies.
//!
//! Work happens under fixed hidden names beside the final one: `.NAME.tmp` (being made, or being deleted) and
//! `.NAME.old` (the last whole version, for the moment in which the new one takes its place). Fixed names mean that a
//! leftover of a killed process is found and removed by the next; they also mean one writer for a path at a time.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};

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
        let mut file = File::create(&names.temp)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&names.temp, path)?;
        sync_dir(&names.parent)
    };
    write().map_err(|e| {
        // Best effort: the error that matters is the first.
        let _ = fs::remove_file(&names.temp);
        anyhow!(
            "{}: cannot be written: {e}; check that its folder exists and allows writing, and that the disk has space",
            path.display()
        )
    })
}

/// A folder filled under a temporary name that then takes the place of `final_path` as a whole.
///
/// What a kill leaves, by the moment it strikes, and what [`recover`] makes of it:
/// - while the folder is filled or flushed: `final_path` untouched, a partial `.NAME.tmp`, which is removed;
/// - after the old folder was moved aside: no `final_path`, the old one whole as `.NAME.old`, which is put back;
/// - after the new folder moved in: the new one whole at `final_path`, the old as `.NAME.old`, which is removed;
/// - while the old one is deleted: the new one whole, a partial `.NAME.tmp`, which is removed.
///
/// So `.NAME.old` is always a whole folder. Dropped without [`AtomicDir::commit`], the temporary folder is deleted.
#[derive(Debug)]
pub struct AtomicDir {
    final_path: PathBuf,
    names: Names,
    committed: bool,
}

impl AtomicDir {
    /// Makes the empty temporary folder beside `final_path`, and the parents of both. Calls [`recover`] first.
    ///
    /// # Errors
    /// `final_path` is a file or has no name of its own (`/`, `..`), or the folder cannot be made.
    pub fn new(final_path: impl AsRef<Path>) -> Result<AtomicDir> {
        let final_path = final_path.as_ref();
        let names = Names::of(final_path)?;
        if final_path.is_file() {
            bail!(
                "{}: is a file where a folder is to be written; remove it or name another folder",
                final_path.display()
            );
        }
        recover(final_path)?;
        fs::create_dir_all(&names.parent)
            .and_then(|()| fs::create_dir(&names.temp))
            .map_err(|e| cannot_write(final_path, &e))?;
        Ok(AtomicDir {
            final_path: final_path.to_path_buf(),
            names,
            committed: false,
        })
    }

    /// The temporary folder, to be filled.
    pub fn path(&self) -> &Path {
        &self.names.temp
    }

    /// Flushes all files to the disk and puts the folder in the place of the final one.
    ///
    /// # Errors
    /// A file cannot be flushed or a folder not renamed; the final folder is then the old one, as it was.
    pub fn commit(mut self) -> Result<()> {
        let Names { parent, temp, old } = &self.names;
        let fail = |e: io::Error| cannot_write(&self.final_path, &e);
        sync_tree(temp).map_err(fail)?;
        let had_old = exists(&self.final_path);
        if had_old {
            fs::rename(&self.final_path, old).map_err(fail)?;
        }
        if let Err(e) = fs::rename(temp, &self.final_path) {
            if had_old {
                fs::rename(old, &self.final_path).map_err(fail)?;
            }
            return Err(fail(e));
        }
        self.committed = true;
        // Deleting the old one must not overtake the renames on their way to the disk.
        sync_dir(parent).map_err(fail)?;
        if had_old {
            discard(old, temp).map_err(fail)?;
        }
        Ok(())
    }
}

impl Drop for AtomicDir {
    fn drop(&mut self) {
        if !self.committed {
            // A leftover is harmless: the next run's `recover` removes it.
            let _ = fs::remove_dir_all(&self.names.temp);
        }
    }
}

/// Cleans up after a process killed in [`AtomicDir::commit`] or [`write_atomic`]: puts `.NAME.old` back if `final_path`
/// is missing, else deletes it, and deletes `.NAME.tmp`. Call it before reading `final_path`; with nothing to do it
/// does nothing.
///
/// # Errors
/// A leftover can be neither renamed nor deleted.
pub fn recover(final_path: impl AsRef<Path>) -> Result<()> {
    let final_path = final_path.as_ref();
    let Names { temp, old, .. } = Names::of(final_path)?;
    let run = || -> io::Result<()> {
        if exists(&temp) {
            remove(&temp)?;
        }
        if exists(&old) {
            if exists(final_path) {
                discard(&old, &temp)?;
            } else {
                fs::rename(&old, final_path)?;
            }
        }
        Ok(())
    };
    run().map_err(|e| {
        anyhow!(
            "{}: cannot clean up what an earlier run left ({} or {}): {e}; check the folder's permissions",
            final_path.display(),
            temp.display(),
            old.display()
        )
    })
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
    let written = fs::write(&probe, b"x").and_then(|()| fs::remove_file(&probe));
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

fn cannot_write(path: &Path, e: &io::Error) -> anyhow::Error {
    anyhow!(
        "{}: the folder cannot be written: {e}; check the permissions of the folder it lies in and the space on the disk",
        path.display()
    )
}

/// True also for a symbolic link that leads nowhere.
fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

/// Deletes `old` under the name `temp`, so that whatever is called `old` is whole.
fn discard(old: &Path, temp: &Path) -> io::Result<()> {
    fs::rename(old, temp)?;
    remove(temp)
}

fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync_tree(&entry.path())?;
        } else if kind.is_file() {
            // Windows flushes only a file opened for writing.
            OpenOptions::new()
                .write(true)
                .open(entry.path())?
                .sync_all()?;
        }
    }
    sync_dir(dir)
}

/// Makes renames in `dir` outlive a power cut; only Unix can open a folder for that.
fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// A fresh folder for one test, deleted with the value.
#[cfg(test)]
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

#[cfg(test)]
pub(crate) struct TestDir {
    path: PathBuf,
}

#[cfg(test)]
impl TestDir {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn read(path: &Path) -> String {
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

    fn save(path: &Path, text: &str) -> Result<()> {
        let dir = AtomicDir::new(path)?;
        fs::create_dir(dir.path().join("sub"))?;
        fs::write(dir.path().join("sub/weights"), text)?;
        dir.commit()
    }

    #[test]
    fn a_folder_replaces_the_old_one_whole() {
        let dir = test_dir("fs");
        let path = dir.path().join("deep/best");
        save(&path, "1").unwrap();
        fs::write(path.join("stale"), "").unwrap();
        save(&path, "2").unwrap();
        assert_eq!(names(&path), ["sub"]);
        assert_eq!(read(&path.join("sub/weights")), "2");
        assert_eq!(names(&dir.path().join("deep")), ["best"]);
    }

    #[test]
    fn a_folder_not_committed_changes_nothing() {
        let dir = test_dir("fs");
        let path = dir.path().join("best");
        save(&path, "1").unwrap();
        let unfinished = AtomicDir::new(&path).unwrap();
        fs::write(unfinished.path().join("sub"), "2").unwrap();
        drop(unfinished);
        assert_eq!(read(&path.join("sub/weights")), "1");
        assert_eq!(names(dir.path()), ["best"]);
    }

    #[test]
    fn every_state_a_kill_leaves_is_recovered() {
        let dir = test_dir("fs");
        let path = dir.path().join("best");
        let (temp, old) = (dir.path().join(".best.tmp"), dir.path().join(".best.old"));
        let make = |at: &Path, text: &str| {
            fs::create_dir_all(at).unwrap();
            fs::write(at.join("weights"), text).unwrap();
        };
        // (temp, final, old) as the kill leaves them, and what must be at the final path after.
        let states = [
            (Some("part"), None, None, None),
            (Some("part"), Some("1"), None, Some("1")),
            (Some("2"), None, Some("1"), Some("1")),
            (None, Some("2"), Some("1"), Some("2")),
            (Some("part of 1"), Some("2"), None, Some("2")),
            (None, Some("1"), None, Some("1")),
        ];
        for (in_temp, in_final, in_old, expected) in states {
            for (at, text) in [(&temp, in_temp), (&path, in_final), (&old, in_old)] {
                if let Some(text) = text {
                    make(at, text);
                }
            }
            recover(&path).unwrap();
            assert_eq!(
                fs::read_to_string(path.join("weights")).ok().as_deref(),
                expected,
                "{in_temp:?} {in_final:?} {in_old:?}"
            );
            assert!(!exists(&temp) && !exists(&old));
            let _ = fs::remove_dir_all(&path);
        }
    }

    #[test]
    fn a_failed_commit_puts_the_old_folder_back() {
        let dir = test_dir("fs");
        let path = dir.path().join("best");
        save(&path, "1").unwrap();
        let new = AtomicDir::new(&path).unwrap();
        // Someone removes the temporary folder: it can no longer take the final one's place.
        fs::remove_dir_all(new.path()).unwrap();
        assert!(new.commit().is_err());
        assert_eq!(read(&path.join("sub/weights")), "1");
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
