//! The file formats in which weights come: safetensors, which is read and written, and GGUF, which is read.
//!
//! Every file is untrusted: a size found in a file is compared with what the file holds before memory
//! is taken for it, and pickles, which can run code, are never read.

use std::path::Path;

use anyhow::{Result, anyhow, bail};

pub mod gguf;
pub mod safetensors;

/// Whether a model is a folder; else it is a file. Errors where there is nothing.
pub(crate) fn is_folder(path: &Path) -> Result<bool> {
    let about = std::fs::metadata(path).map_err(|error| {
        anyhow!(
            "cannot open the model {}: {error}; expected a GGUF file, or a model folder as transformers saves it",
            path.display()
        )
    })?;
    Ok(about.is_dir())
}

/// What to say of a folder without `config.json`: it may hold a model in another form.
pub(crate) fn no_config(dir: &Path) -> String {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let gguf = files
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "gguf"));
    let hint = match gguf {
        Some(path) => format!("it holds a GGUF file, so give that: {}", path.display()),
        None => "expected a GGUF file, or a model folder as transformers saves it".into(),
    };
    format!("{} has no config.json; {hint}", dir.display())
}

/// Refuses a symbolic link that leads out of the folder it stands in: a model folder that somebody else made could
/// name any file of this machine. The links of Hugging Face's cache are its own, and lead from
/// `snapshots/REVISION` to `blobs`. What is no link, or is not there, passes.
pub(crate) fn check_link(path: &Path) -> Result<()> {
    let is_link = std::fs::symlink_metadata(path).is_ok_and(|about| about.is_symlink());
    let (true, Some(dir)) = (is_link, path.parent()) else {
        return Ok(());
    };
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    let broken = |error| {
        anyhow!(
            "{}: the symbolic link leads nowhere: {error}",
            path.display()
        )
    };
    let target = path.canonicalize().map_err(broken)?;
    let dir = dir.canonicalize().map_err(broken)?;
    let cache = dir.ancestors().find_map(|snapshot| {
        let snapshots = snapshot
            .parent()
            .filter(|parent| parent.ends_with("snapshots"))?;
        let blobs = snapshots.parent()?.join("blobs");
        Some((snapshot.to_owned(), blobs.canonicalize().unwrap_or(blobs)))
    });
    let inside = target.starts_with(&dir)
        || cache.is_some_and(|(snapshot, blobs)| {
            target.starts_with(snapshot) || target.starts_with(blobs)
        });
    if !inside {
        bail!(
            "{} is a symbolic link that leaves the model folder, to {}; copy the file into the folder",
            path.display(),
            target.display()
        );
    }
    Ok(())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::testing::{TempDir, error_line};

    #[test]
    fn links_do_not_leave_a_folder() {
        let (outside, dir) = (TempDir::new(), TempDir::new());
        let secret = outside.write("secret", "x");
        let file = dir.write("file", "x");
        let link = |target: &Path, name: &str| {
            let link = dir.path().join(name);
            symlink(target, &link).unwrap();
            link
        };
        assert!(check_link(&file).is_ok());
        assert!(check_link(&dir.path().join("none")).is_ok());
        assert!(check_link(&link(Path::new("file"), "inside")).is_ok());
        assert!(check_link(&link(&file, "absolute")).is_ok());
        for (target, name) in [(secret.as_path(), "out"), (outside.path(), "folder")] {
            let line = error_line(check_link(&link(target, name)));
            assert!(
                line.contains(name) && line.contains("symbolic link"),
                "{line}"
            );
        }
        // By way of another link.
        let line = error_line(check_link(&link(Path::new("out"), "twice")));
        assert!(line.contains("leaves the model folder"), "{line}");
        assert!(error_line(check_link(&link(Path::new("gone"), "broken"))).contains("nowhere"));
    }

    #[test]
    fn the_cache_of_hugging_face_is_followed() {
        let cache = TempDir::new();
        let blob = cache.write("blobs/0a1b", "x");
        cache.write("snapshots/rev/1_Pooling/here", "x");
        let other = cache.write("other", "x");
        let snapshot = cache.path().join("snapshots/rev");
        for (target, link) in [
            ("../../blobs/0a1b", snapshot.join("model.safetensors")),
            (
                "../../../blobs/0a1b",
                snapshot.join("1_Pooling/config.json"),
            ),
        ] {
            symlink(target, &link).unwrap();
            assert_eq!(link.canonicalize().unwrap(), blob.canonicalize().unwrap());
            check_link(&link).unwrap();
        }
        let link = snapshot.join("vocab.txt");
        symlink(other, &link).unwrap();
        assert!(error_line(check_link(&link)).contains("leaves"));
    }
}
