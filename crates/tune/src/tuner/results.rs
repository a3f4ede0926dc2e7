//! The results file: JSON lines, only appended to. A `Head` starts a run, an `Outcome` is one candidate. Each line
//! names its run, so that several runs may write at once. A killed run loses at most the line it was writing.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use wgrad_runtime::text_hash;

use super::expr::Scope;
use super::job::Machine;
use super::outcome::{Outcome, Status};
use super::spec::show;

/// The subject of a run. Outcomes of runs with equal heads can be compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The kernel's name.
    pub kernel: String,
    /// The hash of the kernel files and the spec: see `wgrad_runtime::text_hash`.
    pub hash: String,
    /// The hash of the data files.
    pub data: String,
    /// The seed of the buffers' contents.
    pub seed: u64,
    /// Where it ran.
    pub machine: Machine,
    /// The timed problem sizes.
    pub sizes: Vec<Scope>,
    /// Whether kernels were compiled with checks.
    pub checked: bool,
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Head {
        run: String,
        head: Box<Head>,
    },
    Outcome {
        run: String,
        #[serde(flatten)]
        outcome: Box<Outcome>,
    },
}

/// The result of a choice in an earlier run.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// The outcome of the choice.
    pub outcome: Outcome,
    /// Seconds of the default in the same run.
    pub default_seconds: Option<f64>,
}

/// The open file, and the name of this run.
pub struct Results {
    file: File,
    run: String,
}

impl Results {
    /// Opens `path` to append a run. An unfinished last line is ended, so that it does not spoil the next line.
    pub fn append(path: &Path, head: &Head) -> Result<Results> {
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
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        let time = time.map_or(0, |time| time.as_nanos()).to_string();
        let run = text_hash(&[time, std::process::id().to_string()]);
        let mut results = Results { file, run };
        results.line(&Line::Head {
            run: results.run.clone(),
            head: Box::new(head.clone()),
        })?;
        Ok(results)
    }

    /// Adds an outcome.
    pub fn write(&mut self, outcome: &Outcome) -> Result<()> {
        self.line(&Line::Outcome {
            run: self.run.clone(),
            outcome: Box::new(outcome.clone()),
        })
    }

    fn line(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.file
            .write_all(text.as_bytes())
            .context("the results cannot be written")
    }
}

/// The results of runs with this head in the file at `path`: for each choice the last outcome, except that a choice
/// that was wrong once stays wrong. `defaults` are the default choices of the timed sizes. Empty if there is no file;
/// incomplete lines and absurd figures are skipped.
pub fn known(path: &Path, head: &Head, defaults: &[Scope]) -> Result<Vec<Known>> {
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).with_context(|| format!("{} cannot be read", path.display())),
    };
    // For each run: whether its head equals `head`, and its outcomes.
    let mut runs: BTreeMap<String, Vec<Outcome>> = BTreeMap::new();
    let mut order = Vec::new();
    for line in text.lines() {
        match serde_json::from_str(line) {
            // A head that stands there again, in a file joined of others, goes on with its run.
            Ok(Line::Head { run, head: other }) if *other == *head => {
                runs.entry(run).or_default();
            }
            Ok(Line::Outcome { run, outcome })
                if outcome.is_sound() && outcome.size < head.sizes.len() =>
            {
                if let Some(outcomes) = runs.get_mut(&run) {
                    order.push((run, outcomes.len()));
                    outcomes.push(*outcome);
                }
            }
            Ok(Line::Head { .. } | Line::Outcome { .. }) | Err(_) => {}
        }
    }
    let mut found: BTreeMap<(usize, String), Known> = BTreeMap::new();
    for (run, i) in order {
        let outcomes = &runs[&run];
        let outcome = &outcomes[i];
        let key = (outcome.size, show(&outcome.values));
        if matches!(found.get(&key), Some(known) if known.outcome.status == Status::Correctness) {
            continue;
        }
        let default = defaults.get(outcome.size);
        let default = outcomes
            .iter()
            .filter(|o| o.size == outcome.size && Some(&o.values) == default)
            .find_map(|o| o.time);
        let known = Known {
            outcome: outcome.clone(),
            default_seconds: default.map(|time| time.median),
        };
        found.insert(key, known);
    }
    Ok(found.into_values().collect())
}

#[cfg(test)]
mod tests;
