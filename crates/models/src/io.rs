//! The file formats in which weights come: safetensors, which is read and written, and GGUF, which is read.
//!
//! Every file is untrusted: a size found in a file is compared with what the file holds before memory
//! is taken for it, and pickles, which can run code, are never read.

use std::path::Path;

use anyhow::{Result, anyhow};

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
