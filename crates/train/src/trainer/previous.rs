//! The results and the model of an earlier run in the output folder: a run that begins anew does not destroy them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::fs::AtomicDir;

/// The folder in the output folder that takes them.
const FOLDER: &str = "previous_run";

/// The one file that a run goes on writing in place. Every other one is replaced by a new file.
const LOG: &str = "log.jsonl";

/// Makes room for a run that begins after `step` steps: copies the results and the model of a finished run that had come
/// further into `previous_run`, unless they may be `overwritten`. The results of a run that begins at 0 are not there until it ends.
/// Returns a line about what was kept.
pub(super) fn make_room(dir: &Path, step: u64, overwrite: bool) -> Result<Option<String>> {
    let results = dir.join("results.json");
    // A file that cannot be read holds nothing to keep.
    let earlier: Value = fs::read(&results)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let steps = earlier["global_step"].as_u64().unwrap_or(0);
    let finished = earlier["stopped_by"] != "interrupted" && steps > step;
    let mut line = None;
    if finished && !overwrite {
        let to = dir.join(FOLDER);
        let kept = AtomicDir::new(&to)?;
        keep(dir, kept.path()).with_context(|| format!("{}: cannot be kept", dir.display()))?;
        kept.commit()?;
        line = Some(format!(
            "{} holds the model and results of a run of {steps} steps; they are kept in {}",
            dir.display(),
            to.display()
        ));
    }
    if step == 0 {
        for name in ["results.json", "report.html"] {
            let path = dir.join(name);
            if path.exists() {
                fs::remove_file(&path)
                    .with_context(|| format!("{}: cannot be removed", path.display()))?;
            }
        }
    }
    Ok(line)
}

/// The files of `dir` in `kept` too. A link takes no room on the disk until the new run replaces the file.
fn keep(dir: &Path, kept: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        let (name, to) = (entry.file_name(), kept.join(entry.file_name()));
        // Not every file system has links.
        if name == LOG || fs::hard_link(entry.path(), &to).is_err() {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::tests::test_dir;

    #[test]
    fn only_the_results_of_a_finished_run_that_came_further_are_kept() {
        let dir = test_dir("previous");
        let path = dir.path();
        let write = |reason: &str| {
            let results = format!("{{\"global_step\": 9, \"stopped_by\": \"{reason}\"}}");
            fs::write(path.join("results.json"), results).unwrap();
            fs::write(path.join("log.jsonl"), reason).unwrap();
            // As the writer does: a new file in the old one's place.
            fs::write(path.join("new"), reason).unwrap();
            fs::rename(path.join("new"), path.join("model.safetensors")).unwrap();
        };
        let kept = || fs::read_to_string(path.join("previous_run/log.jsonl")).ok();
        assert_eq!(make_room(path, 0, false).unwrap(), None);
        for (reason, step, overwrite) in [
            ("interrupted", 0, false),
            ("finished", 9, false),
            ("finished", 0, true),
        ] {
            write(reason);
            assert_eq!(make_room(path, step, overwrite).unwrap(), None);
            assert_eq!(kept(), None);
            assert_eq!(path.join("results.json").exists(), step > 0);
        }
        for (reason, step) in [("finished", 0), ("early stopping", 4)] {
            write(reason);
            let line = make_room(path, step, false).unwrap().unwrap();
            assert!(line.contains("a run of 9 steps"), "{line}");
            assert_eq!(kept().as_deref(), Some(reason));
            assert_eq!(path.join("results.json").exists(), step > 0);
            write("replaced");
            let weights = fs::read_to_string(path.join("previous_run/model.safetensors"));
            assert_eq!(weights.unwrap(), reason);
        }
    }
}
