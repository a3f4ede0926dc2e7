//! Results as they come: a file of JSON lines that is only ever appended to. A `Head` starts a run, an
//! `Outcome` is one candidate. A killed run loses no more than the line it was writing.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::expr::Scope;
use super::job::Machine;
use super::outcome::Outcome;

/// What a run was about: outcomes are comparable where these agree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The kernel's name.
    pub kernel: String,
    /// Of the kernel files and of the spec: see `wgrad_runtime::text_hash`.
    pub hash: String,
    pub machine: Machine,
    /// The timed problem sizes.
    pub sizes: Vec<Scope>,
    /// Whether kernels were compiled with checks.
    pub checked: bool,
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    Head { head: Box<Head> },
    Outcome(Box<Outcome>),
}

/// The open file.
pub struct Results(File);

impl Results {
    /// Opens `path` to append to. A last line that is not whole is closed, so that it does no harm.
    pub fn append(path: &Path) -> Result<Results> {
        let wrong = || format!("{} cannot be written", path.display());
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .open(path)
            .with_context(wrong)?;
        if file.seek(SeekFrom::End(0))? > 0 {
            file.seek(SeekFrom::End(-1))?;
            let mut last = [0];
            file.read_exact(&mut last)?;
            if last != [b'\n'] {
                file.write_all(b"\n").with_context(wrong)?;
            }
        }
        Ok(Results(file))
    }

    /// Adds a line.
    pub fn write(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.0
            .write_all(text.as_bytes())
            .context("the results cannot be written")
    }
}

/// The outcomes in the file at `path` of runs with this head; nothing if there is no file. Lines that are
/// not whole are passed over.
pub fn known(path: &Path, head: &Head) -> Result<Vec<Outcome>> {
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).with_context(|| format!("{} cannot be read", path.display())),
    };
    let mut ours = false;
    let mut found = Vec::new();
    for line in text.lines() {
        match serde_json::from_str(line) {
            Ok(Line::Head { head: other }) => ours = *other == *head,
            Ok(Line::Outcome(outcome)) if ours => found.push(*outcome),
            Ok(Line::Outcome(_)) | Err(_) => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::expr::Value;
    use super::super::outcome::Status;
    use super::*;

    fn head(hash: &str) -> Head {
        Head {
            kernel: "k".into(),
            hash: hash.into(),
            machine: Machine {
                adapter: "a".into(),
                driver: "d".into(),
                backend: "Vulkan".into(),
                device_type: "Cpu".into(),
                facts: Scope::new(),
                bytes: vec![8.0],
                flops: vec![0.0],
            },
            sizes: vec![Scope::from([("N".into(), Value::Int(4))])],
            checked: false,
        }
    }

    #[test]
    fn what_was_written_is_known_again() {
        let folder = std::env::temp_dir().join(format!("wgrad-results-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("r.jsonl");
        let _ = std::fs::remove_file(&path);
        assert!(known(&path, &head("1")).unwrap().is_empty());
        let values = Scope::from([("W".into(), Value::Int(8)), ("F".into(), Value::Bool(true))]);
        let one = Outcome::failed(values.clone(), 0, Status::Correctness, "y[3] is\n 1");
        let two = Outcome::failed(values, 0, Status::Timeout, "");
        for (hash, outcome) in [("1", &one), ("2", &two)] {
            let mut results = Results::append(&path).unwrap();
            results
                .write(&Line::Head {
                    head: Box::new(head(hash)),
                })
                .unwrap();
            results
                .write(&Line::Outcome(Box::new(outcome.clone())))
                .unwrap();
        }
        // A run that was killed in the middle of a line.
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"values\":{\"W\"").unwrap();
        drop(file);
        let mut results = Results::append(&path).unwrap();
        results
            .write(&Line::Head {
                head: Box::new(head("1")),
            })
            .unwrap();
        results
            .write(&Line::Outcome(Box::new(two.clone())))
            .unwrap();
        assert_eq!(known(&path, &head("1")).unwrap(), [one, two.clone()]);
        assert_eq!(known(&path, &head("2")).unwrap(), [two]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
