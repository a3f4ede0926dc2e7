//! The training log: one JSON value a line, each line whole.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use serde_json::Value;

use crate::fs::write_atomic;

/// An open JSON Lines file that only grows.
#[derive(Debug)]
pub struct JsonlLog {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines in the file.
    length: u64,
}

impl JsonlLog {
    /// Starts an empty log; what stood at `path` is gone.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: impl AsRef<Path>) -> Result<JsonlLog> {
        let path = path.as_ref();
        write_atomic(path, b"")?;
        JsonlLog::open(path)
    }

    /// Goes on at `path` with the log of an earlier run in `source`, often the same file, that is resumed after
    /// `last_step`: keeps the lines whose `step` is at most that, and returns them; drops all others, also a last line
    /// that a crash cut short. A missing file counts as empty.
    ///
    /// # Errors
    /// A file cannot be read or written, or a line other than a cut last one is not JSON (then nothing is changed).
    pub fn resume(
        source: impl AsRef<Path>,
        path: impl AsRef<Path>,
        last_step: u64,
    ) -> Result<(JsonlLog, Vec<Value>)> {
        let (source, path) = (source.as_ref(), path.as_ref());
        let text = match std::fs::read_to_string(source) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
            Err(e) => {
                return Err(anyhow!(
                    "{}: the log cannot be read: {e}; move it away",
                    source.display()
                ));
            }
        };
        // What follows the last line end was never finished.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut kept = String::new();
        let mut values = Vec::new();
        for (line, json) in (1..).zip(text[..whole].lines()) {
            let value: Value = serde_json::from_str(json).map_err(|_| {
                anyhow!(
                    "{}, line {line}: not JSON, so the log cannot be continued; delete the line or move the file away",
                    source.display()
                )
            })?;
            if value
                .get("step")
                .and_then(Value::as_u64)
                .is_some_and(|step| step <= last_step)
            {
                kept.push_str(json);
                kept.push('\n');
                values.push(value);
            }
        }
        write_atomic(path, kept.as_bytes())?;
        Ok((JsonlLog::open(path)?, values))
    }

    /// Appends one line, by a single write, and hands it to the operating system at once. JSON has no NaN or infinity:
    /// `serde_json` makes them `null`.
    ///
    /// # Errors
    /// The disk is full or the file is gone; no part of the line is left in the file.
    pub fn write(&mut self, value: &Value) -> Result<()> {
        let line = format!("{value}\n");
        let written = match self.file.write(line.as_bytes()) {
            Ok(count) if count == line.len() => Ok(()),
            Ok(count) => Err(format!("only {count} of {} bytes fitted", line.len())),
            Err(e) => Err(e.to_string()),
        };
        match written {
            Ok(()) => {
                self.length += line.len() as u64;
                Ok(())
            }
            Err(reason) => {
                // Best effort: if even this fails, `resume` drops the half line.
                let _ = self.file.set_len(self.length);
                let _ = self.file.seek(SeekFrom::Start(self.length));
                Err(anyhow!(
                    "{}: the log cannot be written: {reason}; check the space on the disk",
                    self.path.display()
                ))
            }
        }
    }

    fn open(path: &Path) -> Result<JsonlLog> {
        let open = || {
            if std::fs::symlink_metadata(path)?.is_symlink() {
                return Err(std::io::Error::other(
                    "it is a symbolic link, and none is followed",
                ));
            }
            // Not in append mode, which on Windows may not shorten the file again.
            let mut file = OpenOptions::new().write(true).open(path)?;
            let length = file.seek(SeekFrom::End(0))?;
            Ok::<_, std::io::Error>((file, length))
        };
        let (file, length) =
            open().map_err(|e| anyhow!("{}: the log cannot be opened: {e}", path.display()))?;
        Ok(JsonlLog {
            path: path.to_path_buf(),
            file,
            length,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::tests::test_dir;
    use serde_json::json;

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn lines_are_there_as_soon_as_written() {
        let dir = test_dir("log");
        let path = dir.path().join("log.jsonl");
        std::fs::write(&path, "{\"step\":9}\n").unwrap();
        let mut log = JsonlLog::create(&path).unwrap();
        assert_eq!(read(&path), "");
        log.write(&json!({"step": 1, "note": "two\nlines", "loss": f64::NAN}))
            .unwrap();
        assert_eq!(
            read(&path),
            "{\"loss\":null,\"note\":\"two\\nlines\",\"step\":1}\n"
        );
        log.write(&json!({"step": 2})).unwrap();
        assert_eq!(read(&path).lines().count(), 2);
    }

    #[test]
    fn resume_keeps_up_to_the_step_and_drops_a_cut_line() {
        let dir = test_dir("log");
        let path = dir.path().join("log.jsonl");
        let text = "{\"step\":1,\"loss\":0.10}\n{\"step\":2}\n{\"done\":true}\n{\"step\":3}\n{\"step\":2,\"lo";
        std::fs::write(&path, text).unwrap();
        let (mut log, kept) = JsonlLog::resume(&path, &path, 2).unwrap();
        assert_eq!(kept, [json!({"step": 1, "loss": 0.1}), json!({"step": 2})]);
        // Kept lines stay as they were, to the byte.
        assert_eq!(read(&path), "{\"step\":1,\"loss\":0.10}\n{\"step\":2}\n");
        log.write(&json!({"step": 3})).unwrap();
        assert_eq!(
            read(&path),
            "{\"step\":1,\"loss\":0.10}\n{\"step\":2}\n{\"step\":3}\n"
        );
    }

    #[test]
    fn resume_without_a_file_starts_one_and_a_broken_one_is_left_alone() {
        let dir = test_dir("log");
        let path = dir.path().join("log.jsonl");
        JsonlLog::resume(&path, &path, 5).unwrap();
        assert_eq!(read(&path), "");
        std::fs::write(&path, "{\"step\":1}\nrubbish\n{\"step\":2}\n").unwrap();
        let message = JsonlLog::resume(&path, &path, 2).unwrap_err().to_string();
        assert!(message.contains("line 2"), "{message}");
        assert!(read(&path).contains("rubbish"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_leaves_no_half_line() {
        // A device on which every write says that no space is left.
        let mut log = JsonlLog::open(Path::new("/dev/full")).unwrap();
        let message = log.write(&json!({"step": 1})).unwrap_err().to_string();
        assert!(
            message.contains("/dev/full") && message.contains("space"),
            "{message}"
        );
        assert_eq!(log.length, 0);
    }
}
