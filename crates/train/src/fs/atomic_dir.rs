//! A folder that is replaced as a whole.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};

use super::{Names, exists, sync_dir};

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
        let had_old = swap_in(temp, &self.final_path, old).map_err(fail)?;
        self.committed = true;
        // Deleting the old one must not overtake the renames on their way to the disk.
        sync_dir(parent);
        if had_old {
            // The new one is in place; what cannot be deleted now is left to the next `recover`.
            let _ = discard(old, temp);
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

/// Cleans up after a process killed in [`AtomicDir::commit`] or [`super::write_atomic`]: puts `.NAME.old` back if `final_path`
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

fn cannot_write(path: &Path, e: &io::Error) -> anyhow::Error {
    anyhow!(
        "{}: the folder cannot be written: {e}; check the permissions of the folder it lies in and the space on the disk",
        path.display()
    )
}

/// Moves `final_path`, if there is one, to `old`, and `temp` to `final_path`; true if there was one. On an error
/// `final_path` is as it was.
fn swap_in(temp: &Path, final_path: &Path, old: &Path) -> io::Result<bool> {
    let had_old = exists(final_path);
    if had_old {
        fs::rename(final_path, old)?;
    }
    if let Err(e) = fs::rename(temp, final_path) {
        if had_old {
            fs::rename(old, final_path)?;
        }
        return Err(e);
    }
    Ok(had_old)
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
    sync_dir(dir);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{names, read, test_dir};
    use super::*;

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
    fn a_failed_commit_leaves_or_puts_back_the_old_folder() {
        let dir = test_dir("fs");
        let path = dir.path().join("best");
        save(&path, "1").unwrap();
        let new = AtomicDir::new(&path).unwrap();
        // Someone removes the temporary folder: nothing to flush,
        fs::remove_dir_all(new.path()).unwrap();
        let message = new.commit().unwrap_err().to_string();
        assert!(
            message.contains("best: the folder cannot be written"),
            "{message}"
        );
        assert_eq!(read(&path.join("sub/weights")), "1");
        // or, a moment later, nothing to move in.
        let old = dir.path().join(".best.old");
        assert!(swap_in(&dir.path().join("gone"), &path, &old).is_err());
        assert_eq!(read(&path.join("sub/weights")), "1");
        assert_eq!(names(dir.path()), ["best"]);
    }
}
